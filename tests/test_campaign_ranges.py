"""Ranges: what they hold, and what cannot be one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.ranges import numbers
from pytest_lem.model.errors import UsageError

WHOLE = st.integers(1, 10**6)
RATES = st.floats(1e-3, 1e6)
SHAPES = st.fixed_dictionaries({"num": st.integers(2, 50), "log": st.booleans()})


def made(whole=True, **given):
    return numbers(given, whole=whole, place="here")


def test_evenly_apart_and_rounded():
    assert made(min=1, max=64, num=4) == [1, 22, 43, 64]


def test_by_a_constant_factor():
    assert made(min=1, max=1000, num=4, log=True) == [1, 10, 100, 1000]


def test_powers_of_two():
    assert made(min=1, max=64, pow2=True) == [1, 2, 4, 8, 16, 32, 64]
    assert made(min=3, max=40, pow2=True) == [4, 8, 16, 32]
    assert made(whole=False, min=0.25, max=2, pow2=True) == [0.25, 0.5, 1.0, 2.0]


def test_numbers_that_round_to_one_come_once():
    assert made(min=1, max=3, num=9) == [1, 2, 3]


def test_a_rate_is_not_rounded_to_a_whole_number():
    assert made(whole=False, min=0.5, max=2, num=4) == [0.5, 1.0, 1.5, 2]


@given(st.tuples(WHOLE, WHOLE).map(sorted), SHAPES)
def test_whole_ranges_rise_within_their_ends_and_hold_both(ends, shape):
    low, high = ends
    found = made(min=low, max=high, **shape)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (low, high)
    assert all(isinstance(number, int) for number in found)
    assert len(found) <= shape["num"]


@given(st.tuples(RATES, RATES).map(sorted), SHAPES)
def test_rates_rise_within_their_ends_and_hold_both(ends, shape):
    low, high = ends
    found = made(whole=False, min=low, max=high, **shape)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (low, high)


@given(WHOLE, st.integers(2, 50))
def test_an_even_range_that_is_wide_enough_has_as_many_numbers_as_it_says(low, count):
    found = made(min=low, max=low + 10 * count, num=count)
    steps = {right - left for left, right in pairwise(found)}
    assert len(found) == count
    assert max(steps) - min(steps) <= 1


@given(st.tuples(WHOLE, WHOLE).map(sorted))
def test_powers_of_two_are_all_those_within_the_ends(ends):
    low, high = ends
    wanted = [2**power for power in range(21) if low <= 2**power <= high]
    if wanted:
        assert made(min=low, max=high, pow2=True) == wanted
    else:
        with pytest.raises(UsageError, match="no power of two"):
            made(min=low, max=high, pow2=True)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"min": 1, "max": 8}, "here: a range needs pow2, or num from 2 to 100000, got {'min': 1, 'max': 8}"),
        ({"min": 1, "num": 3}, "here: a range needs min and max"),
        ({"min": 8, "max": 1, "num": 3}, "here: a range's min is above its max: 8 > 1"),
        ({"min": 1, "max": 8, "num": 1}, "here: a range needs pow2, or num from 2"),
        ({"min": 1, "max": 8, "num": 10**9}, "here: a range needs pow2, or num from 2"),
        ({"min": 1, "max": 8, "nmu": 3}, "here: unknown key of a range 'nmu'; the nearest known one is 'num'"),
        ({"min": 1.5, "max": 8, "num": 3}, "here: min of a range is a whole number, got 1.5"),
        ({"min": True, "max": 8, "num": 3}, "here: min of a range is a whole number, got True"),
        ({"min": 1, "max": float("inf"), "num": 3}, "here: max of a range is a whole number, got inf"),
        ({"min": 1, "max": 10**400, "pow2": True}, "here: max of a range is a number from -1e+15 to 1e+15"),
        ({"min": -(10**5000), "max": 1, "num": 3}, "here: min of a range is a number from -1e+15 to 1e+15"),
        ({"min": 0, "max": 8, "num": 3, "log": True}, "here: a log range starts above 0, got min=0"),
        ({"min": 0, "max": 8, "pow2": True}, "here: a pow2 range starts above 0, got min=0"),
        ({"min": 1, "max": 8, "pow2": True, "num": 3}, "here: a pow2 range takes min and max only"),
        ({"min": 1, "max": 8, "num": 3, "log": "yes"}, "here: log of a range is true or false, got 'yes'"),
    ],
)
def test_what_cannot_be_a_range_is_one_line(given, line):
    with pytest.raises(UsageError) as caught:
        made(**given)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
