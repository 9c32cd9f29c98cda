"""A candidate against the runs accepted before it."""

from __future__ import annotations

from itertools import pairwise
from math import exp, inf, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats import Status, history_gate, inconclusive
from pytest_lem.stats.runs import RunCost, Spread
from pytest_lem.stats.stopping import stop_reason

COSTS = st.lists(st.floats(0.5, 2.0), min_size=8, max_size=14)
HISTORIES = st.lists(COSTS, min_size=3, max_size=6)


def rounds(seed: int, level: float = 1.0, n: int = 20, spread: float = 0.02) -> list[float]:
    """Rounds of one launch at a cost of `level`, as much apart as rounds on a calm GPU are."""
    return (level * np.exp(np.random.default_rng(seed).normal(0, spread, n))).tolist()


def runs(count: int = 6) -> list[list[float]]:
    """Runs of unchanged code, each 1 % dearer or cheaper than the one before."""
    return [rounds(seed, exp(0.01 * (-1) ** seed)) for seed in range(count)]


def twice(level: float) -> list[list[float]]:
    """A candidate that was launched twice."""
    return [rounds(100, level), rounds(101, level)]


def test_tokens_a_second_ten_percent_fewer_are_a_regression_and_ten_percent_more_an_improvement():
    worse = history_gate(runs(), twice(0.9), direction="higher")
    better = history_gate(runs(), twice(1.1), direction="higher")
    assert (worse.status, better.status) == (Status.REGRESSED, Status.IMPROVED)
    assert worse.estimate == pytest.approx(-0.10, abs=0.01)
    assert worse.low < worse.estimate < worse.high < -0.01
    assert better.estimate == pytest.approx(0.10, abs=0.01)
    assert 0.01 < better.low < better.estimate < better.high


def test_joules_ten_percent_more_are_a_regression_and_fewer_an_improvement():
    worse = history_gate(runs(), twice(1.1))
    assert worse.status is Status.REGRESSED
    assert worse.estimate == pytest.approx(0.10, abs=0.01)
    assert worse.low < worse.estimate < worse.high
    assert history_gate(runs(), twice(0.9)).status is Status.IMPROVED


def test_the_same_code_is_ok_and_the_verdict_says_by_what():
    found = history_gate(runs(), [rounds(100)])
    assert (found.status, found.reason, found.detail) == (Status.OK, None, "")
    assert (found.runs, found.rounds, found.dropped, found.threshold) == (6, 20, (), 0.05)
    assert found.low < found.estimate < found.high < 0.05
    assert not found.relaunch


def test_nothing_fails_on_one_launch_a_second_is_asked_for_and_then_it_fails():
    first = history_gate(runs(), [rounds(100, 1.12)])
    assert (first.status, first.reason, first.relaunch, first.duel) == (Status.INCONCLUSIVE, "suspect", True, True)
    assert first.p < 0.10
    second = history_gate(runs(), twice(1.12))
    assert (second.status, second.relaunch, second.rounds) == (Status.REGRESSED, False, 40)


def test_a_second_launch_that_is_as_it_was_clears_the_first():
    assert history_gate(runs(), [rounds(100, 1.06)]).relaunch
    cleared = history_gate(runs(), [rounds(100, 1.06), rounds(101, 0.99)])
    assert cleared.status is not Status.REGRESSED
    assert cleared.estimate == pytest.approx(0.025, abs=0.01)


def test_one_launch_may_be_given_as_its_rounds_alone():
    assert history_gate(runs(), rounds(100)) == history_gate([[run] for run in runs()], [rounds(100)])


def test_without_an_accepted_run_nothing_is_compared():
    found = history_gate([], [rounds(100)])
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "insufficient")
    assert found.detail == "0 of 3 runs needed before this gate can fail"
    assert (found.estimate, found.low, found.p, found.detectable, found.runs) == (None, None, None, None, 0)
    assert (found.duel, found.relaunch) == (True, False)


