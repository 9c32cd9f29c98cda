"""Two sets of launches, one as many times as dear as the other: a ratio with its interval, and what that says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p, sqrt
from typing import Literal

from pytest_lem.stats.duel import LAUNCH_DF, LAUNCH_SD
from pytest_lem.stats.history import BOARD_SD, DOUBT, FEWEST, FLOOR, THRESHOLD
from pytest_lem.stats.rule import Difference, Rule
from pytest_lem.stats.runs import RunCost, run_cost, spread
from pytest_lem.stats.verdict import Direction

Apart = Literal["session", "run", "board"]
"""What both sides share: one session, or only their board, or not even that."""
Word = Literal["better", "worse", "alike", "unclear"]
TAIL = 0.025  # on each side of a 95 % interval


@dataclass(frozen=True)
class Contrast:
    """The candidate's metric divided by the reference's, its 95 % interval, and a word on it.

    `better` and `worse`: surely so, by more than the floor; `alike`: surely apart by less than the threshold; `unclear`
    is everything else.
    """

    ratio: float
    low: float
    high: float
    word: Word


def contrast(
    reference: Sequence[Sequence[float]],
    candidate: Sequence[Sequence[float]],
    *,
    apart: Apart,
    direction: Direction = "lower",
    threshold: float = THRESHOLD,
    fewest: int = FEWEST,
) -> Contrast | None:
    """Compare the launches of both sides, each the values of its rounds; None where a side has too few of them.

    Launches of one session differ as those of a duel do, and runs as a gate takes them to; what so few rounds leave
    open counts 2.25 times, as there. Simulated: 95 % intervals hold 97 to 100 %, with rounds of CV 8 % that are
    correlated by 0.8 88 to 98 %. Raises ValueError for a threshold that cannot be.
    """
    rule = Rule(threshold, FLOOR, direction)
    one, other = run_cost(reference, rule, fewest), run_cost(candidate, rule, fewest)
    if one is None or other is None:
        return None
    found = _session(one, other) if apart == "session" else _runs(one, other, BOARD_SD if apart == "board" else None)
    low, high = found.low(TAIL), found.high(TAIL)
    bounds = sorted(1 + rule.change(bound) for bound in (low, high))
    return Contrast(1 + rule.change(found.d), bounds[0], bounds[1], _word(rule, low, high))


def _session(one: RunCost, other: RunCost) -> Difference:
    rounds = DOUBT * (one.variance + other.variance)
    launches = LAUNCH_SD**2 * (1 / one.launches + 1 / other.launches)
    return Difference(other.cost - one.cost, sqrt(rounds + launches), LAUNCH_DF)


def _runs(one: RunCost, other: RunCost, board_sd: float | None) -> Difference:
    between = spread([one], [other], board_sd)
    return Difference(other.cost - one.cost, between.error(1, other, DOUBT), between.df)


def _word(rule: Rule, low: float, high: float) -> Word:
    floor, threshold = log1p(rule.floor), log1p(rule.threshold)
    if low > floor:
        return "worse"
    if high < -floor:
        return "better"
    return "alike" if -threshold < low and high < threshold else "unclear"
