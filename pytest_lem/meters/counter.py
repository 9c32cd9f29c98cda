"""One GPU's energy counter, asked no more often than it can bear."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.tick_train import BEHIND_NS, Tick

MS = 1_000_000
POLL_NS = 3 * MS
"""A counter call keeps the GPU's own controller busy for about 3 ms: never ask more often."""


@dataclass(frozen=True)
class Look:
    """One call of the counter: when it began and ended, and its answer."""

    began_ns: int
    ended_ns: int
    millijoules: int

    @property
    def middle_ns(self) -> int:
        """The middle of the call."""
        return (self.began_ns + self.ended_ns) // 2

    @property
    def length_ns(self) -> int:
        """How long the call took."""
        return self.ended_ns - self.began_ns


@dataclass
class Counter:
    """The counter of `driver`, paced over all windows; `shown` is the first look that found what it shows now."""

    driver: GpuDriver
    clock: Clock
    shown: Look | None = None
    _asked_ns: int = 0

    def look(self) -> Look:
        """Ask it, 3 ms after the last call began or later. Raises MeterError."""
        self.clock.sleep_until_ns(self._asked_ns + POLL_NS)
        self._asked_ns = self.clock.now_ns()
        millijoules = self.driver.energy_mj()
        return Look(self._asked_ns, self.clock.now_ns(), millijoules)


def tick_between(before: Look, after: Look) -> Tick:
    """The tick between two looks, each of which read the counter somewhere inside its call (uniform)."""
    gap, spread = after.middle_ns - before.middle_ns, before.length_ns**2 + after.length_ns**2
    variance = (gap**2 + spread / 12) / 12 + spread / 48
    middle = (after.middle_ns + before.middle_ns) // 2 - BEHIND_NS
    half = (after.ended_ns - before.began_ns) / 2
    return Tick(middle, sqrt(variance), after.millijoules / 1000, half, (after.millijoules - before.millijoules) / 1000)
