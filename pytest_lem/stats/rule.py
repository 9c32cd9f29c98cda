"""From a difference of log costs to a status, and to what it could have seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import exp, expm1, isfinite, log1p

from pytest_lem.stats import student
from pytest_lem.stats.verdict import Direction, Status

POWER = 0.80


@lru_cache(maxsize=1024)
def quantile(df: float, share: float) -> float:
    """Quantile of Student's t with `df` (real, positive) degrees of freedom; kept, as gates ask the same ones."""
    if df == int(df):
        return student.quantile(int(df), share)
    from scipy.special import stdtrit  # slow to import: runs are compared with whole degrees of freedom

    return float(stdtrit(df, share))


@dataclass(frozen=True)
class Difference:
    """The candidate's log cost less the baseline's, with its standard error and degrees of freedom."""

    d: float
    error: float
    df: float

    @property
    def p(self) -> float:
        """The chance of a difference this large or larger when nothing changed."""
        from scipy.special import stdtr  # right in the far tail too, where finite sums cancel

        return float(stdtr(self.df, -self.d / self.error))

    def low(self, alpha: float) -> float:
        """The true difference is below it with a chance of `alpha`."""
        return self.d - quantile(self.df, 1 - alpha) * self.error

    def high(self, alpha: float) -> float:
        """The true difference is above it with a chance of `alpha`."""
        return self.d + quantile(self.df, 1 - alpha) * self.error


@dataclass(frozen=True)
class Rule:
    """When a difference is too large: `threshold` and `floor` are relative changes of cost.

    REGRESSED is what is surely above the floor and looks to be above the threshold; OK what is surely below the
    threshold; IMPROVED what is surely below minus the floor. Raises ValueError for what cannot be judged by.
    """

    threshold: float
    floor: float
    direction: Direction

    def __post_init__(self) -> None:
        if not (isfinite(self.threshold) and isfinite(self.floor) and self.threshold >= 0 and self.floor >= 0):
            raise ValueError(f"threshold {self.threshold} and floor {self.floor} are relative changes, 0 or more")
        if self.direction not in ("lower", "higher"):
            raise ValueError(f"direction {self.direction!r} is neither 'lower' nor 'higher'")

    def status(self, low: float, d: float, high: float) -> Status:
        """The first that holds of REGRESSED, IMPROVED and OK, for a log difference with its bounds."""
        if low > log1p(self.floor) and d > log1p(self.threshold):
            return Status.REGRESSED
        if high < -log1p(self.floor):
            return Status.IMPROVED
        return Status.OK if high < log1p(self.threshold) else Status.INCONCLUSIVE

    def cost(self, value: float) -> float:
        """The factor from a log of the metric to a log of cost: −1 where higher is better."""
        return -value if self.direction == "higher" else value

    def change(self, cost: float) -> float:
        """A difference of log costs as a relative change of the metric."""
        return expm1(self.cost(cost))

    def detectable(self, error: float, df: float, alpha: float) -> float:
        """The relative change of cost that is called REGRESSED with 80 % chance.

        ln(1 + MDE) = max(ln(1 + τ), ln(1 + m0) + t(1 − α) SE) + t(0.80) SE.
        """
        least = max(log1p(self.threshold), log1p(self.floor) + quantile(df, 1 - alpha) * error)
        return exp(least + quantile(df, POWER) * error) - 1
