"""Pure arithmetic that the benchmarks share: spread, quantiles, a paired ratio with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from statistics import fmean, stdev

from scipy.stats import t as student


def cv(values: Sequence[float]) -> float | None:
    """Sample standard deviation over mean; None for fewer than two values, or a mean of zero."""
    if len(values) < 2 or not fmean(values):
        return None
    return stdev(values) / fmean(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The `share` quantile, linear between order statistics (R's type 7). Raises ValueError when empty."""
    if not values:
        raise ValueError("quantile of no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def interpolate(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at `x` on the line through `points` (sorted by x), flat beyond its ends. Raises ValueError if empty."""
    if not points:
        raise ValueError("nothing to interpolate between")
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are None where there are fewer than two values."""

    mean: float
    low: float | None
    high: float | None
    n: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and Student's 95 % interval of independent values. Raises ValueError when empty."""
    if not values:
        raise ValueError("mean of no values")
    n = len(values)
    if n < 2:
        return Interval(values[0], None, None, n)
    half = float(student.ppf(0.975, n - 1)) * stdev(values) / sqrt(n)
    middle = fmean(values)
    return Interval(middle, middle - half, middle + half, n)


def paired_cost(with_it: Sequence[float], without: Sequence[float]) -> Interval:
    """What `with_it` costs beyond `without`, as a share: geometric mean of the pairs' ratios, less one.

    Raises ValueError when the two differ in length or are empty.
    """
    logs = [log(a / b) for a, b in zip(with_it, without, strict=True)]
    found = mean_interval(logs)
    low, high = (None if edge is None else exp(edge) - 1 for edge in (found.low, found.high))
    return Interval(exp(found.mean) - 1, low, high, found.n)


def percent(share: float | None, digits: int = 2) -> str:
    """A share as text, `–` where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def span(interval: Interval, digits: int = 3) -> str:
    """A share with its interval as text."""
    middle = percent(interval.mean, digits)
    if interval.low is None or interval.high is None:
        return f"{middle} (no interval, n = {interval.n})"
    return f"{middle} ({100 * interval.low:.{digits}f} to {100 * interval.high:.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])