@pytest.mark.parametrize("count", [1, 2])
def test_with_fewer_than_three_runs_it_tells_the_change_but_never_fails(count: int):
    found = history_gate(runs(count), twice(1.5))
    assert (found.status, found.reason, found.runs) == (Status.INCONCLUSIVE, "insufficient", count)
    assert found.detail == f"{count} of 3 runs needed before this gate can fail"
    assert found.estimate == pytest.approx(0.5, abs=0.03)
    assert found.duel
    assert history_gate(runs(count), twice(0.5)).status is Status.IMPROVED


def test_rounds_too_few_are_not_judged():
    found = history_gate(runs(), [[1.5]])
    assert (found.status, found.reason, found.detail) == (Status.INCONCLUSIVE, "insufficient", "1 of 8 rounds needed")
    assert history_gate(runs(), [[]]).detail == "0 of 8 rounds needed"
    assert history_gate(runs(), []).reason == "insufficient"
    assert history_gate(runs(), [rounds(100, n=7)]).reason == "insufficient"
    assert history_gate(runs(), [rounds(100, 0.98, n=7)], fewest=7).status is Status.OK


@pytest.mark.parametrize("bad", [nan, 0.0, -1.0, inf])
def test_a_value_that_is_no_cost_is_neither_judged_nor_learned_from(bad: float):
    spoilt = [*rounds(7), bad]
    found = history_gate(runs(), [spoilt])
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "insufficient")
    assert found.detail == "a value that is not a positive, finite number"
    assert history_gate([spoilt, *runs()], twice(1.1)) == history_gate(runs(), twice(1.1))


def test_one_rogue_run_is_left_out_and_named():
    history = runs()
    history[2] = rounds(2, 1.4)
    found = history_gate(history, twice(1.12))
    assert (found.status, found.dropped, found.runs) == (Status.REGRESSED, (2,), 5)


def test_four_runs_that_agree_by_chance_drop_no_fifth_that_is_as_near_as_runs_are():
    history = [rounds(1)] * 4 + [rounds(1, 1.02)]
    assert history_gate(history, [rounds(100)]).dropped == ()


def test_six_slow_rounds_in_a_burst_fail_nothing():
    burst = [value * (1.5 if 7 <= at < 13 else 1.0) for at, value in enumerate(rounds(100, n=30))]
    found = history_gate(runs(), [burst])
    assert found.status is not Status.REGRESSED
    assert found.estimate < 0.05
    assert history_gate(runs(), [burst, burst]).status is not Status.REGRESSED


def test_rounds_without_any_spread_are_judged_like_others():
    flat = [[1.0] * 10] * 5
    assert history_gate(flat, [[1.0] * 10]).status is Status.OK
    assert history_gate(flat, [[1.1] * 10] * 2).status is Status.REGRESSED
    assert history_gate(flat, [[1.03] * 10] * 2).status is not Status.REGRESSED


def test_a_creep_of_one_percent_a_run_shows_against_the_first_runs_not_the_last():
    creeping = [rounds(seed, 1.01**seed) for seed in range(12)]
    candidate = [rounds(12, 1.01**12), rounds(13, 1.01**12)]
    assert history_gate(creeping, candidate).status is not Status.REGRESSED
    first = history_gate(creeping[:5], candidate)
    assert first.status is Status.REGRESSED
    assert first.estimate == pytest.approx(1.01**10 - 1, abs=0.015)


def test_only_the_last_ten_runs_count():
    old = [rounds(seed, 1.02) for seed in range(50, 55)]
    ten = [rounds(seed, exp(0.01 * (-1) ** seed)) for seed in range(10)]
    found = history_gate([*old, *ten], [rounds(100)])
    assert (found.status, found.runs) == (Status.OK, 10)
    assert found.estimate == pytest.approx(0.0, abs=0.02)


def test_runs_on_other_boards_widen_what_is_said():
    here, elsewhere = history_gate(runs(), twice(1.1)), history_gate(runs(), twice(1.1), board_sd=0.025)
    assert here.status is Status.REGRESSED
    assert elsewhere.high - elsewhere.low > 1.2 * (here.high - here.low)
    assert elsewhere.detectable > here.detectable


