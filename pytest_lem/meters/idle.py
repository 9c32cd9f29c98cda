"""Energy of the idle time beside a window: power that decays after work, told by few readings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, expm1, log, sqrt

from pytest_lem.meters.window import NS, Joules

_TAUS_S = (0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 2.0, 10.0)
_DECAY_STD_W = 25.0


@dataclass(frozen=True)
class PowerOver:
    """Mean power (W) between two instants, or at one where they are equal, with its standard uncertainty."""

    start_ns: int
    end_ns: int
    watts: float
    std_w: float


@dataclass(frozen=True)
class Belief:
    """Idle power that is known beforehand: mean and standard uncertainty (W)."""

    watts: float
    std_w: float


@dataclass
class _Fit:
    """Bayesian least squares of c + a exp(−t/τ) at one τ, one reading at a time; `score` is its log likelihood."""

    tau_s: float
    mean: tuple[float, float]
    cov: tuple[float, float, float]
    score: float = 0.0

    def take(self, h: tuple[float, float], watts: float, std_w: float) -> None:
        cc, ca, aa = self.cov
        gain_c, gain_a = cc * h[0] + ca * h[1], ca * h[0] + aa * h[1]
        spread = h[0] * gain_c + h[1] * gain_a + std_w * std_w
        miss = watts - h[0] * self.mean[0] - h[1] * self.mean[1]
        self.mean = (self.mean[0] + gain_c * miss / spread, self.mean[1] + gain_a * miss / spread)
        self.cov = (cc - gain_c * gain_c / spread, ca - gain_c * gain_a / spread, aa - gain_a * gain_a / spread)
        self.score -= (log(spread) + miss * miss / spread) / 2

    def joules(self, seconds: float, decay_s: float) -> tuple[float, float]:
        """Integral of the power and its variance, given the integrals of 1 and of exp(−t/τ) (s)."""
        cc, ca, aa = self.cov
        mean = self.mean[0] * seconds + self.mean[1] * decay_s
        return mean, max(cc * seconds**2 + 2 * ca * seconds * decay_s + aa * decay_s**2, 0.0)


def idle_joules(readings: Sequence[PowerOver], belief: Belief, *, origin_ns: int, start_ns: int, end_ns: int) -> Joules:
    """Energy of idle time between two instants, from readings around it.

    The model is c + a exp(−(t − `origin_ns`)/τ), the origin being when the last work ended; c is believed to be about
    `belief`, a to be tens of watts, and τ anything from 0.04 s (a step) to 10 s (a drift), each weighed by how well it
    explains the readings.
    """
    if end_ns <= start_ns:
        return Joules(0.0, 0.0)
    fits = [_fit(tau, readings, belief, origin_ns) for tau in _TAUS_S]
    best = max(fit.score for fit in fits)
    weights = [exp(fit.score - best) for fit in fits]
    seconds = (end_ns - start_ns) / NS
    parts = [fit.joules(seconds, seconds * _decay(fit.tau_s, origin_ns, start_ns, end_ns)) for fit in fits]
    mean = _weighed((joules for joules, _ in parts), weights)
    variance = _weighed((var + (joules - mean) ** 2 for joules, var in parts), weights)
    return Joules(mean, sqrt(variance))


def _fit(tau_s: float, readings: Sequence[PowerOver], belief: Belief, origin_ns: int) -> _Fit:
    fit = _Fit(tau_s, (belief.watts, 0.0), (belief.std_w**2, 0.0, _DECAY_STD_W**2))
    for reading in readings:
        fit.take((1.0, _decay(tau_s, origin_ns, reading.start_ns, reading.end_ns)), reading.watts, reading.std_w)
    return fit


def _decay(tau_s: float, origin_ns: int, start_ns: int, end_ns: int) -> float:
    """Mean of exp(−t/τ) between two instants; before the origin it counts as 1."""
    start, length = max((start_ns - origin_ns) / NS, 0.0) / tau_s, (end_ns - start_ns) / NS / tau_s
    return exp(-start) * (-expm1(-length) / length if length > 0 else 1.0)


def _weighed(values: Iterable[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
