"""Intervals that say what they cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pytest_lem.stats.launch import VARIANCE_MARGIN, summarise

SESSION = "this session only"
CYCLES = "cycles"
RANGE = "range"
CONFIDENCE = 0.95
FEW = 4  # below it the range is told instead of an interval
RESAMPLES = 400
MIN_DF = 2.0  # simulated: 93 to 98 % coverage at four to six rounds; with 1 the intervals there are half as wide again
# A median of correlated rounds spreads more than the margin of the gate says. Simulated, 8 to 30 rounds, 5 % outliers:
# 94 to 99 % coverage up to a lag-1 correlation of 0.5, 84 % at 0.8 (without it 93 to 98 %, and 81 %).
INTERVAL_MARGIN = 1.4


@dataclass(frozen=True)
class Interval:
    """An estimate in its own unit, its bounds (None where one value stands alone), the count and what it covers."""

    value: float
    low: float | None
    high: float | None
    n: int
    covers: str


def student(df: float) -> float:
    """The two-sided 95 % quantile of Student's t with `df` (real) degrees of freedom."""
    return float(stdtrit(df, (1 + CONFIDENCE) / 2))


def rounds_interval(values: Sequence[float], floor: float = 0.0) -> Interval:
    """Median of one launch's rounds with an interval from their effective count.

    `floor` is the standard error of the log that the instrument itself claims for their mean: the interval is never
    tighter, however alike the rounds are. Two or three rounds give their range, one gives none.

    Raises ValueError for values that are not positive.
    """
    summary = summarise(values)
    if summary.n < FEW:
        return _few(values, summary.median)
    error = max(sqrt(summary.variance * INTERVAL_MARGIN / VARIANCE_MARGIN), floor)
    reach = student(max(summary.n_effective - 1, MIN_DF)) * error
    return Interval(summary.median, summary.median * exp(-reach), summary.median * exp(reach), summary.n, SESSION)


def mean_interval(values: Sequence[float]) -> Interval:
    """Geometric mean of launches (one robust number each), t interval over them; two or three give their range."""
    logs = np.log(np.asarray(values, dtype=float))
    mean = float(np.exp(logs.mean()))
    if len(values) < FEW:
        return _few(values, mean)
    reach = student(len(values) - 1) * float(np.std(logs, ddof=1)) / sqrt(len(values))
    return Interval(mean, mean * exp(-reach), mean * exp(reach), len(values), CYCLES)


def bootstrap_interval(
    groups: Sequence[NDArray[np.float64]], statistic: Callable[[NDArray[np.float64]], float], *, seed: int = 0
) -> Interval:
    """`statistic` of all groups' values pooled, with a percentile interval that resamples whole groups (rounds).

    Token times of one round are correlated, so rounds are what is drawn. The draws are seeded: same data, same bounds.
    """
    value = statistic(np.concatenate(groups))
    n = len(groups)
    if n < FEW:
        return _few([statistic(group) for group in groups], value)
    draws = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    found = [statistic(np.concatenate([groups[i] for i in draw])) for draw in draws]
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), n, SESSION)


def _few(values: Sequence[float], value: float) -> Interval:
    if len(values) < 2:
        return Interval(value, None, None, len(values), "single measurement")
    return Interval(value, min(values), max(values), len(values), RANGE)
