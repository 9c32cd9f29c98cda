"""A metric as gates see it: round by round, launch by launch, out of the same rounds as the report's one number."""

from __future__ import annotations

from statistics import median

import pytest
from builders import (
    a_cycle,
    a_latency_pass,
    a_measurement,
    a_meter,
    a_reading,
    a_round,
    a_window,
    an_invalid_round,
)

from pytest_lem.launches import context_of, launches, metric_of, ungateable
from pytest_lem.model.cycle import Recorded
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.reading import MeterRecord
from pytest_lem.reporting import late_metrics


def measured(*cycles, **changes):
    return a_measurement(cycles=cycles, **changes)


def rounds(*joules: float, first: int = 1):
    return tuple(a_round(first + i, devices=(a_reading(value),)) for i, value in enumerate(joules))


def test_the_joules_of_a_launch_are_those_of_its_rounds_with_the_warm_up_before_them():
    (launch,) = launches(measured(a_cycle(rounds=rounds(800.0, 820.0, 780.0))), "joules_per_token")
    assert launch.values == pytest.approx((0.4, 0.41, 0.39))
    assert launch.warmup == pytest.approx((0.4,))
    assert (launch.cycle, launch.source, launch.steady) == (0, "measured", True)


def test_each_cycle_is_a_launch_in_the_order_of_the_cycles():
    found = launches(measured(a_cycle(0, rounds=3), a_cycle(1, rounds=2, steady=False)), "tokens_per_second")
    assert [(launch.cycle, len(launch.values), launch.steady) for launch in found] == [(0, 3, True), (1, 2, False)]
    assert found[0].values == pytest.approx((500, 500, 500))


def test_an_invalid_round_is_no_value_of_its_launch():
    cycle = a_cycle(rounds=(*rounds(800.0, 820.0), an_invalid_round(3, devices=(a_reading(80_000.0),))))
    assert launches(measured(cycle), "joules_per_token")[0].values == pytest.approx((0.4, 0.41))


def test_a_test_that_ran_again_on_the_same_engine_is_one_launch_and_on_another_engine_two():
    first, again = a_cycle(rounds=rounds(800.0)), a_cycle(rounds=rounds(820.0))
    assert [launch.values for launch in launches(measured(first, again), "power_w")] == [(200, 205)]
    fresh = again.model_copy(update={"launch": "another"})
    assert [launch.values for launch in launches(measured(first, fresh), "power_w")] == [(200,), (205,)]


def test_a_launch_that_was_cut_short_is_left_out_unless_there_is_no_other():
    whole, cut = a_cycle(0, rounds=2), a_cycle(1, rounds=1, stopped="failed")
    assert [launch.cycle for launch in launches(measured(whole, cut), "seconds")] == [0]
    assert [launch.cycle for launch in launches(measured(cut), "seconds")] == [1]


def test_token_times_come_from_the_rounds_that_have_a_pass_with_hooks_beside_them():
    with_times = [a_round(i, latency=a_latency_pass(20.0 + i)) for i in (1, 3)]
    cycle = a_cycle(rounds=(with_times[0], a_round(2), with_times[1]))
    (launch,) = launches(measured(cycle), "ttft_ms")
    assert (launch.values, launch.warmup) == ((21.0, 23.0), ())
    assert launches(measured(cycle), "ttft_p99_ms")[0].values == (21.0, 23.0)


def test_a_peak_and_a_load_time_are_one_value_a_launch():
    cycles = (a_cycle(0), a_cycle(1, load_seconds=4.5))
    assert [launch.values for launch in launches(measured(*cycles), "load_seconds")] == [(3.5,), (4.5,)]
    (first, _) = launches(measured(*cycles), "peak_memory_bytes")
    assert (first.values, first.warmup) == ((3 * 2**30,), ())


