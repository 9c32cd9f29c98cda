"""The line that a search, or a split into phases, ends with."""

from __future__ import annotations

from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.search import Search, SearchPoint
from pytest_lem.render.found import phases_line, search_line


def search(**changes) -> Search:
    points = (
        SearchPoint(value=4, name="batch=4", meets=True, objective=0.2, latency_ms=20.0, rounds=3),
        SearchPoint(value=8, name="batch=8", meets=True, objective=0.125, latency_ms=25.0, rounds=3),
    )
    asked = {
        "test": "bench/test_x.py::test_x[vllm-bf16-b1]",
        "over": "batch",
        "objective": "joules_per_token",
        "unit": "J/tok",
        "better": "lower",
        "slo": {},
        "candidates": (1, 2, 4, 8),
        "points": points,
        "best": 8,
        "latency": "tpot_p99_ms",
        "front": (4, 8),
        "rounds": 6,
    }
    return Search(**{**asked, **changes})


def test_a_search_tells_the_best_what_it_took_and_the_front():
    assert search_line(search(ties=(4,))) == (
        "test_x[vllm-bf16-b1]: best batch for joules_per_token is 8 (125 mJ/tok); too close to tell: 4; "
        "2 of 4 measured, 6 rounds; Pareto front with tpot_p99_ms: 4, 8"
    )


def test_a_search_that_found_nothing_says_so():
    assert search_line(search(best=None)) == (
        "test_x[vllm-bf16-b1]: no batch keeps the service level; 2 of 4 measured, 6 rounds"
    )


def test_phases_tell_both_costs_and_what_their_sum_misses():
    split = Phases(
        test="test_x.py::test_x",
        outputs=(1, 16, 32),
        rounds=24,
        prefill=PhasePart(tokens=512, joules=1.0, joules_per_token=0.002, low=0.0019, high=0.0021),
        decode=PhasePart(tokens=31, reason="unresolvable: too short"),
        whole_joules=2.0,
        sum_error=-0.004,
        source="measured",
    )
    assert phases_line(split) == (
        "test_x: prefill 2.00 mJ/prompt token (1.90..2.10 mJ/prompt token), decode unresolvable: too short; "
        "their sum is -0.4 % from the whole; windows, 24 rounds, this session only"
    )


def test_phases_of_traffic_tell_the_base_beside_them_and_what_half_of_the_windows_misses():
    split = Phases(
        test="test_x.py::test_x",
        method="regression",
        rounds=8,
        windows=320,
        prefill=PhasePart(tokens=512, joules=1.0, joules_per_token=0.002, low=0.0019, high=0.0021),
        decode=PhasePart(tokens=31, joules=1.8, joules_per_token=0.057, low=0.047, high=0.067),
        base=BasePart(seconds=30.0, joules=4350.0, watts=145.0, low=120.0, high=170.0),
        whole_joules=4352.0,
        sum_error=0.012,
        source="measured",
    )
    assert phases_line(split) == (
        "test_x: prefill 2.00 mJ/prompt token (1.90..2.10 mJ/prompt token), "
        "decode 57.0 mJ/token (47.0..67.0 mJ/token), base 145 W (120..170 W); "
        "half of the windows miss the others by +1.2 %; regression, 320 windows of 8 rounds, this session only"
    )
    short = split.replace(rounds=1, windows=44, source="estimated", notes=("7 rounds left out: no steady time",))
    assert phases_line(short).endswith(
        "; half of the windows miss the others by +1.2 %; regression, 44 windows of 1 round, this session only "
        "(estimated); 7 rounds left out: no steady time"
    )


def test_phases_that_lack_for_one_reason_say_it_once():
    why = "unresolvable: the engine does not tell when requests came"
    none = PhasePart(tokens=512, reason=why)
    split = Phases(
        test="t.py::test_x",
        method="regression",
        rounds=8,
        windows=0,
        prefill=none,
        decode=none,
        base=BasePart(seconds=3.0, reason=why),
        source="measured",
    )
    assert phases_line(split) == f"test_x: prefill and decode {why}; regression, 8 rounds, this session only"


def test_a_report_from_before_traffic_was_told_apart_was_made_by_windows():
    old = {
        "test": "t.py::test_x",
        "method": "regression of joules on decode tokens, answers of several lengths in turn",
    }
    old |= {"outputs": [1, 8], "rounds": 8}
    old |= {"prefill": {"tokens": 8}, "decode": {"tokens": 7}}
    split = Phases.model_validate(old)
    assert (split.method, split.base, split.windows) == ("windows", None, None)
