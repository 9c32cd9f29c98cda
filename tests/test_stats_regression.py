"""Least squares over blocks: values, intervals that hold the truth whatever goes together inside a block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats.regression import Block, regression

TRUTH = np.array([300.0, 0.01, 0.05])


def blocks(seed=0, *, count=8, each=30, noise=0.0, between=0.0):
    """Windows of 0.3 s with tokens of two kinds; noise in each, and a share that a whole block costs more or less."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        design = np.column_stack([draw.normal(0.3, 0.002, each), draw.gamma(2, 400, each), draw.gamma(20, 20, each)])
        values = design @ TRUTH * (1 + draw.normal(0, between))
        made.append(Block(design, values + draw.normal(0, noise, each)))
    return made


@given(st.integers(0, 2**20), st.integers(2, 12))
def test_without_noise_the_coefficients_are_exact_and_sure(seed, count):
    found = regression(blocks(seed, count=count))
    assert found.coefficients == pytest.approx(TRUTH, rel=1e-6)
    assert found.half_widths == pytest.approx(0 * TRUTH, abs=1e-6 * TRUTH.max())


@given(st.integers(0, 2**20))
def test_coefficients_are_those_of_numpys_least_squares(seed):
    made = blocks(seed, noise=5.0)
    design, values = (np.concatenate([getattr(each, name) for each in made]) for name in ("design", "values"))
    assert regression(made).coefficients == pytest.approx(np.linalg.lstsq(design, values)[0], rel=1e-6)


@given(st.integers(0, 2**20))
def test_inflation_is_what_the_other_columns_tell_of_one(seed):
    made = blocks(seed)
    design = np.concatenate([each.design for each in made])
    for column, found in enumerate(regression(made).inflation):
        one, others = design[:, column], np.delete(design, column, axis=1)
        left = one - others @ np.linalg.lstsq(others, one)[0]
        assert found == pytest.approx((one @ one) / (left @ left), rel=1e-6)


@pytest.mark.parametrize("between", [0.0, 0.02])
def test_intervals_hold_the_truth_also_where_blocks_differ(between):
    held = np.zeros(3)
    for seed in range(1000):
        found = regression(blocks(seed, noise=5.0, between=between))
        held += np.abs(found.coefficients - TRUTH) <= found.half_widths
    assert (held >= 930).all()
    assert (held <= 980).all()


def test_a_column_that_others_make_up_is_told_by_its_inflation_and_spoils_no_other():
    made = [
        Block(np.column_stack([each.design[:, 0], each.design[:, 1], 3 * each.design[:, 1]]), each.values)
        for each in blocks(1)
    ]
    inflation = regression(made).inflation
    assert inflation[0] < 10
    assert inflation[1:].min() > 1e10


def test_an_empty_column_is_zero_and_spoils_no_other():
    made = [Block(each.design * [1, 1, 0], (each.design * [1, 1, 0]) @ TRUTH) for each in blocks(1)]
    found = regression(made)
    assert found.coefficients == pytest.approx([300, 0.01, 0], rel=1e-6)
    assert found.half_widths[2] == 0


def test_one_block_tells_no_error():
    with pytest.raises(ValueError, match="two blocks"):
        regression(blocks(count=1))
