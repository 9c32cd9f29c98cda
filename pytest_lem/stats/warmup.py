"""How many first rounds are warm-up: from all accepted runs together, as one run cannot tell it from chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pytest_lem.stats.launch import MAD_TO_SD, are_costs, clip

FEWEST_ROUNDS = 5  # left out at least, and what a history of fewer runs leaves out
FEWEST_RUNS = 3
PENALTY = 3.0  # × ln n × s²: the price of one more shift
SAME = 0.02  # segments this near to the last are as steady as it
Values = NDArray[np.float64]


def warmup_rounds(runs: Sequence[Sequence[float]]) -> int | None:
    """How many first rounds to leave out, or None where the rounds do not become steady in their first half.

    `runs` are the rounds of launches from their very first on, positive, in any unit and of any length; they are judged
    over the shortest. Fewer than three runs give five rounds (whoever measures then waits for 15 s at least).

    Raises ValueError for values that are not positive and finite.
    """
    if not all(are_costs(run) for run in runs):
        raise ValueError("warm-up is found from positive, finite values")
    if len(runs) < FEWEST_RUNS:
        return FEWEST_ROUNDS
    n = min(len(run) for run in runs)
    start = max(FEWEST_ROUNDS, _steady_from(pooled(runs, n)))
    return start if start <= n // 2 else None


def pooled(runs: Sequence[Sequence[float]], n: int) -> list[float]:
    """Median over runs of the logs of the first `n` rounds, each run less the median of its own second half."""
    logs = [[log(value) for value in run[:n]] for run in runs]
    level = [median(run[n // 2 :]) for run in logs]
    return [median([run[i] - at for run, at in zip(logs, level, strict=True)]) for i in range(n)]


def _steady_from(values: Sequence[float]) -> int:
    """Where the last of the segments begins, once those before it that are within 2 % of it belong to it.

    Clipped values tell where the mean shifts, the values themselves by how much: of calm rounds all warm-up is clipped
    to less than 2 %.
    """
    clipped = np.array(clip(values, median(values))[0])
    starts = segments(clipped, PENALTY * log(max(len(values), 2)) * _noise(clipped))
    levels = [median(part) for part in np.split(np.array(values), starts[1:])]
    start = starts[-1]
    for at, level in zip(reversed(starts), reversed(levels), strict=True):
        if abs(level - levels[-1]) > SAME:
            break
        start = at
    return start


def _noise(values: Values) -> float:
    """Variance from the differences of neighbours, which shifts of the mean hardly touch; robust, never zero."""
    differences = np.abs(np.diff(values))
    sd = MAD_TO_SD * float(np.median(differences)) / 2**0.5 if differences.size else 0.0
    return max(sd, 1e-6) ** 2


def segments(values: Values, penalty: float) -> list[int]:
    """Where each segment of constant mean starts, by optimal partition (Jackson et al. 2005): least squares + penalty.

    O(n²) of few values.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    best, before = np.zeros(values.size + 1), [0] * (values.size + 1)
    best[0] = -penalty
    for end in range(1, values.size + 1):
        length = end - np.arange(end)
        residual = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / length
        costs = best[:end] + residual + penalty
        before[end] = int(np.argmin(costs))
        best[end] = costs[before[end]]
    return _path(before)


def _path(before: Sequence[int]) -> list[int]:
    starts, end = [], len(before) - 1
    while end > 0:
        end = before[end]
        starts.append(end)
    return starts[::-1]
