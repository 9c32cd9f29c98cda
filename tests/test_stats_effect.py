"""What a gate could see, told before it is asked."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.stats import detectable_effect, false_alarm_chance, history_gate
from pytest_lem.stats.rule import Rule, quantile

COSTS = st.lists(st.floats(0.8, 1.25), min_size=8, max_size=14)
HISTORIES = st.lists(COSTS, min_size=1, max_size=10)


def rounds(seed: int, spread: float, level: float = 1.0) -> list[float]:
    return (level * np.exp(np.random.default_rng(seed).normal(0, spread, 30))).tolist()


def test_calm_runs_see_more_than_noisy_ones():
    calm = detectable_effect([rounds(seed, 0.02) for seed in range(6)])
    noisy = detectable_effect([rounds(seed, 0.2) for seed in range(6)])
    assert 0.05 < calm < 0.10
    assert noisy > 1.5 * calm


def test_more_runs_see_more():
    history = [rounds(seed, 0.03) for seed in range(10)]
    assert detectable_effect(history) < detectable_effect(history[:3])


def test_without_runs_nothing_can_be_seen():
    assert detectable_effect([]) == inf
    assert detectable_effect([[1.0] * 7]) == inf


def test_it_follows_the_formula():
    # max(ln 1.05, ln 1.01 + t(0.98) SE) + t(0.80) SE with nine degrees of freedom; quantiles from tables of t
    assert quantile(9, 0.98) == pytest.approx(2.398, abs=0.001)
    assert quantile(9, 0.80) == pytest.approx(0.883, abs=0.001)
    seen = Rule(0.05, 0.01, "lower").detectable(0.03, 9, 0.02)
    assert seen == pytest.approx(np.exp(np.log(1.01) + 2.398 * 0.03 + 0.883 * 0.03) - 1, abs=1e-4)


def test_a_loose_threshold_is_what_can_be_seen_of_precise_runs():
    assert detectable_effect([[1.0] * 10] * 10, threshold=0.5) > 0.5


def test_it_is_near_what_the_verdict_tells_afterwards():
    history = [rounds(seed, 0.04, 1 + 0.01 * (-1) ** seed) for seed in range(6)]
    after = history_gate(history, [rounds(20, 0.04), rounds(21, 0.04)]).detectable
    assert detectable_effect(history) == pytest.approx(after, rel=0.15)


def test_after_one_launch_it_tells_what_two_of_them_would_see():
    history = [rounds(seed, 0.1, 1 + 0.01 * (-1) ** seed) for seed in range(6)]
    candidate = rounds(20, 0.1)
    one, two = history_gate(history, [candidate]), history_gate(history, [candidate, candidate])
    assert one.high - one.low > 1.1 * (two.high - two.low)
    assert one.detectable == pytest.approx(two.detectable, rel=0.1)


@given(HISTORIES, st.floats(1e-3, 1e3))
def test_the_unit_changes_nothing(history, scale):
    scaled = [[value * scale for value in run] for run in history]
    assert detectable_effect(scaled) == pytest.approx(detectable_effect(history), rel=1e-6)


@given(HISTORIES)
def test_it_is_more_than_the_threshold(history):
    assert detectable_effect(history) > 0.05


def test_many_gates_cry_wolf_more_often():
    assert false_alarm_chance(1) == 0.02
    assert false_alarm_chance(20) == pytest.approx(0.4)
    assert false_alarm_chance(80) == 1.0
