"""Watches one GPU's energy counter for its ticks, and its power beside them, while the GPU is idle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt

from pytest_lem.meters.idle import PowerOver
from pytest_lem.meters.meter import Clock, GpuDriver

MS = 1_000_000
POLL_NS = 3 * MS
"""A counter call keeps the GPU's own controller busy for about 3 ms: never ask more often."""
REFRESH_NS = 100 * MS
"""How often field 186 gets a new value (H100); a reading may be as old as this."""
STILL_NS = 1000 * MS
"""A counter that has not ticked for this long stands still: ten of an H100's ticks."""
_SHARP_NS = 12 * MS
"""A tick seen between calls further apart than this (a slow call) is known too badly: take the next one."""
_TRIES = 3
_READING_STD_W = 1.0
_LAG_NS = 30 * MS


@dataclass(frozen=True)
class Tick:
    """A change of the counter: when (middle of what is possible, standard uncertainty), and what it shows since."""

    time_ns: int
    std_ns: float
    joules: float
    bracket_ns: int = 0


@dataclass(frozen=True)
class _Look:
    """One call of the counter: when it began and ended, and its answer."""

    began_ns: int
    ended_ns: int
    millijoules: int

    @property
    def middle_ns(self) -> int:
        return (self.began_ns + self.ended_ns) // 2

    @property
    def length_ns(self) -> int:
        return self.ended_ns - self.began_ns


def _tick(before: _Look, after: _Look) -> Tick:
    """The tick between two looks, each of which read the counter somewhere inside its call (uniform)."""
    gap, spread = after.middle_ns - before.middle_ns, before.length_ns**2 + after.length_ns**2
    variance = (gap**2 + spread / 12) / 12 + spread / 48
    middle = (after.middle_ns + before.middle_ns) // 2
    return Tick(middle, sqrt(variance), after.millijoules / 1000, after.ended_ns - before.began_ns)


@dataclass
class PowerWatch:
    """Collects the values of a power field that were taken after `since_ns`, each with the time of its refresh.

    The field keeps its value between refreshes, so a first value may date from before `since_ns`; it counts when it is
    young enough for sure.
    """

    read: Callable[[], float]
    clock: Clock
    since_ns: int
    readings: list[PowerOver] = field(default_factory=list)
    _value: float | None = None
    _seen_ns: int = 0
    _dated: bool = True

    def look(self) -> None:
        """Read the field once."""
        value = self.read()
        now = self.clock.now_ns()
        if self._value is None:
            self._first(now, value)
        elif value != self._value:
            middle = (self._seen_ns + now) // 2
            self.readings.append(PowerOver(middle, middle, value, _READING_STD_W))
            self._dated = True
        elif not self._dated:
            self._first(now, value)
        self._value, self._seen_ns = value, now

    def _first(self, now: int, value: float) -> None:
        self._dated = now - REFRESH_NS >= self.since_ns
        if self._dated:
            self.readings.append(PowerOver(now - REFRESH_NS, now, value, 2 * _READING_STD_W))


@dataclass
class IdleWatch:
    """One stretch of idle time, from `since_ns` on: the counter's ticks, the power readings, the faults seen.

    Without an instantaneous power field (`instant` false) power is told by the ticks themselves.
    """

    driver: GpuDriver
    clock: Clock
    since_ns: int
    instant: bool = True
    ticks: list[Tick] = field(default_factory=list)
    backwards: bool = False
    _last: _Look | None = None

    def __post_init__(self) -> None:
        self.power = PowerWatch(self.driver.power_w, self.clock, self.since_ns)

    @property
    def readings(self) -> tuple[PowerOver, ...]:
        """Power of this idle time, as far as it is known."""
        return tuple(self.power.readings) if self.instant else self._between_ticks()

    def head_tick(self) -> Tick | None:
        """The first sharp tick; None when the counter stands still. Raises MeterError where it cannot be read."""
        enough = 1 if self.instant else 2
        return self._sharp(lambda tick: len(self.ticks) >= enough)

    def tail_tick(self) -> Tick | None:
        """The first sharp tick that is the second one since `since_ns`, and 100 ms after it, so that a lagging counter
        has taken in all the work. None when the counter stands still. Raises MeterError where it cannot be read.
        """
        late = self.clock.now_ns() - self.since_ns >= REFRESH_NS
        enough = 1 if late and self.instant else 2
        earliest = self.since_ns + REFRESH_NS
        return self._sharp(lambda tick: len(self.ticks) >= enough and tick.time_ns >= earliest)

    def settle(self, count: int, until_ns: int) -> None:
        """Look at the power alone until `count` readings are there, or until `until_ns`."""
        while self.instant and len(self.power.readings) < count and self.clock.now_ns() < until_ns:
            self.power.look()
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_NS)

    def _sharp(self, accept: Callable[[Tick], bool]) -> Tick | None:
        best: Tick | None = None
        for _ in range(_TRIES):
            tick = self._wait(accept)
            if tick is None:
                break
            best = tick if best is None or tick.std_ns < best.std_ns else best
            if tick.bracket_ns <= _SHARP_NS:
                break
        return best

    def _wait(self, accept: Callable[[Tick], bool]) -> Tick | None:
        deadline = max(self.clock.now_ns(), self.since_ns) + STILL_NS
        while self.clock.now_ns() < deadline:
            tick = self._poll()
            if tick is not None and accept(tick):
                return tick
        return None

    def _poll(self) -> Tick | None:
        if self._last is not None:
            self.clock.sleep_until_ns(self._last.began_ns + POLL_NS)
        look = self._look()
        before, self._last = self._last, look
        if self.instant:
            self.power.look()
        if before is None or look.millijoules == before.millijoules:
            return None
        if look.millijoules < before.millijoules:
            self.backwards = True
            self.ticks.clear()
            return None
        self.ticks.append(_tick(before, look))
        return self.ticks[-1]

    def _look(self) -> _Look:
        began = self.clock.now_ns()
        millijoules = self.driver.energy_mj()
        return _Look(began, self.clock.now_ns(), millijoules)

    def _between_ticks(self) -> tuple[PowerOver, ...]:
        """Mean power between neighbouring ticks, leaving out a first one that lagging work may have reached."""
        means = []
        for a, b in zip(self.ticks, self.ticks[1:], strict=False):
            if a.time_ns < self.since_ns + _LAG_NS:
                continue
            watts, seconds = (b.joules - a.joules) * 1e9 / (b.time_ns - a.time_ns), (b.time_ns - a.time_ns) / 1e9
            spread = watts * sqrt(a.std_ns**2 + b.std_ns**2) / 1e9 / seconds
            means.append(PowerOver(a.time_ns, b.time_ns, watts, max(spread, _READING_STD_W)))
        return tuple(means)
