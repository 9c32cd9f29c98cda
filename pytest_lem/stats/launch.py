"""One launch → one number: a robust location of its rounds, and how well they pin it down.

Rounds inside one process are correlated, so their plain standard error is too small; the effective count of rounds
carries the lag-1 correlation. All work is on the log scale: a cost that doubles is as far up as one that halves is
down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        return float(np.sqrt(self.variance))


def summarise(values: Sequence[float]) -> LaunchSummary:
    """Summarise the rounds of one launch, in the order in which they were measured.

    `values` are positive and finite. Raises ValueError otherwise, or when there are none.
    """
    costs = np.asarray(values, dtype=float)
    if costs.size == 0 or not np.all(np.isfinite(costs)) or np.any(costs <= 0):
        raise ValueError("a launch is summarised from positive, finite values")
    logs = np.log(costs)
    clipped, outliers = clip(logs)
    n = int(logs.size)
    sd = float(np.std(clipped, ddof=1)) if n > 1 else 0.0
    phi = correlation(clipped)
    effective = n_effective(n, phi)
    variance = VARIANCE_MARGIN * sd**2 / effective
    return LaunchSummary(n, float(np.exp(np.median(logs))), sd, phi, effective, variance, outliers)


def clip(logs: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The values held to the median ± 3 × 1.4826 MAD (MAD at least 0.1 %), and how many lay outside."""
    centre = float(np.median(logs))
    reach = CLIP * MAD_TO_SD * max(float(np.median(np.abs(logs - centre))), MAD_FLOOR)
    held = np.clip(logs, centre - reach, centre + reach)
    return held, int(np.sum(held != logs))


def correlation(clipped: NDArray[np.float64]) -> float:
    """Lag-1 correlation, corrected for the bias of short series and shrunk towards 0.4 as ten rounds would."""
    n = clipped.size
    centred = clipped - clipped.mean()
    total = float(np.dot(centred, centred))
    if n < 4 or total == 0.0:
        return PHI_PRIOR
    raw = float(np.dot(centred[1:], centred[:-1])) / total
    corrected = (n * raw + 1) / (n - 3)
    return float(np.clip((n * corrected + PHI_WEIGHT * PHI_PRIOR) / (n + PHI_WEIGHT), 0.0, PHI_MAX))


def n_effective(n: int, phi: float) -> float:
    """How many independent rounds `n` rounds of an AR(1) series are worth."""
    lags = np.arange(1, n)
    return float(n / (1 + 2 * np.sum((1 - lags / n) * phi**lags)))
