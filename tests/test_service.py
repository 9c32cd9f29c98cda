"""Service levels on requests with known times: which are good, how many have to be, and what that makes of joules."""

from __future__ import annotations

import pytest
from builders import a_cycle, a_measurement, a_reading, a_round

from pytest_lem.aggregate import metrics
from pytest_lem.device_joules import Context
from pytest_lem.launches import context_of, launches
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.round import Served
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.service import is_good

SLO = ServiceLevel(ttft_ms=100, tpot_ms=10, e2el_ms=200, percentile=90)
SECOND = 1_000_000_000


def times(ttft=50.0, gap=5.0, tokens=11, **changes):
    return RequestTimes(ttft_ms=ttft, gaps_ms=(gap,) * (tokens - 1), **changes)


@pytest.mark.parametrize(
    ("name", "ttft_ms", "tpot_ms"),
    [("llama3.1-8b", 2000, 100), ("llama2-70b", 2000, 200), ("interactive", 450, 40)],
)
def test_a_level_of_mlperfs_has_its_bounds_at_the_99th_percentile(name, ttft_ms, tpot_ms):
    assert ServiceLevel.model_validate(name) == ServiceLevel(ttft_ms=ttft_ms, tpot_ms=tpot_ms, percentile=99)


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (times(), True),
        (times(ttft=100.0, gap=10.0), True),  # a bound itself is met
        (times(ttft=100.1), False),
        (times(gap=10.1), False),
        (times(ttft=99.0, gap=10.2, tokens=1), True),  # one token has no time per output token
        (times(ttft=90.0, gap=9.0, tokens=14), False),  # 207 ms end to end
        (times(e2e_ms=201.0), False),  # by the engine's own word, where it has one
    ],
)
def test_a_good_request_meets_every_bound(found, good):
    assert is_good(found, SLO) is good


def test_what_is_not_promised_is_no_bound():
    assert is_good(times(ttft=1e6), ServiceLevel(tpot_ms=10))


def served(index, times_of, **changes):
    """A round of 4 s and 800 J cut out of a pass that began 1 s before it."""
    start = index * 5 * SECOND
    whole = Served(
        start_ns=start - SECOND, end_ns=start + 6 * SECOND, requests=100, prompt_tokens=1, tokens=1, steady=True
    )
    return a_round(index, passes=1, latency=LatencyPass(seconds=7, requests=tuple(times_of)), served=whole, **changes)


def inside(number, **changes):
    """Requests of 11 tokens that lie whole in the window."""
    return [times(index=i, due_ms=2000.0 + i, sent_ms=2000.0 + i, **changes) for i in range(number)]


def found(*rounds, slo=SLO, cycles=None):
    return metrics(cycles or (a_cycle(rounds=rounds),), Context(device="cuda", slo=slo))


def test_goodput_is_the_share_of_good_requests_times_requests_a_second():
    values = found(a_served(6, 2))
    assert values["good_share"].value == pytest.approx(0.75)
    assert values["goodput"].value == pytest.approx(0.75 * 80 / 4)
    assert values["joules_per_good_request"].value == pytest.approx(800 / (0.75 * 80))
    assert values["slo_met"].value == 0.0


def a_served(good, bad, index=0, **changes):
    return served(index, [*inside(good), *inside(bad, gap=20.0)], **changes)


def test_a_request_outside_of_the_window_counts_for_nothing_and_one_across_its_edge_for_its_part():
    before = times(gap=20.0, index=0, due_ms=100.0, sent_ms=100.0)
    # Its prefill begins 45 ms and its last gap of 100 ms ends beyond the window's end, 5 s after the pass began.
    across = times(ttft=5.0, gap=100.0, tokens=2, index=1, due_ms=4945.0, sent_ms=4945.0)
    values = found(served(0, [before, across, *inside(2)]))
    # One of its two tokens whole, half of the other: 0.75 of it.
    assert values["good_share"].value == pytest.approx(2 / 2.75)


@pytest.mark.parametrize(("bad", "met"), [(0, 1.0), (1, 1.0), (2, 0.0)])
def test_the_level_is_met_where_as_many_are_good_as_its_percentile_says(bad, met):
    assert found(a_served(10 - bad, bad))["slo_met"].value == met


def test_shares_are_those_of_all_rounds_requests_pooled():
    values = found(a_served(10, 0), a_served(0, 10, index=1, requests=80), a_served(20, 0, index=2))
    assert values["good_share"].value == pytest.approx(30 / 40)
    assert values["good_share"].n == 3


