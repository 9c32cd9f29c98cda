"""Watches one GPU's energy counter for its ticks, and its power beside them, while the GPU is idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot, sqrt

from pytest_lem.meters.idle import PowerOver
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.power_watch import MS, READING_STD_W, REFRESH_NS, PowerWatch
from pytest_lem.meters.tick_train import Tick, TickTrain

POLL_NS = 3 * MS
"""A counter call keeps the GPU's own controller busy for about 3 ms: never ask more often."""
STILL_NS = 1000 * MS
"""A counter that has not ticked for this long stands still: ten of an H100's ticks."""
_MISSED = 1.4
_SLACK_NS = 8 * MS
_REGULAR_NS = 6 * MS
_TRIES = 3
LAG_NS = 50 * MS
"""How far a counter may be behind at most; an H100's is about 10 ms behind."""
SETTLED_NS = 20 * MS
"""How long after work an H100's counter has taken all of it in, with room."""
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


def _regular(ticks: Sequence[Tick]) -> bool:
    """Whether three ticks are equally far apart, as far as their times are known."""
    if len(ticks) < 3:
        return False
    a, b, c = ticks
    return abs(a.time_ns + c.time_ns - 2 * b.time_ns) <= _REGULAR_NS + 2 * hypot(a.std_ns, 2 * b.std_ns, c.std_ns)


@dataclass
class IdleWatch:
    """One stretch of idle time, from `since_ns` on: the counter's ticks, the power readings, the faults seen.

    Without an instantaneous power field (`instant` false) power is told by the ticks alone.
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
    _doubted: list[Tick] | None = None
    _last: _Look | None = None

    def __post_init__(self) -> None:
        self.power = PowerWatch(self.driver.power_w, self.clock)

    def readings(self, since_ns: int, lag_ns: int) -> tuple[PowerOver, ...]:
        """Power over times that no work before `since_ns` reaches into, by the power field and by the ticks."""
        return self.power.clean(since_ns) + self._between_ticks(since_ns + lag_ns)

    def head_tick(self, *, suspect: bool = False) -> Tick | None:
        """The first sharp tick that the work before `since_ns` does not reach.

        None when the counter stands still. Raises MeterError where it cannot be read. `suspect`: the counter may stand
        still, and where it goes on is no tick of its own; then a tick counts when it came as long after the one before
        as that one after its own.
        """
        self._doubted = [] if suspect else None
        return self._sharp(self.since_ns + SETTLED_NS)

    def tail_tick(self) -> Tick | None:
        """The first sharp tick that is 100 ms after `since_ns`, so the second one (150 ms where ticks come faster and
        cost less): a lagging counter has taken in all the work.

        None when the counter stands still. Raises MeterError where it cannot be read.
        """
        quick = self.train.period_ns is not None and self.train.period_ns < 0.75 * REFRESH_NS
        return self._sharp(self.since_ns + (REFRESH_NS * 3 // 2 if quick else REFRESH_NS))

    def one_more(self, since_ns: int, lag_ns: int, *, wanted: bool) -> tuple[PowerOver, ...]:
        """The readings after one more tick, where they are `wanted`."""
        if wanted:
            self._wait(self.clock.now_ns())
        return self.readings(since_ns, lag_ns)

    def watch_power(self, until_ns: int, *, enough: int | None = None) -> None:
        """Look at the power alone until `until_ns`, or until there are `enough` readings without work in them."""
        while self.instant and self.clock.now_ns() < until_ns:
            if enough is not None and len(self.power.clean(self.since_ns)) >= enough:
                return
            self.power.look()
            self.clock.sleep_until_ns(self.clock.now_ns() + POLL_NS)

    def _sharp(self, earliest_ns: int) -> Tick | None:
        best: Tick | None = None
        for _ in range(_TRIES):
            tick = self._wait(earliest_ns)
            if tick is None:
                break
            best = tick if best is None or tick.std_ns < best.std_ns else best
            if tick.std_ns <= self.train.sharp_ns:
                break
        return best

    def _wait(self, earliest_ns: int) -> Tick | None:
        deadline = max(self.clock.now_ns(), self.since_ns) + STILL_NS
        while self.clock.now_ns() < deadline:
            tick = self._poll()
            if tick is not None and tick.time_ns >= earliest_ns:
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
        tick = _tick(before, look)
        if self._doubted is not None:
            self._first_ns = look.ended_ns
            self._doubted.append(tick)
            if not _regular(self._doubted[-3:]):
                return None
            self._take(self._doubted[-2])
            self._doubted = None
        return self._take(tick)

    def _take(self, tick: Tick) -> Tick:
        self._miss(tick)
        self.ticks.append(self.train.date(tick, neighbours=bool(self.ticks)))
        return self.ticks[-1]

    def _miss(self, tick: Tick) -> None:
        """Note a counter that has let a tick go by: what it shows then stands for no known instant."""
        before = self.ticks[-1].time_ns + self.ticks[-1].half_ns if self.ticks else self._first_ns
        period = self.train.period_ns or REFRESH_NS
        if before is not None and tick.time_ns - tick.half_ns - before > _MISSED * period + _SLACK_NS:
            self.stuck = True

    def _look(self) -> _Look:
        began = self.clock.now_ns()
        millijoules = self.driver.energy_mj()
        look = _Look(began, self.clock.now_ns(), millijoules)
        self.train.calls.append(look.length_ns)
        return look

    def _between_ticks(self, since_ns: int) -> tuple[PowerOver, ...]:
        """Mean power from the first tick after `since_ns` to the last one."""
        clear = [tick for tick in self.ticks if tick.time_ns >= since_ns]
        if len(clear) < 2:
            return ()
        first, last = clear[0], clear[-1]
        seconds = (last.time_ns - first.time_ns) / 1e9
        watts = (last.joules - first.joules) / seconds
        spread = watts * hypot(first.std_ns, last.std_ns) / 1e9 / seconds
        return (PowerOver(first.time_ns, last.time_ns, watts, hypot(spread, READING_STD_W)),)
