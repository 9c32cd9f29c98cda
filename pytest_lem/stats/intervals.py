"""Intervals that say what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from pytest_lem.stats.launch import VARIANCE_MARGIN, summarise
from pytest_lem.stats.rule import quantile

SESSION = "this session only"
CYCLES = "cycles"
RANGE = "range"
CONFIDENCE = 0.95
FEW = 4  # below it the range is told instead of an interval
RESAMPLES = 400
LEVELS = 2048
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
    return quantile(df, (1 + CONFIDENCE) / 2)


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


def bootstrap_mean(groups: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Interval:
    """Mean of all groups' values pooled, with a percentile interval that resamples whole groups (rounds).

    Token times of one round are correlated, so rounds are what is drawn. The draws are seeded: same data, same bounds.
    """
    sums = np.array([group.sum() for group in groups])
    counts = np.array([group.size for group in groups], dtype=float)
    value = float(sums.sum() / counts.sum())
    if len(groups) < FEW:
        return _few([float(mean) for mean in sums / counts], value)
    times = _times_drawn(len(groups), seed)
    return _bounded(value, (times @ sums) / (times @ counts), len(groups))


def bootstrap_percentile(groups: Sequence[NDArray[np.float64]], percent: float, *, seed: int = 0) -> Interval:
    """The percentile of all groups' values pooled, with an interval as `bootstrap_mean` gives it.

    The value is exact; the bounds lie on one of at most LEVELS levels that hold equal shares of the values: half a
    million token times cost no more than a few thousand.
    """
    pooled = np.concatenate(groups)
    value = float(np.percentile(pooled, percent))
    if len(groups) < FEW:
        return _few([float(np.percentile(group, percent)) for group in groups], value)
    levels = np.unique(pooled if pooled.size <= LEVELS else np.quantile(pooled, np.linspace(0, 1, LEVELS)))
    held = [np.bincount(np.searchsorted(levels, group), minlength=levels.size) for group in groups]
    below = np.cumsum(_times_drawn(len(groups), seed) @ np.array(held, dtype=float), axis=1)
    reached = np.argmax(below >= percent / 100 * below[:, -1:], axis=1)
    return _bounded(value, levels[reached], len(groups))


def _times_drawn(n: int, seed: int) -> NDArray[np.float64]:
    """How often each of `n` groups is drawn in each resample: an array of RESAMPLES × n."""
    draws = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    return np.array([np.bincount(draw, minlength=n) for draw in draws], dtype=float)


def _bounded(value: float, found: NDArray[np.float64], n: int) -> Interval:
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), n, SESSION)


def _few(values: Sequence[float], value: float) -> Interval:
    if len(values) < 2:
        return Interval(value, None, None, len(values), "single measurement")
    return Interval(value, min(values), max(values), len(values), RANGE)
