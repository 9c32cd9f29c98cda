"""Numbers read well and never say more than is known."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.render.numbers import (
    bounds,
    digits_for,
    interval_with_unit,
    scale_for,
    significant,
    spread,
    with_unit,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (0.04123, "0.0412"),
        (0.4125, "0.412"),
        (4.126, "4.13"),
        (9.999, "10.0"),
        (41.26, "41.3"),
        (412.6, "413"),
        (4126.4, "4126"),
        (412641.0, "412641"),
        (-41.26, "-41.3"),
        (1.5e9, "1.50e+09"),
        (1.5e-7, "1.50e-07"),
    ],
)
def test_three_significant_digits_and_no_whole_digit_lost(value, text):
    assert significant(value, 3) == text


@given(st.floats(1e-12, 1e12), st.sampled_from([3, 4]))
def test_a_shown_number_is_within_half_a_unit_of_its_last_significant_digit(value, digits):
    assert float(significant(value, digits)) == pytest.approx(value, rel=0.501 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.4123, "J/tok", "412 mJ/tok"),
        (3.214, "J/tok", "3.21 J/tok"),
        (0.00004123, "J/tok", "41.2 µJ/tok"),
        (51_234.0, "J", "51.2 kJ"),
        (1_400.0, "W", "1400 W"),
        (20.0, "ms", "20.0 ms"),
        (0.0205, "ms", "20.5 µs"),
        (2_500.0, "ms", "2.50 s"),
        (12_345.0, "tok/s", "12345 tok/s"),
        (3.2e9, "B", "2.98 GiB"),
        (512.0, "B", "512 B"),
        (0.0, "J", "0.00 J"),
    ],
)
def test_a_value_takes_the_prefix_that_reads_best(value, unit, text):
    assert with_unit(value, unit) == text


def test_a_column_has_one_unit_chosen_by_its_middle():
    scale = scale_for([3.2, 0.41, 0.11], "J/tok")
    assert scale.unit == "mJ/tok"
    assert 3.2 * scale.factor == pytest.approx(3200)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1), st.sampled_from(["J/tok", "W", "ms", "s", "B", "tok/s"]))
def test_scaling_changes_the_unit_and_not_the_value(values, unit):
    worth = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    scale = scale_for(values, unit)
    prefix = re.match(r"(Ki|Mi|Gi|[nµmkMG]?)(?=J|W|s|B|tok)", scale.unit).group()
    in_base_units = values[0] * scale.factor * worth.get(prefix, 1.0)
    assert in_base_units == pytest.approx(values[0] * (1e-3 if unit == "ms" else 1.0))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (405, 419, "±1.7 %"),
        (411.5, 412.5, "±0.12 %"),
        (300, 500, "±24 %"),
        (0, 1200, "±146 %"),
        (0, 1e9, ">±999 %"),
        (412, 412, "±0.01 %"),
    ],
)
def test_half_the_interval_is_shown_relative_to_the_value(low, high, text):
    assert spread(412.0, low, high) == text


def test_a_value_without_an_interval_shows_none():
    assert spread(412.0, None, None) == ""


def test_a_narrow_interval_earns_a_fourth_digit():
    assert digits_for(412.3, 412.1, 412.5) == 4
    assert digits_for(412.3, 405.0, 419.0) == 3
    assert digits_for(412.3, None, None) == 3


def test_bounds_have_the_decimals_of_their_value():
    assert bounds(112.3, 112.08, 112.52) == "112.1..112.5"
    assert bounds(41.23, 38.0, 45.0) == "38.0..45.0"


def test_an_interval_is_scaled_by_its_value():
    assert interval_with_unit(0.412, 0.405, 0.419, "J/tok") == "405..419 mJ/tok"
