"""How many first rounds are warm-up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats import warmup_rounds
from pytest_lem.stats.warmup import segments


def run(seed: int, dear: int, by: float, n: int = 30, level: float = 1.0) -> list[float]:
    """A launch whose first `dear` rounds cost `by` more."""
    costs = level * np.exp(np.random.default_rng(seed).normal(0, 0.01, n))
    costs[:dear] *= 1 + by
    return costs.tolist()


def runs(dear: int, by: float, count: int = 5, n: int = 30) -> list[list[float]]:
    return [run(seed, dear, by, n, 1 + 0.02 * seed) for seed in range(count)]


def test_dear_first_rounds_are_left_out():
    assert warmup_rounds(runs(9, 0.15)) == 9


def test_warm_up_of_calm_rounds_is_no_outlier_that_is_clipped_away():
    assert warmup_rounds([[1.2] * 8 + [1.0, 1.001] * 11] * 3) == 8


def test_five_rounds_are_left_out_at_least():
    assert warmup_rounds(runs(0, 0.0)) == 5
    assert warmup_rounds(runs(3, 0.3)) == 5


def test_what_differs_by_less_than_two_percent_is_steady_enough():
    assert warmup_rounds(runs(12, 0.015)) == 5


def test_rounds_that_are_dear_for_more_than_half_do_not_become_steady():
    assert warmup_rounds(runs(18, 0.15)) is None


def test_a_warm_up_in_steps_ends_with_its_last_step():
    steps = [(np.array(run(seed, 6, 0.2)) * np.where(np.arange(30) < 11, 1.08, 1.0)).tolist() for seed in range(5)]
    assert warmup_rounds(steps) == 11


def test_one_run_that_warms_up_longer_than_the_others_does_not_decide():
    assert warmup_rounds([*runs(6, 0.2), run(9, 14, 0.2)]) == 6


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_runs_leave_out_five(count: int):
    assert warmup_rounds(runs(9, 0.2, count)) == 5


def test_runs_of_unlike_length_are_judged_over_the_shortest():
    assert warmup_rounds([run(1, 8, 0.2, 24), run(2, 8, 0.2, 30), run(3, 8, 0.2, 40)]) == 8


def test_too_few_rounds_to_leave_any_out_are_not_steady():
    assert warmup_rounds(runs(0, 0.0, n=8)) is None


def test_rounds_without_any_spread_are_steady():
    assert warmup_rounds([[1.0] * 20] * 3) == 5


def test_a_value_that_is_no_cost_is_refused():
    with pytest.raises(ValueError, match="positive, finite"):
        warmup_rounds([[1.0] * 10, [1.0] * 10, [1.0, 0.0] * 5])


def test_shifts_of_the_mean_are_found_where_they_are():
    assert segments(np.array([5.0] * 4 + [0.0] * 6 + [2.0] * 5), 0.1) == [0, 4, 10]
    assert segments(np.array([1.0, 1.01, 0.99, 1.0]), 0.1) == [0]


LAUNCHES = st.lists(st.lists(st.floats(0.5, 2.0), min_size=12, max_size=12), min_size=3, max_size=5)


@given(LAUNCHES, st.floats(0.01, 100.0))
def test_the_unit_changes_nothing_and_at_most_half_is_left_out(launches, scale):
    found = warmup_rounds(launches)
    assert found is None or 5 <= found <= 6
    assert warmup_rounds([[value * scale for value in run] for run in launches]) == found