def test_rounds_too_noisy_to_tell_say_so():
    noisy = [rounds(seed, spread=0.25) for seed in range(5)]
    found = history_gate(noisy, [rounds(101, spread=0.25)])
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "noisy")
    assert found.p > 0.10
    assert found.detectable > 0.15


def test_a_candidate_that_stays_suspect_asks_for_a_third_launch_and_for_no_fourth():
    second = history_gate(runs(), twice(1.045))
    assert (second.status, second.reason, second.relaunch) == (Status.INCONCLUSIVE, "suspect", True)
    assert second.detail == "two launches; it may fail with a third"
    third = history_gate(runs(), [*twice(1.045), rounds(102, 1.045)])
    assert (third.status, third.reason, third.relaunch) == (Status.INCONCLUSIVE, "suspect", False)
    assert third.detail == ""


FLAT = [[1.0] * 10] * 5


def level(*costs: float) -> list[list[float]]:
    """A candidate of launches without any spread between their rounds."""
    return [[cost] * 10 for cost in costs]


def test_two_dear_launches_are_a_regression():
    found = history_gate(FLAT, level(1.1, 1.1))
    assert (found.status, found.reason, found.detail) == (Status.REGRESSED, None, "")
    assert found.estimate == pytest.approx(0.1)


@pytest.mark.parametrize("costs", [(1.2, 1.0), (1.0, 1.2)])
def test_one_dear_launch_of_two_fails_nothing_and_asks_for_a_third(costs: tuple[float, ...]):
    found = history_gate(FLAT, level(*costs))
    assert (found.status, found.reason, found.relaunch) == (Status.INCONCLUSIVE, "suspect", True)
    assert found.estimate == pytest.approx(1.2**0.5 - 1)  # which would be REGRESSED, were both launches like it
    assert found.low > 0.01


def test_a_cold_launch_is_outvoted_by_two_warm_ones_and_one_warm_by_two_dear_ones():
    cold = history_gate(FLAT, level(1.2, 1.0, 1.0))
    assert (cold.status, cold.reason, cold.relaunch) == (Status.INCONCLUSIVE, "suspect", False)
    assert cold.estimate > 0.05
    assert cold.detail == "without the dearest of its 3 launches it is not clear enough"
    assert history_gate(FLAT, level(1.2, 1.0, 1.2)).status is Status.REGRESSED


def test_what_is_left_without_the_dearest_launch_must_be_clear_of_three_fifths_of_the_threshold():
    # one launch of no spread: SE² = s²/5 + s² with s² = 4 × 0.02²/8, eight degrees of freedom, t(0.90) = 1.397
    least = 0.6 * log(1.05) + 1.397 * (1.2 * 4 * 0.02**2 / 8) ** 0.5
    above, below = exp(least + 1e-4), exp(least - 1e-4)
    assert history_gate(FLAT, level(1.1, above)).status is Status.REGRESSED
    assert history_gate(FLAT, level(1.1, below)).status is Status.INCONCLUSIVE


@given(st.floats(1.0, 100.0), st.permutations(range(3)))
def test_however_dear_one_launch_is_it_fails_nothing_alone(cost, order):
    launches = [rounds(100, cost), rounds(101, 0.99), rounds(102, 0.99)]
    found = history_gate(runs(), [launches[at] for at in order])
    assert found.status is not Status.REGRESSED
    assert found == history_gate(runs(), launches)


def test_ok_doubts_what_rounds_tell_of_their_own_noise():
    between, candidate = Spread(total=8e-4, own=3e-4, df=8), RunCost(0.0, 2e-4, 2, 40)
    assert between.error(5, candidate) ** 2 == pytest.approx(8e-4 / 5 + 5e-4 + 2e-4)
    assert between.error(5, candidate, 2.25) ** 2 == pytest.approx(8.6e-4 + 1.25 * (3e-4 / 5 + 2e-4))
    found = history_gate(FLAT, level(1.0))  # no spread, no doubt: 1.2 s² as above, t(0.95) = 1.860
    assert found.high == pytest.approx(exp(1.860 * (1.2 * 4 * 0.02**2 / 8) ** 0.5) - 1, abs=1e-4)


