"""Two sides of a comparison: what their ratio is, how surely, and in which word."""

from __future__ import annotations

from math import exp, sqrt
from random import Random

import pytest

from pytest_lem.stats.contrast import contrast


def launches(level, count=1, rounds=10):
    """Rounds that lie 0.1 % around their level, alike in every launch."""
    return [[level * (1 + 0.001 * (-1) ** place) for place in range(rounds)] for _ in range(count)]


@pytest.mark.parametrize(
    ("level", "direction", "word"),
    [
        (1.2, "lower", "worse"),
        (1.2, "higher", "better"),
        (0.8, "lower", "better"),
        (0.8, "higher", "worse"),
        (1.0, "lower", "alike"),
        (1.0, "higher", "alike"),
        (1.03, "lower", "unclear"),
        (0.97, "lower", "unclear"),
    ],
)
def test_what_is_surely_apart_or_alike_is_said_and_nothing_else(level, direction, word):
    found = contrast(launches(1.0), launches(level), apart="session", direction=direction)
    assert found.word == word
    assert found.ratio == pytest.approx(level, rel=1e-3)
    assert found.low < found.ratio < found.high


def test_an_interval_of_one_session_is_that_of_two_launches():
    found = contrast(launches(1.0), launches(2.0), apart="session")
    # ± t(97.5 %, 8) × √2 × 1 %, and a little for the rounds
    assert found.high / found.ratio == pytest.approx(exp(2.306 * sqrt(2) * 0.01), rel=1e-3)
    assert found.low * found.high == pytest.approx(found.ratio**2)


def test_runs_are_farther_apart_than_configurations_of_one_and_boards_more():
    widths = []
    for apart in ("session", "run", "board"):
        found = contrast(launches(1.0), launches(1.0), apart=apart)
        widths.append(found.high - found.low)
    assert widths[0] * 2 < widths[1] < widths[2]
    assert contrast(launches(1.0), launches(1.07), apart="session").word == "worse"
    assert contrast(launches(1.0), launches(1.07), apart="run").word == "unclear"


def test_more_launches_say_more_of_one_session():
    one, four = (contrast(launches(1.0, n), launches(1.03, n), apart="session") for n in (1, 4))
    assert (four.high - four.low) < 0.6 * (one.high - one.low)
    assert (one.word, four.word) == ("unclear", "worse")


def test_alike_is_what_is_surely_within_the_threshold():
    asked = {"apart": "session"}
    assert contrast(launches(1.0), launches(1.0), **asked, threshold=0.05).word == "alike"
    assert contrast(launches(1.0), launches(1.0), **asked, threshold=0.03).word == "unclear"


@pytest.mark.parametrize("side", [[], [[1.0] * 7], [[1.0] * 7, [2.0] * 7], [[0.0] * 8], [[float("nan")] * 8]])
def test_too_few_rounds_or_values_that_are_no_costs_are_not_compared(side):
    assert contrast(side, launches(1.0), apart="run") is None
    assert contrast(launches(1.0), side, apart="run") is None


def test_a_launch_that_is_too_short_does_not_count_beside_one_that_is_not():
    found = contrast(launches(1.0), [*launches(1.2), [9.0] * 3], apart="session")
    assert found.ratio == pytest.approx(1.2, rel=1e-3)


def test_a_metric_that_a_launch_has_once_may_be_compared():
    assert contrast([[3.0]], [[6.0]], apart="session", fewest=1).ratio == pytest.approx(2.0)


def drawn(random, cv, phi, run_sd):
    """A side of two launches of ten correlated rounds, in a session that is a little dearer or cheaper."""
    run, found = random.gauss(0, run_sd), []
    for _ in range(2):
        level, noise, values = run + random.gauss(0, 0.01), random.gauss(0, 1), []
        for _ in range(10):
            values.append(exp(level + cv * noise))
            noise = phi * noise + sqrt(1 - phi**2) * random.gauss(0, 1)
        found.append(values)
    return found


@pytest.mark.parametrize(("apart", "run_sd"), [("session", 0.0), ("run", 0.02)])
@pytest.mark.parametrize(("cv", "phi"), [(0.005, 0.4), (0.02, 0.4), (0.02, 0.8), (0.08, 0.4)])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(apart, run_sd, cv, phi):
    random, held, count = Random(7), 0, 400
    for _ in range(count):
        found = contrast(drawn(random, cv, phi, run_sd), drawn(random, cv, phi, run_sd), apart=apart)
        held += found.low <= 1 <= found.high
    assert held >= 0.93 * count