def test_what_an_engine_counts_is_divided_by_the_work_of_its_round():
    counted = tuple(a_round(i, counters={"cached_tokens": 80.0 * i, "kv_cache_usage": 0.5}) for i in (1, 2))
    measurement = measured(a_cycle(rounds=counted))
    assert launches(measurement, "cached_tokens")[0].values == (1.0, 2.0)
    assert launches(measurement, "kv_cache_usage")[0].values == (0.5, 0.5)


@pytest.mark.parametrize(
    "measurement",
    [
        measured(a_cycle(rounds=3)),
        measured(a_cycle(rounds=(a_round(1, latency=a_latency_pass(tokens=1)),))),
        measured(a_cycle(rounds=(an_invalid_round(1),))),
        measured(a_cycle(rounds=())),
        measured(a_cycle(rounds=(a_round(1, devices=()),), gpus=(), memory=()), meters=()),
        measured(a_cycle(rounds=(a_round(1), a_round(2, devices=(a_reading(None),))), load_seconds=None)),
        a_window(),
    ],
)
def test_what_a_report_lacks_has_no_launches_for_the_same_reason(measurement):
    for key, value in late_metrics(measurement).items():
        if value.value is not None:
            assert launches(measurement, key), key
            continue
        with pytest.raises(Unavailable) as caught:
            launches(measurement, key)
        assert (caught.value.key, caught.value.reason) == (key, value.reason)


@pytest.mark.parametrize("key", ["joules_per_token", "tokens_per_second", "power_w", "seconds"])
def test_the_reports_number_of_one_launch_is_the_median_of_its_values(key):
    measurement = measured(a_cycle(rounds=rounds(800.0, 830.0, 790.0, 805.0, 795.0)))
    assert late_metrics(measurement)[key].value == pytest.approx(median(launches(measurement, key)[0].values))


def test_what_the_user_recorded_is_a_metric_of_its_own():
    scores = tuple(Recorded(metric="quality", value=value, better="higher", unit="pt") for value in (71.0, 72.0, 70.0))
    measurement = measured(a_cycle(0, recorded=scores), a_cycle(1, recorded=scores[:1]), a_cycle(2))
    assert [launch.values for launch in launches(measurement, "quality")] == [(71.0, 72.0, 70.0), (71.0,)]
    assert (metric_of(measurement, "quality").better, metric_of(measurement, "quality").unit) == ("higher", "pt")
    with pytest.raises(Unavailable, match="nothing was recorded under that name"):
        launches(measurement, "accuracy")


def test_an_estimate_is_shown_and_never_gated():
    guess = a_round(1, devices=(a_reading(), a_reading(40.0, device="cpu", kind="cpu", source="estimated")))
    measurement = measured(a_cycle(rounds=(guess,)))
    assert launches(measurement, "cpu_joules")[0].source == "estimated"
    assert "estimated" in ungateable(measurement, "cpu_joules")
    assert ungateable(measurement, "joules_per_token") is None


def test_joules_of_a_host_that_other_lanes_shared_are_not_gated():
    cpu = a_reading(40.0, device="package-0", kind="cpu", meter="rapl")
    cycle = a_cycle(rounds=(a_round(1, devices=(a_reading(), cpu)),), lanes=2)
    assert "other lanes" in ungateable(measured(cycle), "cpu_joules")
    assert ungateable(measured(cycle), "gpu_joules") is None
    assert ungateable(measured(cycle.model_copy(update={"lanes": 1})), "cpu_joules") is None


def test_a_measurement_tells_where_its_engine_ran():
    refused = MeterRecord(name="rapl", used=False, reason="no powercap")
    assert context_of(measured(a_cycle(), meters=(a_meter(), refused))).meters[1] == refused
    assert context_of(measured(a_cycle())).device == "cuda"
    assert context_of(measured(a_cycle(gpus=()))).device == "cpu"
    assert (context_of(measured(a_cycle())).work, context_of(a_window()).work) == (True, False)


def test_every_metric_of_the_table_can_be_asked_for():
    for key in METRICS:
        assert metric_of(a_measurement(), key) == METRICS[key]