def test_what_was_not_compared_says_why():
    found = inconclusive("incomparable", "driver 570.1 then, 575.2 now", threshold=0.05, runs=4, rounds=20)
    assert (found.status, found.reason, found.detail) == (Status.INCONCLUSIVE, "incomparable", found.detail)
    assert (found.estimate, found.duel, found.relaunch) == (None, False, False)


@pytest.mark.parametrize("wrong", [{"threshold": -0.01}, {"threshold": nan}, {"floor": -1.0}, {"direction": "up"}])
def test_what_cannot_be_judged_by_is_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match=r"threshold|direction"):
        history_gate(runs(), twice(1.0), **wrong)


@given(HISTORIES, COSTS, COSTS)
def test_lower_joules_are_as_good_as_higher_of_their_inverse(history, first, second):
    inverse = [[[1 / value for value in run]] for run in history]
    a = history_gate(history, [first, second])
    b = history_gate(inverse, [[1 / v for v in first], [1 / v for v in second]], direction="higher")
    assert (a.status, a.reason, a.relaunch, a.duel, a.dropped) == (b.status, b.reason, b.relaunch, b.duel, b.dropped)
    assert (1 + a.estimate) * (1 + b.estimate) == pytest.approx(1.0)
    assert (1 + a.low) * (1 + b.high) == pytest.approx(1.0)
    assert (1 + a.high) * (1 + b.low) == pytest.approx(1.0)
    assert a.detectable == pytest.approx(b.detectable)


@given(HISTORIES, COSTS, st.floats(1e-3, 1e3))
def test_the_unit_changes_nothing(history, candidate, scale):
    a = history_gate(history, [candidate])
    b = history_gate([[v * scale for v in run] for run in history], [[v * scale for v in candidate]])
    assert (a.status, a.reason, a.dropped) == (b.status, b.reason, b.dropped)
    assert a.estimate == pytest.approx(b.estimate, rel=1e-6, abs=1e-9)
    assert a.p == pytest.approx(b.p, rel=1e-6, abs=1e-9)


RANK = {Status.IMPROVED: 0, Status.OK: 1, Status.INCONCLUSIVE: 2, Status.REGRESSED: 3}


@given(HISTORIES, COSTS, COSTS, st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6))
def test_a_dearer_candidate_is_never_judged_better(history, first, second, levels):
    found = [history_gate(history, [[v * s for v in first], [v * s for v in second]]) for s in sorted(levels)]
    ranks = [RANK[each.status] for each in found]
    assert ranks == sorted(ranks)
    ps = [each.p for each in found]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(ps))


@given(HISTORIES, COSTS)
def test_the_same_values_give_the_same_verdict(history, candidate):
    assert history_gate(history, [candidate]) == history_gate(history, [candidate])


@given(HISTORIES, COSTS, st.floats(0.2, 5.0))
def test_one_launch_never_fails_and_asks_for_another_when_in_doubt(history, candidate, level):
    found = history_gate(history, [[value * level for value in candidate]])
    assert found.status is not Status.REGRESSED
    assert found.relaunch == (found.status is Status.INCONCLUSIVE and found.p < 0.10)
    assert found.duel == (found.p < 0.35)


@given(HISTORIES, COSTS, COSTS)
def test_what_is_told_is_in_order(history, first, second):
    found = history_gate(history, [first, second])
    assert found.low <= found.estimate <= found.high
    assert found.detectable > 0.05
    assert 0 <= found.p <= 1


def test_rounds_go_on_where_they_are_imprecise_but_still_of_use_to_a_gate():
    imprecise = [1.0, 1.15, 0.9, 1.1, 0.88, 1.12, 0.91, 1.05]
    assert stop_reason(imprecise, minimum=8, maximum=30, precision=0.015) is None
