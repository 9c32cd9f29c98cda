"""One launch → one number, and how well its rounds pin it down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats.intervals import bootstrap_mean, bootstrap_percentile, mean_interval, rounds_interval
from pytest_lem.stats.launch import n_effective, summarise
from pytest_lem.stats.stopping import stop_reason

COSTS = st.lists(st.floats(0.1, 10.0), min_size=4, max_size=30)


def test_the_median_of_the_rounds_is_the_number():
    assert summarise([1.0, 2.0, 100.0]).median == pytest.approx(2.0)


def test_an_outlier_is_counted_and_clipped_but_never_dropped():
    calm = summarise([1.00, 1.01, 0.99, 1.00, 1.02, 0.98, 1.01, 0.99])
    rogue = summarise([1.00, 1.01, 0.99, 1.00, 1.02, 0.98, 1.01, 3.00])
    assert (calm.outliers, rogue.outliers) == (0, 1)
    assert rogue.n == 8
    assert rogue.sd < 0.05  # unclipped, log 3 would make it 0.39


def test_correlated_rounds_are_worth_fewer():
    assert n_effective(10, 0.0) == 10
    # (1 + 2 Σ (1 − k/10) 0.5^k)⁻¹ × 10, summed by hand
    assert n_effective(10, 0.5) == pytest.approx(10 / (1 + 2 * sum((1 - k / 10) * 0.5**k for k in range(1, 10))))
    assert n_effective(10, 0.9) < n_effective(10, 0.5) < 10


@given(COSTS, st.floats(0.01, 100.0))
def test_the_unit_of_the_cost_changes_no_relative_error(costs, scale):
    a, b = summarise(costs), summarise([cost * scale for cost in costs])
    assert b.median == pytest.approx(a.median * scale)
    assert b.standard_error == pytest.approx(a.standard_error, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("costs", [[], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_a_cost_that_cannot_be_is_refused(costs):
    with pytest.raises(ValueError, match="positive, finite"):
        summarise(costs)


def test_one_round_has_no_interval_and_three_give_their_range():
    alone = rounds_interval([2.0])
    assert (alone.value, alone.low, alone.high, alone.covers) == (pytest.approx(2.0), None, None, "single measurement")
    three = rounds_interval([1.0, 2.0, 4.0])
    assert (three.low, three.high) == (1.0, 4.0)
    assert three.covers.startswith("range")


def test_the_interval_of_rounds_is_never_tighter_than_the_meter_knows():
    same = [1.0] * 8
    tight, honest = rounds_interval(same), rounds_interval(same, floor=0.01)
    assert tight.high - tight.low < 0.005
    assert honest.high / honest.value > 1.01


def test_the_interval_over_rounds_says_that_it_covers_this_session_only():
    assert rounds_interval([1.0, 1.1, 0.9, 1.0]).covers == "this session only"
    assert mean_interval([1.0, 1.1, 0.9, 1.0]).covers == "cycles"


def test_intervals_of_correlated_rounds_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(600):
        noise = [rng.normal(0, 0.03)]
        for _ in range(19):
            noise.append(0.5 * noise[-1] + rng.normal(0, 0.03 * np.sqrt(0.75)))
        found = rounds_interval(list(np.exp(noise)))
        hits += found.low <= 1.0 <= found.high
    assert 0.93 <= hits / 600 <= 0.99


def test_the_bootstrap_draws_whole_rounds_and_repeats_itself():
    groups = [np.full(50, value) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]
    a, b = bootstrap_mean(groups), bootstrap_mean(groups)
    assert a == b
    assert a.value == 3.0
    assert a.low < 2.5 < 3.5 < a.high  # 250 values drawn one by one would give ±0.17


def test_a_percentiles_bounds_are_those_of_drawing_rounds_again_and_again():
    rng = np.random.default_rng(3)
    groups = [rng.normal(10 + 0.3 * index, 1, 3000) for index in range(8)]
    for percent in (50, 90, 99):
        found = bootstrap_percentile(groups, percent)
        draws = [rng.integers(0, 8, 8) for _ in range(400)]
        slow = [np.percentile(np.concatenate([groups[i] for i in draw]), percent) for draw in draws]
        assert found.value == np.percentile(np.concatenate(groups), percent)
        width = found.high - found.low
        assert found.low == pytest.approx(np.quantile(slow, 0.025), abs=0.15 * width)
        assert found.high == pytest.approx(np.quantile(slow, 0.975), abs=0.15 * width)


def test_a_percentile_of_few_values_lies_on_them():
    groups = [np.array([1.0, 2.0, 50.0])] * 4
    assert bootstrap_percentile(groups, 99).high == 50.0
    assert bootstrap_percentile(groups, 50).low == bootstrap_percentile(groups, 50).high == 2.0


def test_rounds_stop_when_they_are_precise():
    calm = [1.0, 1.001, 0.999, 1.0, 1.001, 0.999, 1.0, 1.001]
    assert stop_reason(calm[:7], minimum=8, maximum=30, precision=0.015) is None
    assert stop_reason(calm, minimum=8, maximum=30, precision=0.015) == "precision"


def test_rounds_stop_when_thirty_of_them_would_not_be_precise_either():
    wild = [1.0, 2.0, 0.5, 1.5, 0.7, 2.2, 0.6, 1.4]
    assert stop_reason(wild, minimum=8, maximum=30, precision=0.015) == "forecast"


def test_rounds_go_on_while_more_of_them_would_help():
    middling = [1.0, 1.06, 0.95, 1.04, 0.94, 1.05, 0.96, 1.03]
    summary = summarise(middling)
    assert summary.standard_error > 0.015
    assert stop_reason(middling, minimum=8, maximum=30, precision=0.015) is None
    assert stop_reason([*middling, 1.0], minimum=8, maximum=30, precision=0.015) is None  # looks at even counts
    assert stop_reason(middling * 4, minimum=8, maximum=30, precision=0.001) == "max-rounds"
