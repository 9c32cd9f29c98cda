"""Watches one GPU's energy counter for its ticks, and its power beside them, while the GPU is idle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import hypot, sqrt

from pytest_lem.meters.idle import PowerOver
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.tick_train import Tick, TickTrain

MS = 1_000_000
POLL_NS = 3 * MS
"""A counter call keeps the GPU's own controller busy for about 3 ms: never ask more often."""
REFRESH_NS = 100 * MS
"""How often field 186 gets a new value (H100)."""
_OLDEST_NS = 120 * MS
STILL_NS = 1000 * MS
"""A counter that has not ticked for this long stands still: ten of an H100's ticks."""
_MISSED = 1.4
_SLACK_NS = 8 * MS
_TRIES = 3
_READING_STD_W = 1.0
_LAG_NS = 50 * MS
_BEHIND_NS = 5 * MS
"""An H100's counter follows a load step within about 10 ms: a tick stands for what was 5 ms before it, on average."""


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
    middle = (after.middle_ns + before.middle_ns) // 2 - _BEHIND_NS
    return Tick(middle, sqrt(variance), after.millijoules / 1000, (after.ended_ns - before.began_ns) / 2)


@dataclass
class PowerWatch:
    """Collects the values of a power field that were taken after `since_ns`, each with the time of its refresh.

    The field keeps its value between refreshes: a first value may date from before `since_ns`, and counts only when it
    is too young for that.
    """

    read: Callable[[], float]
    clock: Clock
    since_ns: int
    readings: list[PowerOver] = field(default_factory=list)
    _value: float | None = None
    _seen_ns: int = 0

    def look(self) -> None:
        """Read the field once."""
        value = self.read()
        now = self.clock.now_ns()
        if self._value is None and now - _OLDEST_NS >= self.since_ns:
            self.readings.append(PowerOver(now - REFRESH_NS, now, value, 2 * _READING_STD_W))
        elif self._value is not None and value != self._value:
            middle = (self._seen_ns + now) // 2
            self.readings.append(PowerOver(middle, middle, value, _READING_STD_W))
        self._value, self._seen_ns = value, now


@dataclass
class IdleWatch:
    """One stretch of idle time, from `since_ns` on: the counter's ticks, the power readings, the faults seen.

    Without an instantaneous power field (`instant` false) power is told by the ticks themselves.
    """

    driver: GpuDriver
    clock: Clock
    since_ns: int
    train: TickTrain
    instant: bool = True
    ticks: list[Tick] = field(default_factory=list)
    backwards: bool = False
    stuck: bool = False
    _first_ns: int | None = None
    _last: _Look | None = None

    def __post_init__(self) -> None:
        self.power = PowerWatch(self.driver.power_w, self.clock, self.since_ns)

    @property
    def readings(self) -> tuple[PowerOver, ...]:
        """Power of this idle time, as far as it is known."""
        return tuple(self.power.readings) + self._between_ticks()

    def head_tick(self, *, suspect: bool = False) -> Tick | None:
        """The first sharp tick; None when the counter stands still. Raises MeterError where it cannot be read.

        `suspect`: the counter stood still before, and where it goes on is no tick of its own.
        """
        enough = 1 if self.instant and not suspect else 2
        return self._sharp(enough, self.since_ns)

    def tail_tick(self) -> Tick | None:
        """The first sharp tick that is the second one since `since_ns`, and 100 ms after it (150 ms where ticks come
        faster and cost less), so that a lagging counter has taken in all the work.

        None when the counter stands still. Raises MeterError where it cannot be read.
        """
        late = self.clock.now_ns() - self.since_ns >= REFRESH_NS
        enough = 1 if late and self.instant else 2
        quick = self.train.period_ns is not None and self.train.period_ns < 0.75 * REFRESH_NS
        earliest = self.since_ns + (REFRESH_NS * 3 // 2 if quick else REFRESH_NS)
        return self._sharp(enough, earliest)

    def settle(self, count: int, until_ns: int) -> None:
        """Look at the power alone until `count` readings are there, or until `until_ns`."""
        while self.instant and len(self.power.readings) < count and self.clock.now_ns() < until_ns:
            self.power.look()
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_NS)

    def _sharp(self, enough: int, earliest_ns: int) -> Tick | None:
        best: Tick | None = None
        for _ in range(_TRIES):
            tick = self._wait(enough, earliest_ns)
            if tick is None:
                break
            best = tick if best is None or tick.std_ns < best.std_ns else best
            if tick.std_ns <= self.train.sharp_ns:
                break
        return best

    def _wait(self, enough: int, earliest_ns: int) -> Tick | None:
        deadline = max(self.clock.now_ns(), self.since_ns) + STILL_NS
        while self.clock.now_ns() < deadline:
            tick = self._poll()
            if tick is not None and len(self.ticks) >= enough and tick.time_ns >= earliest_ns:
                return tick
        return None

    def _poll(self) -> Tick | None:
        if self._last is not None:
            self.clock.sleep_until_ns(self._last.began_ns + POLL_NS)
        look = self._look()
        before, self._last = self._last, look
        self._first_ns = look.ended_ns if self._first_ns is None else self._first_ns
        if self.instant:
            self.power.look()
        if before is None or look.millijoules == before.millijoules:
            return None
        if look.millijoules < before.millijoules:
            self.backwards = True
            self.ticks.clear()
            return None
        return self._take(_tick(before, look))

    def _take(self, tick: Tick) -> Tick:
        self._miss(tick)
        self.ticks.append(self.train.date(tick, neighbours=bool(self.ticks)))
        return self.ticks[-1]

    def _miss(self, tick: Tick) -> None:
        """Note a counter that has let a tick go by: what it shows then stands for no known instant."""
        before = self.ticks[-1].time_ns + self.ticks[-1].half_ns if self.ticks else self._first_ns
        period = self.train.period_ns or 2 * REFRESH_NS
        if before is not None and tick.time_ns - tick.half_ns - before > _MISSED * period + _SLACK_NS:
            self.stuck = True

    def _look(self) -> _Look:
        began = self.clock.now_ns()
        millijoules = self.driver.energy_mj()
        look = _Look(began, self.clock.now_ns(), millijoules)
        self.train.calls.append(look.length_ns)
        return look

    def _between_ticks(self) -> tuple[PowerOver, ...]:
        """Mean power from the first tick that no lagging work can reach to the last one."""
        clear = [tick for tick in self.ticks if tick.time_ns >= self.since_ns + _LAG_NS]
        if len(clear) < 2:
            return ()
        first, last = clear[0], clear[-1]
        seconds = (last.time_ns - first.time_ns) / 1e9
        watts = (last.joules - first.joules) / seconds
        spread = watts * hypot(first.std_ns, last.std_ns) / 1e9 / seconds
        return (PowerOver(first.time_ns, last.time_ns, watts, hypot(spread, _READING_STD_W)),)
