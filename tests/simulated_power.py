"""Power of a simulated GPU over time, every joule of it known by closed form.

Times are seconds on the simulation's own axis, powers watts. A `PowerCurve` sums terms; each term knows its power at
an instant and its antiderivative, so the energy of any interval is a difference of two closed forms: no time steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol


class Term(Protocol):
    """One part of the power: its value at an instant and its antiderivative (any constant of integration)."""

    def watts(self, t: float) -> float: ...

    def antiderivative(self, t: float) -> float: ...


@dataclass(frozen=True)
class Idle:
    """Idle power: a base, a straight drift (W/s) and a slow wave (W amplitude, period in s, phase in radians)."""

    base_w: float = 90.0
    drift_w_per_s: float = 0.0
    wave_w: float = 0.0
    wave_period_s: float = 10.0
    wave_phase: float = 0.0

    def watts(self, t: float) -> float:
        omega = 2 * math.pi / self.wave_period_s
        return self.base_w + self.drift_w_per_s * t + self.wave_w * math.sin(omega * t + self.wave_phase)

    def antiderivative(self, t: float) -> float:
        omega = 2 * math.pi / self.wave_period_s
        wave = -self.wave_w / omega * math.cos(omega * t + self.wave_phase)
        return self.base_w * t + self.drift_w_per_s * t * t / 2 + wave


@dataclass(frozen=True)
class Work:
    """Work from `start` to `end`: bursts of `extra_w` above idle, on for the first `duty` of each `period_s`.

    The first burst begins with the work. A duty of 1 is steady load.
    """

    start: float
    end: float
    extra_w: float
    duty: float = 1.0
    period_s: float = 0.1

    def watts(self, t: float) -> float:
        if not self.start <= t < self.end:
            return 0.0
        inside = (t - self.start) % self.period_s
        return self.extra_w if inside < self.duty * self.period_s else 0.0

    def antiderivative(self, t: float) -> float:
        elapsed = min(max(t, self.start), self.end) - self.start
        whole, rest = divmod(elapsed, self.period_s)
        return self.extra_w * (whole * self.duty * self.period_s + min(rest, self.duty * self.period_s))


@dataclass(frozen=True)
class Glow:
    """Power that builds up towards `extra_w` while work runs and decays after it, both with time constant `tau_s`.

    A first-order response to the interval [start, end); responses of several works add up, since it is linear.
    """

    start: float
    end: float
    extra_w: float
    tau_s: float

    def watts(self, t: float) -> float:
        return self.extra_w * (self._step(t - self.start) - self._step(t - self.end))

    def antiderivative(self, t: float) -> float:
        return self.extra_w * (self._ramp(t - self.start) - self._ramp(t - self.end))

    def _step(self, x: float) -> float:
        return -math.expm1(-x / self.tau_s) if x > 0 else 0.0

    def _ramp(self, x: float) -> float:
        return x + self.tau_s * math.expm1(-x / self.tau_s) if x > 0 else 0.0


@dataclass
class PowerCurve:
    """The sum of its terms. Grows as work is played; the past never changes (the GPU sees to that)."""

    terms: list[Term] = field(default_factory=list)

    def watts(self, t: float) -> float:
        """Power at instant `t`."""
        return sum(term.watts(t) for term in self.terms)

    def joules(self, start: float, end: float) -> float:
        """Energy between two instants; negative where `end` lies before `start`."""
        return sum(term.antiderivative(end) - term.antiderivative(start) for term in self.terms)
