"""What a gate could see, before anything of the candidate is measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pytest_lem.stats.history import ALPHA, FEWEST, FLOOR, THRESHOLD
from pytest_lem.stats.rule import Rule
from pytest_lem.stats.runs import Run, RunCost, accepted, spread


def detectable_effect(
    history: Sequence[Run],
    *,
    threshold: float = THRESHOLD,
    floor: float = FLOOR,
    alpha: float = ALPHA,
    fewest: int = FEWEST,
    board_sd: float | None = None,
) -> float:
    """The relative change of cost that a candidate needs for an 80 % chance to be called REGRESSED by its history.

    It supposes a candidate of two launches (none fails with fewer) whose rounds are as noisy as those accepted.
    Arguments as for `history_gate`. Infinite without a usable run. A history of one or two runs sees as much, but may
    not fail anything yet.
    """
    rule = Rule(threshold, floor, "lower")
    runs, _ = accepted(history, rule, fewest)
    if not runs:
        return inf
    between = spread(runs, (), board_sd)
    candidate = RunCost(0.0, between.own / 2, 2, 2 * fewest)
    return rule.detectable(between.error(len(runs), candidate), between.df, alpha)


def false_alarm_chance(gates: int, alpha: float = ALPHA) -> float:
    """The most that the chance of one false alarm or more can be among `gates` gates of unchanged code: M × α."""
    return min(1.0, gates * alpha)