def test_launches_that_all_fail_have_no_goodput_and_no_interval():
    cycles = [a_cycle(index, rounds=(a_served(0, 4),)) for index in range(4)]
    values = found(cycles=cycles)
    assert (values["goodput"].value, values["goodput"].low) == (0.0, None)
    assert (values["good_share"].value, values["good_share"].n) == (0.0, 4)
    # They were sent when they were due, in every launch.
    assert (values["dispatch_delay_p95_ms"].value, values["dispatch_delay_p95_ms"].n) == (0.0, 4)
    assert values["joules_per_good_request"].reason == "no request met the service level"


def test_what_has_no_service_level_or_no_times_says_so():
    assert found(a_served(1, 0), slo=None)["goodput"].reason == "no service level was promised (slo=...)"
    assert found(a_round(0))["goodput"].reason == "token times were not recorded"
    assert found(a_round(0))["idle_share"].reason == "requests did not come over time"


def test_requests_that_came_in_groups_have_a_service_level_too():
    latency = LatencyPass(seconds=1, requests=(times(count=6), times(gap=20.0, count=2)))
    values = found(a_round(0, latency=latency), a_round(1))
    assert values["good_share"].value == pytest.approx(0.75)
    assert values["goodput"].value == pytest.approx(0.75 * 20)


def test_a_gate_gets_a_value_a_round_from_the_measurement_alone():
    rounds = tuple(a_served(8, 0, index=index, requests=80 + index) for index in range(3))
    workload = WorkloadSpec(target_qps=20, slo=SLO)
    measurement = a_measurement(workload=workload, cycles=(a_cycle(rounds=rounds),))
    assert context_of(measurement).slo == SLO
    (launch,) = launches(measurement, "goodput")
    assert launch.values == pytest.approx((20, 20.25, 20.5))
    assert launches(measurement, "joules_per_good_request")[0].values == pytest.approx((10, 800 / 81, 800 / 82))


def test_padding_and_waste_are_shares_of_all_that_was_computed():
    values = found(a_round(0, counters={"padding_tokens": 2000, "wasted_tokens": 500}))
    assert values["padding_share"].value == pytest.approx(2000 / 10_000)
    assert values["wasted_share"].value == pytest.approx(500 / 2500)
    assert found(a_round(0))["padding_share"].reason == "the engine does not report it"


def test_the_acceptance_rate_is_a_share_of_the_drafts_of_all_rounds_and_absent_without_one():
    rounds = [a_round(index, counters={"draft_tokens": 100 * index, "accepted_tokens": 30}) for index in (1, 2)]
    assert found(*rounds)["acceptance_rate"].value == pytest.approx(60 / 300)
    nothing = found(a_round(0, counters={"draft_tokens": 0, "accepted_tokens": 0}))["acceptance_rate"]
    assert (nothing.value, nothing.reason) == (None, "no token was drafted")
    assert found(a_round(0))["acceptance_rate"].reason == "the engine does not report it"


def test_counters_and_joules_of_a_pass_are_of_the_whole_pass():
    whole = Served(
        start_ns=0,
        end_ns=8 * SECOND,
        requests=160,
        prompt_tokens=16_000,
        tokens=4000,
        devices=(a_reading(1500.0),),
        steady=True,
        idle_share=0.25,
    )
    round_ = a_round(0, passes=1, served=whole, counters={"cached_tokens": 320, "engine_flops": 4e9})
    values = found(round_)
    assert (values["gpu_joules"].value, values["seconds"].value) == (1500, pytest.approx(8))
    assert values["joules_per_token"].value == pytest.approx(800 / 2000)
    assert values["power_w"].value == pytest.approx(200)
    assert values["cached_tokens"].value == pytest.approx(2)
    assert values["engine_flops_per_token"].value == pytest.approx(1e6)
    assert values["idle_share"].value == 0.25


def test_times_of_the_service_count_from_when_a_request_was_sent():
    requests = [times(ttft=50.0 + i, due_ms=100.0 * i, sent_ms=100.0 * i + i) for i in range(101)]
    values = found(a_round(0, latency=LatencyPass(seconds=1, requests=tuple(requests))))
    assert values["ttft_p95_ms"].value == pytest.approx(145)
    assert values["ttft_service_p95_ms"].value == pytest.approx(50)
    assert values["dispatch_delay_p95_ms"].value == pytest.approx(95)
    untold = found(a_round(0, latency=LatencyPass(seconds=1, requests=(times(),))))
    assert untold["ttft_service_ms"].reason == "the engine does not tell when requests were sent"
