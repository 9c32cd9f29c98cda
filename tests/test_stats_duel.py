"""Two engines side by side: pairs of rounds, looked at four times at most."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats import Duel, Status, Verdict
from pytest_lem.stats.duel import ALPHAS, LOOKS, huber_mean

PAIRS = st.lists(st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)), min_size=12, max_size=12)
RANK = {Status.IMPROVED: 0, Status.OK: 1, Status.INCONCLUSIVE: 2, Status.REGRESSED: 3}


def side(seed: int, n: int, level: float = 1.0, spread: float = 0.02) -> list[float]:
    return (level * np.exp(np.random.default_rng(seed).normal(0, spread, n))).tolist()


def fought(level: float, spread: float = 0.02, **options: object) -> tuple[Verdict | str, Duel]:
    """A duel to its end, both sides launched anew for every ten pairs, B at `level` times the cost of A."""
    duel = Duel(**options)
    for launch in range(1, 5):
        a, b = side(launch, 10, 1.0, spread), side(launch + 50, 10, level, spread)
        for at in range(0, 10, 2):
            found = duel.add(a[at : at + 2], b[at : at + 2], launch)
            if found != "more":
                return found, duel
    return found, duel


def test_a_large_change_is_seen_at_the_first_look():
    found, duel = fought(1.2)
    assert (found.status, duel.pairs, found.rounds) == (Status.REGRESSED, 12, 12)
    assert found.estimate == pytest.approx(0.2, abs=0.03)
    assert found.low < found.estimate < found.high
    assert (found.relaunch, found.duel) == (False, False)


def test_a_large_saving_is_an_improvement():
    assert fought(0.8)[0].status is Status.IMPROVED


def test_tokens_a_second_fewer_are_a_regression_and_told_as_they_were_measured():
    found, _ = fought(0.85, direction="higher")
    assert found.status is Status.REGRESSED
    assert found.estimate == pytest.approx(-0.15, abs=0.03)
    assert found.low < found.estimate < found.high < 0


def test_equals_end_as_ok():
    found, duel = fought(1.0)
    assert found.status is Status.OK
    assert duel.pairs in LOOKS


def test_nothing_is_judged_between_looks():
    duel = Duel()
    assert duel.add(side(1, 11), side(2, 11, 3.0), 1) == "more"
    assert duel.add(side(3, 1), side(4, 1, 3.0), 1).status is Status.REGRESSED


def test_noise_ends_undecided_after_the_last_look():
    found, duel = fought(1.03, spread=0.3)
    assert (found.status, duel.pairs) == (Status.INCONCLUSIVE, 40)
    assert found.reason in ("noisy", "suspect")
    assert found.detectable > 0.10


def test_an_early_look_asks_for_more_than_a_late_one():
    duel = Duel()
    assert duel.add(side(1, 12, 1.0, 0.08), side(2, 12, 1.12, 0.08), 1) == "more"
    assert (
        duel.conclude().status is Status.REGRESSED
    )  # what the first look's 0.5 % does not allow, the next one's 1 % does
    assert sum(ALPHAS) == pytest.approx(0.05)


def test_pairs_from_more_launches_say_more_than_as_many_from_one():
    a, b = side(1, 11), side(2, 11, 1.04)
    one, four = Duel(), Duel()
    one.add(a, b, 1)
    for launch, at in enumerate(range(0, 11, 3), 1):
        four.add(a[at : at + 3], b[at : at + 3], launch)
    alone, more = one.conclude(), four.conclude()
    assert alone.estimate == pytest.approx(more.estimate)
    assert alone.high - alone.low > 1.2 * (more.high - more.low)


def test_a_duel_that_was_cut_short_is_judged_by_what_there_is():
    short = Duel()
    short.add(side(1, 7), side(2, 7, 1.3), 1)
    assert short.conclude().reason == "insufficient"
    assert short.conclude().detail == "7 of 8 pairs needed"
    short.add(side(3, 2), side(4, 2, 1.3), 1)
    assert short.conclude().status is Status.REGRESSED


def test_one_slow_pair_in_twelve_decides_nothing():
    a, b = side(1, 12), side(2, 12)
    b[5] *= 3
    duel = Duel()
    found = duel.add(a, b, 1)
    assert found == "more" or found.status is not Status.REGRESSED
    assert duel.conclude().estimate == pytest.approx(0.0, abs=0.03)


def test_pairs_without_any_spread_are_judged_like_others():
    assert Duel().add([1.0] * 12, [1.2] * 12, 2).status is Status.REGRESSED
    flat = Duel()
    flat.add([1.0] * 12, [1.0] * 12, 1)
    flat.add([1.0] * 8, [1.0] * 8, 2)
    assert flat.conclude().estimate == 0.0
    assert flat.conclude().status is Status.OK


@pytest.mark.parametrize(
    ("a", "b", "launches", "fault"),
    [
        ([1.0], [1.0, 2.0], 1, "no pairs"),
        ([1.0], [nan], 1, "positive, finite"),
        ([0.0], [1.0], 1, "positive, finite"),
        ([1.0], [1.0], 0, "more before"),
    ],
)
def test_what_are_no_pairs_is_refused_and_not_kept(a: list[float], b: list[float], launches: int, fault: str):
    duel = Duel()
    with pytest.raises(ValueError, match=fault):
        duel.add(a, b, launches)
    assert duel.pairs == 0


def test_launches_do_not_go_back():
    duel = Duel()
    duel.add([1.0], [1.0], 2)
    with pytest.raises(ValueError, match="more before"):
        duel.add([1.0], [1.0], 1)


def judged(pairs: Sequence[tuple[float, float]], level: float = 1.0, **options: object) -> Verdict:
    duel = Duel(**options)
    duel.add([a for a, _ in pairs], [b * level for _, b in pairs], 1)
    return duel.conclude()


@given(PAIRS)
def test_lower_joules_are_as_good_as_higher_of_their_inverse(pairs):
    a = judged(pairs)
    b = judged([(1 / x, 1 / y) for x, y in pairs], direction="higher")
    assert (a.status, a.reason) == (b.status, b.reason)
    assert (1 + a.estimate) * (1 + b.estimate) == pytest.approx(1.0)
    assert (1 + a.low) * (1 + b.high) == pytest.approx(1.0)


@given(PAIRS, st.floats(1e-3, 1e3))
def test_the_unit_changes_nothing(pairs, scale):
    a, b = judged(pairs), judged([(x * scale, y * scale) for x, y in pairs])
    assert (a.status, a.reason) == (b.status, b.reason)
    assert a.estimate == pytest.approx(b.estimate, rel=1e-6, abs=1e-9)
    assert a.p == pytest.approx(b.p, rel=1e-6, abs=1e-9)


@given(PAIRS, st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6))
def test_a_dearer_side_is_never_judged_better(pairs, levels):
    ranks = [RANK[judged(pairs, level).status] for level in sorted(levels)]
    assert ranks == sorted(ranks)


@given(PAIRS)
def test_the_same_pairs_give_the_same_verdict(pairs):
    assert judged(pairs) == judged(pairs)


@given(PAIRS)
def test_swapping_the_sides_turns_the_change_round(pairs):
    a, b = judged(pairs), judged([(y, x) for x, y in pairs])
    assert (1 + a.estimate) * (1 + b.estimate) == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=40))
def test_the_robust_mean_lies_among_the_values(values):
    assert min(values) - 1e-9 <= huber_mean(values) <= max(values) + 1e-9


def test_the_robust_mean_is_the_mean_where_nothing_is_odd():
    assert huber_mean([0.0, 0.01, 0.02, 0.03, 0.04]) == pytest.approx(0.02)
    assert huber_mean([0.0, 0.01, 0.02, 0.03, 5.0]) < 0.04
