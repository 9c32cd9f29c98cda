"""Two measurements side by side: what is said of them is what gates would stand by."""

from __future__ import annotations

import pytest
from builders import a_cycle, a_gpu, a_measurement, a_metric, a_reading, a_round, a_window, an_engine, an_environment
from builders import metrics as known
from results_lab import TEST

from pytest_lem.compare import Side, compare
from pytest_lem.model.cycle import Recorded
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.reporting import late_metrics


def measured(joules=800.0, rounds=8, **changes):
    """A measurement of so many rounds, each of `joules`, with the metrics that they come to."""
    devices = changes.pop("devices", (a_reading(joules),))
    made = tuple(a_round(place + 1, devices=devices) for place in range(rounds))
    cycle = changes.pop("cycle", {})
    found = a_measurement(TEST, cycles=(a_cycle(rounds=made, **cycle),), **changes)
    return found.model_copy(update={"metrics": {**late_metrics(found), **changes.get("metrics", {})}})


def side(measurement, run="one", **environment):
    return Side(run, measurement, an_environment(**environment))


def pair(one, other, *keys, **changes):
    return compare(one, other, keys, **changes)


def told(one, other, key="joules_per_token", **changes):
    """What is said of that metric, of two measurements of one run."""
    (found,) = pair(side(one), side(other), key, **changes).metrics
    return found


def test_twice_the_joules_are_worse_by_a_ratio_with_its_interval():
    found = told(measured(800), measured(1600))
    assert (found.metric, found.unit, found.better) == ("joules_per_token", "J/tok", "lower")
    assert (found.reference.value, found.candidate.value) == (pytest.approx(0.4), pytest.approx(0.8))
    assert found.ratio == pytest.approx(2.0)
    assert 1.9 < found.low < 2.0 < found.high < 2.1
    assert (found.word, found.reason) == ("worse", None)
    assert told(measured(1600), measured(800)).word == "better"


def test_the_threshold_is_what_the_user_said():
    assert told(measured(), measured(), threshold=0.05).word == "alike"
    assert told(measured(), measured(), threshold=0.01).word == "unclear"


def test_configurations_of_one_run_are_told_apart_where_two_runs_are_not():
    one, other = measured(800), measured(850)
    assert pair(side(one), side(other)).apart == "session"
    assert pair(side(one), side(other, "two")).apart == "run"
    assert told(one, other).word == "worse"
    (found, *_) = pair(side(one), side(other, "two")).metrics
    assert found.word == "unclear"


def test_another_board_or_host_is_farther_apart_than_another_run():
    uuid = "GPU-other"
    moved = measured(cycle={"gpus": (uuid,)}, devices=(a_reading(device=uuid),))
    assert pair(side(measured()), side(moved, gpus=(a_gpu(uuid),))).apart == "board"
    assert pair(side(measured()), side(measured(), "two", host="bench-2")).apart == "board"


def test_what_was_asked_otherwise_is_named_before_where_it_ran():
    vllm = an_engine("vllm", options={"kv": 1, "eager": True})
    other = measured(engine=vllm, workload=WorkloadSpec(batch=16))
    gpu = a_gpu().model_copy(update={"driver": "575.1"})
    one = measured(engine=an_engine("vllm", options={"kv": 2, "eager": True}, precision="float16"))
    found = pair(side(one), side(other, gpus=(gpu,)))
    assert found.differs == (
        "precision: float16 and bfloat16",
        "options: kv=2 and kv=1",
        "driver: 570.86.15 and 575.1",
        "workload: batch 8, 128 prompt tokens, 32 output tokens and batch 16, 128 prompt tokens, 32 output tokens",
    )
    assert pair(side(one), side(one)).differs == ()


def test_the_usual_metrics_are_compared_where_any_side_has_them():
    assert [each.metric for each in pair(side(measured()), side(measured())).metrics] == [
        "joules_per_token",
        "tokens_per_second",
    ]
    window = a_window()
    assert [each.metric for each in pair(side(window), side(window)).metrics] == ["gpu_joules", "seconds"]


def test_the_users_own_metric_is_compared_though_a_launch_has_it_once():
    def scored(value):
        own = Recorded(metric="accuracy", value=value, better="higher")
        return measured(cycle={"recorded": (own,)})

    found = pair(side(scored(0.5)), side(scored(0.7))).metrics[-1]
    assert (found.metric, found.better, found.word) == ("accuracy", "higher", "better")
    assert found.ratio == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("other", "ratio", "reason"),
    [
        (measured(1600, rounds=7), 2.0, "7 of 8 rounds needed"),
        (
            measured(1600, protocol=ProtocolSpec(quick=True)),
            2.0,
            "joules of a quick run (--lem-quick) are not comparable",
        ),
        (measured(1600, cycle={"steady": False}), 2.0, "warm-up was cut before its time"),
        (
            measured(devices=(a_reading(1600, source="estimated"),)),
            2.0,
            "it is estimated, and a model's guess can neither regress nor improve",
        ),
        (measured(devices=(a_reading(None),)), None, "nvml on "),
    ],
)
def test_what_no_gate_would_take_is_not_judged_and_says_why(other, ratio, reason):
    for swapped in (False, True):
        found = told(other, measured()) if swapped else told(measured(), other)
        assert found.reason.startswith(reason)
        assert (found.word, found.low, found.high) == (None, None, None)
        assert found.ratio == (None if ratio is None else pytest.approx(1 / ratio if swapped else ratio))


def test_a_metric_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"^--metric=joules_per_tokn: unknown metric; .* is 'joules_per_token'$"):
        pair(side(measured()), side(measured()), "joules_per_tokn")


def test_a_value_of_zero_has_no_ratio():
    none = a_metric("idle_share", 0.0, low=None, high=None)
    found = told(measured(metrics=known(idle_share=none)), measured(), "idle_share")
    assert (found.ratio, found.word) == (None, None)
