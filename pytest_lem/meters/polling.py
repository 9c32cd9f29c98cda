"""Watches one GPU's energy counter for its ticks, and its power beside them, while the GPU is idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot

from pytest_lem.meters.counter import MS, Counter, Look, tick_between
from pytest_lem.meters.idle import PowerOver
from pytest_lem.meters.power_watch import READING_STD_W, REFRESH_NS, PowerWatch
from pytest_lem.meters.tick_train import Tick, TickTrain

STILL_NS = 1000 * MS
"""A counter that has not ticked for this long stands still: ten of an H100's ticks."""
LAG_NS = 50 * MS
"""How far a counter may be behind at most; an H100's is about 10 ms behind."""
SETTLED_NS = 20 * MS
"""How long after work an H100's counter has taken all of it in, with room."""
_MISSED = 1.4
_SLACK_NS = 8 * MS
_REGULAR_NS = 6 * MS
_TRIES = 4
_SURPRISES = 2
_LESSONS = 6
_BASE_NS = 6 * MS
_WATCH_NS = 8 * MS


def _regular(ticks: Sequence[Tick]) -> bool:
    """Whether three ticks are equally far apart, as far as their times are known."""
    if len(ticks) < 3:
        return False
    a, b, c = ticks
    return abs(a.time_ns + c.time_ns - 2 * b.time_ns) <= _REGULAR_NS + 2 * hypot(a.std_ns, 2 * b.std_ns, c.std_ns)


@dataclass
class IdleWatch:
    """One stretch of idle time, from `since_ns` on: the counter's ticks, the power readings, the faults seen.

    A counter call costs the host 1.5 ms of CPU, so the counter is asked only around the ticks that are wanted: from
    shortly before the next one on where the train knows it, else from when one is wanted on. Without an instantaneous
    power field (`instant` false) power is told by the ticks alone.
    """

    counter: Counter
    since_ns: int
    train: TickTrain
    instant: bool = True
    ticks: list[Tick] = field(default_factory=list)
    backwards: bool = False
    stuck: bool = False
    _adjacent: bool = False
    _doubted: list[Tick] | None = None
    _last: Look | None = None

    def __post_init__(self) -> None:
        self.clock = self.counter.clock
        self.power = PowerWatch(self.counter.driver.power_w, self.clock)

    def readings(self, since_ns: int, lag_ns: int) -> tuple[PowerOver, ...]:
        """Power over times that no work before `since_ns` reaches into, by the power field and by the ticks."""
        return self.power.clean(since_ns) + self._between_ticks(since_ns + lag_ns)

    def learn(self) -> None:
        """Poll until three ticks are equally far apart, so that the train knows the counter's period, then some more.

        Takes under a second, so that the tick after a window of seconds can be foreseen.
        """
        self._doubt()
        for _ in range(_LESSONS):
            if self._wait(self.clock.now_ns()) is None:
                return

    def head_tick(self, *, suspect: bool = False) -> Tick | None:
        """The first sharp tick that the work before `since_ns` does not reach.

        None when the counter stands still. Raises MeterError where it cannot be read. `suspect`: the counter may stand
        still, and where it goes on is no tick of its own; then a tick counts when it came as long after the one before
        as that one after its own.
        """
        if suspect:
            self._doubt()
        return self._sharp(self.since_ns + SETTLED_NS)

    def tail_tick(self) -> Tick | None:
        """The first sharp tick that is 100 ms after `since_ns`, so the second one (150 ms where ticks come faster and
        cost less): a lagging counter has taken in all the work. One before it where ticks alone tell the power.

        None when the counter stands still. Raises MeterError where it cannot be read.
        """
        quick = self.train.period_ns is not None and self.train.period_ns < 0.75 * REFRESH_NS
        earliest = self.since_ns + (REFRESH_NS * 3 // 2 if quick else REFRESH_NS)
        self._poll()
        if not self.instant:
            self._wait(self.since_ns + LAG_NS)
        return self._sharp(earliest)

    def one_more(self, since_ns: int, lag_ns: int) -> tuple[PowerOver, ...]:
        """The readings after one more tick."""
        self._wait(self.clock.now_ns())
        return self.readings(since_ns, lag_ns)

    def watch_power(self, until_ns: int, *, enough: int | None = None) -> None:
        """Look at the power alone until `until_ns`, or until there are `enough` readings without work in them."""
        while self.instant and self.clock.now_ns() < until_ns:
            if enough is not None and len(self.power.clean(self.since_ns)) >= enough:
                return
            self.power.look()
            self.clock.sleep_until_ns(min(self.clock.now_ns() + _WATCH_NS, until_ns))
        self.clock.sleep_until_ns(until_ns)

    def _doubt(self) -> None:
        self._doubted = []

    def _sharp(self, earliest_ns: int) -> Tick | None:
        best: Tick | None = None
        for attempt in range(_TRIES):
            tick = self._wait(earliest_ns)
            if tick is None:
                break
            best = tick if best is None or tick.std_ns < best.std_ns else best
            if best.std_ns <= self.train.sharp_ns * (1 if attempt == 0 else 2):
                break
        return best

    def _wait(self, earliest_ns: int) -> Tick | None:
        """The next tick at `earliest_ns` or later; None when the counter stands still."""
        deadline = max(self.clock.now_ns(), earliest_ns) + STILL_NS
        until, surprises = self._sleep(earliest_ns), 0
        while self.clock.now_ns() < deadline:
            tick = self._poll()
            if tick is not None and tick.time_ns >= earliest_ns:
                return tick
            if tick is not None or self.clock.now_ns() > until:
                surprises += 1
                until = self._sleep(earliest_ns) if surprises <= _SURPRISES else deadline
        return None

    def _sleep(self, earliest_ns: int) -> int:
        """Leave the counter alone until shortly before the tick that is wanted; until when it is worth polling."""
        if self._doubted is not None:
            return self.clock.now_ns() + STILL_NS
        window = self.train.next_tick(max(earliest_ns, self.clock.now_ns() + _BASE_NS))
        begin, until = window or (earliest_ns - _BASE_NS, self.clock.now_ns() + STILL_NS)
        if begin > self.clock.now_ns() + _WATCH_NS:
            self.watch_power(begin)
            self._last, self._adjacent = None, False
        return until

    def _poll(self) -> Tick | None:
        look = self.counter.look()
        self.train.calls.append(look.length_ns)
        if self.instant:
            self.power.look()
        before, self._last = self._last, look
        if not self._changed(look) or before is None:
            return None
        tick = tick_between(before, look)
        if self._doubted is not None:
            self._doubted.append(tick)
            if not _regular(self._doubted[-3:]):
                return None
            for earlier in self._doubted[-3:-1]:
                self._take(earlier)
            self._doubted = None
        return self._take(tick)

    def _changed(self, look: Look) -> bool:
        """Whether the counter went on since the last look; notes one that ran backwards or let a tick go by.

        What a counter shows that let ticks go by stands for no known instant.
        """
        shown = self.counter.shown
        if shown is None or look.millijoules != shown.millijoules:
            self.counter.shown = look
        if shown is None:
            return False
        if look.millijoules < shown.millijoules:
            self.backwards = True
            self.ticks.clear()
            return False
        period = self.train.period_ns or REFRESH_NS
        if look.millijoules == shown.millijoules and look.began_ns - shown.ended_ns > _MISSED * period + _SLACK_NS:
            self.stuck = True
        return look.millijoules > shown.millijoules

    def _take(self, tick: Tick) -> Tick:
        self.ticks.append(self.train.date(tick, neighbours=self._adjacent))
        self._adjacent = True
        return self.ticks[-1]

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
