"""One launch → one number: a robust location of its rounds, and how well they pin it down.

Rounds inside one process are correlated, so their plain standard error is too small; the effective count of rounds
carries the lag-1 correlation. All work is on the log scale: a cost that doubles is as far up as one that halves is
down.

Plain floats on purpose: a report's gates summarise tens of thousands of launches of some 30 rounds, and for so few
values numpy takes three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, inf, isnan, log, sqrt
from operator import mul, ne
from statistics import median

MAD_TO_SD = 1.4826  # of a normal distribution
CLIP = 3.0  # robust SDs; beyond it a value is an outlier: counted and clipped, never dropped
MAD_FLOOR = 0.001  # 0.1 %: identical rounds still have some spread
PHI_PRIOR, PHI_WEIGHT, PHI_MAX = 0.4, 10, 0.9
VARIANCE_MARGIN = 1.15  # a median is a little less efficient than a mean on clipped values


@dataclass(frozen=True)
class LaunchSummary:
    """What the rounds of one launch come to.

    `n` rounds, `median` in the values' unit, `sd` of the clipped logs, lag-1 correlation `phi` (shrunk to its prior),
    `n_effective` independent rounds, `variance` of the log of the median, `outliers` beyond three robust SDs.
    """

    n: int
    median: float
    sd: float
    phi: float
    n_effective: float
    variance: float
    outliers: int

    @property
    def standard_error(self) -> float:
        """Standard error of the log of the median; about its relative error."""
        return sqrt(self.variance)


def are_costs(values: Sequence[float]) -> bool:
    """Whether there are values, all positive and finite."""
    return len(values) > 0 and not any(map(isnan, values)) and min(values) > 0 and max(values) < inf


def summarise(values: Sequence[float]) -> LaunchSummary:
    """Summarise the rounds of one launch, in the order in which they were measured.

    `values` are positive and finite. Raises ValueError otherwise, or when there are none.
    """
    if not are_costs(values):
        raise ValueError("a launch is summarised from positive, finite values")
    logs = [log(value) for value in values]
    n, centre = len(logs), median(logs)
    clipped, outliers = clip(logs, centre)
    squares = _squares(clipped)
    sd = sqrt(squares / (n - 1)) if n > 1 else 0.0
    phi = _correlation(clipped, squares)
    effective = n_effective(n, phi)
    return LaunchSummary(n, exp(centre), sd, phi, effective, VARIANCE_MARGIN * sd**2 / effective, outliers)


def clip(logs: Sequence[float], centre: float) -> tuple[list[float], int]:
    """The values held to `centre`, their median, ± 3 × 1.4826 MAD (at least 0.1 %), and how many lay outside."""
    reach = CLIP * MAD_TO_SD * max(median([abs(value - centre) for value in logs]), MAD_FLOOR)
    low, high = centre - reach, centre + reach
    held = [low if value < low else high if value > high else value for value in logs]
    return held, sum(map(ne, held, logs))


def correlation(clipped: Sequence[float]) -> float:
    """Lag-1 correlation, corrected for the bias of short series and shrunk towards 0.4 as ten rounds would."""
    return _correlation(clipped, _squares(clipped))


def _correlation(clipped: Sequence[float], total: float) -> float:
    n = len(clipped)
    if n < 4 or total == 0.0:
        return PHI_PRIOR
    corrected = (n * _lag_one(clipped) / total + 1) / (n - 3)
    return min(max((n * corrected + PHI_WEIGHT * PHI_PRIOR) / (n + PHI_WEIGHT), 0.0), PHI_MAX)


def _lag_one(values: Sequence[float]) -> float:
    """Sum of the products of neighbours, both less the mean of all."""
    mean = fsum(values) / len(values)
    centred = [value - mean for value in values]
    return fsum(map(mul, centred[1:], centred))


def n_effective(n: int, phi: float) -> float:
    """How many independent rounds `n` rounds of an AR(1) series with −1 < `phi` < 1 are worth.

    n / (1 + 2 Σ (1 − k/n) φ^k) with k from 1 to n − 1, the sum in closed form.
    """
    rest = 1 - phi
    return n / (1 + 2 * (phi / rest - phi * (1 - phi**n) / (n * rest**2)))


def _squares(values: Sequence[float]) -> float:
    mean = fsum(values) / len(values)
    centred = [value - mean for value in values]
    return fsum(map(mul, centred, centred))
