"""The cheapest setting, found with few measurements: against an exhaustive sweep over costs that are known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.model.search import SearchPoint
from pytest_lem.search import Settings, cheapest, front, ties

BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256]


def settings(costs, kept=None, half=0.0, *, higher=False, values=None):
    """Settings whose costs are known; the first `kept` of them keep the service level."""
    values = values or list(range(len(costs)))
    kept = len(costs) if kept is None else kept

    def measure(value):
        index = values.index(value)
        cost = costs[index]
        return SearchPoint(
            value=value,
            name=str(value),
            meets=index < kept,
            objective=cost,
            low=cost - half,
            high=cost + half,
            rounds=1,
        )

    return Settings(values, measure, higher_is_better=higher)


@st.composite
def valleys(draw):
    """Strictly falling, then strictly rising costs, and how many of them keep the service level."""
    steps = draw(st.lists(st.floats(0.1, 10), min_size=0, max_size=24))
    turn = draw(st.integers(0, len(steps)))
    costs = [100.0]
    for index, step in enumerate(steps):
        costs.append(costs[-1] - step if index < turn else costs[-1] + step)
    return costs, draw(st.integers(0, len(costs)))


@given(valleys())
def test_it_finds_what_an_exhaustive_sweep_finds(valley):
    costs, kept = valley
    found = cheapest(settings(costs, kept))
    assert found == (min(range(kept), key=costs.__getitem__) if kept else None)


@given(valleys())
def test_it_measures_no_setting_twice_and_few_of_many(valley):
    costs, kept = valley
    tried = settings(costs, kept)
    cheapest(tried)
    values = [point.value for point in tried.points]
    assert len(values) == len(set(values))
    assert len(values) <= 3 * len(costs).bit_length() + 1


@given(valleys(), st.integers(0, 2**32))
def test_with_noise_its_choice_is_as_cheap_as_the_noise_allows(valley, seed):
    costs, _ = valley
    draw = random.Random(seed)
    seen = [cost + draw.uniform(-0.5, 0.5) for cost in costs]
    found = cheapest(settings(seen, half=0.5))
    assert costs[found] - min(costs) <= 1.0 + 1e-9


def test_higher_is_better_for_throughput():
    assert cheapest(settings([1.0, 4.0, 9.0, 7.0], higher=True)) == 2


def test_where_more_is_always_cheaper_it_stops_at_the_highest_that_keeps_the_level():
    costs = [64.0 / batch + 1 for batch in BATCHES]
    tried = settings(costs, kept=7, values=BATCHES)
    assert BATCHES[cheapest(tried)] == 64
    assert [point.value for point in tried.points] == [16, 64, 128, 32]


def test_settings_that_the_intervals_cannot_tell_apart_are_ties():
    tried = settings([9.0, 5.0, 5.2, 8.0], half=0.4)
    found = cheapest(tried)
    assert found == 1
    assert ties(tried.points, tried.point(found)) == (2,)


def test_what_does_not_fit_is_never_the_cheapest():
    def measure(value):
        if value > 2:
            return SearchPoint(value=value, name="", meets=False, why="it does not fit")
        return SearchPoint(value=value, name="", meets=True, objective=1 / value)

    assert cheapest(Settings([1, 2, 3, 4], measure, higher_is_better=False)) == 1


def test_the_front_holds_what_nothing_beats_in_both():
    points = [
        SearchPoint(value=batch, name="", meets=True, objective=cost, latency_ms=latency)
        for batch, cost, latency in [(1, 9.0, 5.0), (8, 4.0, 8.0), (32, 4.5, 9.0), (64, 3.0, 30.0)]
    ]
    assert front(points, higher_is_better=False) == (1, 8, 64)


@pytest.mark.parametrize("kept", range(10))
def test_the_service_level_bounds_it_wherever_it_breaks(kept):
    found = cheapest(settings([20.0 - batch for batch in range(9)], min(kept, 9)))
    assert found == (min(kept, 9) - 1 if kept else None)
