"""One GPU's edges: its head before a window and its tail after it, with the power between them and the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import hypot, inf

from pytest_lem.meters.counter import MS, Counter
from pytest_lem.meters.idle import Belief, PowerOver, idle_joules
from pytest_lem.meters.load_watch import LoadWatch
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.polling import LAG_NS, SETTLED_NS, IdleWatch
from pytest_lem.meters.power_watch import REFRESH_NS
from pytest_lem.meters.tick_train import Tick, TickTrain
from pytest_lem.meters.window import NS
from pytest_lem.model.reading import Edge

_MEMORY_NS = 5_000 * MS
_TAILS = 4
_REPEAT_STD_W = 2.0
_BELIEF_STD_W = 30.0
_TAIL_NS = 215 * MS
_FIRST_TAIL_NS = 300 * MS
_KNOWN_W = 3.0
_MIXED = 0.3
_BURST = 1.5
_HOT, _HOT_W = 0.05, 3.0
STILL = "the energy counter stands still"
BACKWARDS = "the energy counter ran backwards"


@dataclass
class GpuEdges:
    """Takes the edges of one GPU's windows, one window after the other, from a counter.

    A head may follow right after other work of ours (a pass with hooks), which a power field shows for up to 200 ms:
    until the field says otherwise, work is taken to have ended when the head was asked for. Idle power after work is
    then what it was after the windows before.
    """

    driver: GpuDriver
    clock: Clock
    instant: bool = True
    head: Tick | None = None
    faults: list[str] = field(default_factory=list)
    _train: TickTrain = field(default_factory=TickTrain)
    _watch: IdleWatch | None = None
    _called_ns: int = 0
    _hot: bool = True
    _worked_ns: int = 0
    _readings: tuple[PowerOver, ...] = ()
    _tails: deque[tuple[PowerOver, ...]] = field(default_factory=lambda: deque(maxlen=_TAILS))
    _busy_w: float | None = None

    def __post_init__(self) -> None:
        self._counter = Counter(self.driver, self.clock)

    @property
    def tick_ns(self) -> float:
        """The counter's period, an H100's until it is known."""
        return self._train.period_ns or REFRESH_NS

    @property
    def seen_tick_s(self) -> float | None:
        """The counter's period (s) as it was measured, None until it is known."""
        return self._train.period_ns and self._train.period_ns / NS

    def learn(self) -> None:
        """Watch the counter until its period is known: two or three ticks, once."""
        self._idle_watch(0).learn()

    def forget(self) -> None:
        """Drop what is known about idle power: another engine idles otherwise."""
        self._tails.clear()
        self._readings = ()

    def take_head(self) -> None:
        """Wait for the tick before a window."""
        suspect = self._train.period_ns is None or STILL in self.faults
        self.faults.clear()
        self._called_ns = self.clock.now_ns()
        self._watch = self._idle_watch(self._called_ns)
        self.head = self._watch.head_tick(suspect=suspect)
        self._hot = self._is_hot()
        self._judge(self._watch, self.head)

    def watch_head(self, until_ns: int) -> None:
        """Go on looking at the power, until shortly before the work."""
        if self._watch is not None:
            self._watch.watch_power(until_ns)
            self._hot = self._is_hot()

    def load_watch(self) -> LoadWatch:
        """What watches the counter between head and tail."""
        return LoadWatch(self._counter, self._train)

    def is_judged(self) -> bool:
        """Whether the head need not be watched any longer: power that rises after the call is looked into."""
        rose = self._hot and bool(self._tails) and not self._above_idle(self._first_watts())
        return not rose or bool(self._watched(self._called_ns)) or bool(self._mixed())

    def head_watts(self) -> float | None:
        """The power before the work that no other work reaches into, as well as it is known; None where it is not.

        Where the only readings began during earlier work: theirs, if it is more than that work explains.
        """
        watched = self._watched(self._called_ns if self._hot else self._worked_ns)
        best = min(watched, key=lambda reading: reading.std_w, default=None)
        if best is not None and best.std_w <= _KNOWN_W:
            return best.watts
        unexplained = [watts for watts, share in self._mixed() if self._hot and watts > self._explained(share)]
        return max(unexplained, default=None)

    def _explained(self, share: float) -> float:
        """The most that a reading may tell (W) whose first `share` lies before the call, if the GPU is idle since.

        Work that ended just before the call may have ended in a burst of any power: nothing is too much then.
        """
        if not self._tails or self._busy_w is None or self._above_idle(self._first_watts()):
            return inf
        return self._tails[-1][-1].watts + _BURST * share * (self._busy_w - self._tails[-1][-1].watts)

    def take_tail(self, start_ns: int, end_ns: int) -> tuple[Edge, Edge] | None:
        """Wait for the tick after a window; both edges, or None where a tick is missing or power is unknown."""
        watch = self._idle_watch(end_ns)
        tick = watch.tail_tick()
        watch.watch_power(end_ns + (_TAIL_NS if self._tails else _FIRST_TAIL_NS), enough=1)
        seen = watch.readings(end_ns, LAG_NS)
        if not seen and not self._tails:
            seen = watch.one_more(end_ns, LAG_NS)
        self._judge(watch, tick)
        after, earlier = (*self._repeated(end_ns), *seen), (self._worked_ns, self._readings)
        self._keep(end_ns, seen)
        if self.head is None or tick is None or not after:
            return None
        self._busy_w = (tick.joules - self.head.joules) * NS / (tick.time_ns - self.head.time_ns)
        self._hot = self._is_hot()
        origin = self._called_ns if self._hot else earlier[0]
        before = self._before(*earlier)
        if not before:
            return None
        head = self._edge(self.head, before, origin, self.head.time_ns, start_ns)
        return head, self._edge(tick, after, end_ns, end_ns, tick.time_ns)

    def _idle_watch(self, since_ns: int) -> IdleWatch:
        return IdleWatch(self._counter, since_ns, self._train, self.instant)

    def _is_hot(self) -> bool:
        """Whether work may have ended just before the head: power seen since is more than a little above idle."""
        seen = self._watch.power.readings if self._watch else []
        return not seen or any(self._above_idle(reading.watts) for reading in seen)

    def _above_idle(self, watts: float | None) -> bool:
        """Whether this is more than idle after work; true while that is not known."""
        if watts is None or self._busy_w is None or not self._tails:
            return True
        idle = self._tails[-1][-1].watts
        return watts > idle + max(_HOT * (self._busy_w - idle), _HOT_W)

    def _first_watts(self) -> float | None:
        """The first power seen in the head: that of the work before it, if there was any."""
        seen = self._watch.power.readings if self._watch else []
        return seen[0].watts if seen else None

    def _mixed(self) -> list[tuple[float, float]]:
        """Readings of the head that lie mostly after the call: watts, and the share of time before it."""
        if self._watch is None:
            return []
        spans = self._watch.power.spans()[1:]
        period = self.tick_ns
        for tick in self._watch.ticks:
            if tick.std_ns > self._train.sharp_ns:
                continue
            end = tick.time_ns - SETTLED_NS
            spans.append((round(end - period), end, tick.added * NS / period))
        shares = [(watts, max((self._called_ns - start) / (end - start), 0.0)) for start, end, watts in spans]
        return [(watts, share) for watts, share in shares if share <= _MIXED]

    def _watched(self, since_ns: int) -> tuple[PowerOver, ...]:
        """Power seen in the head that no work before `since_ns` reaches into."""
        return self._watch.readings(since_ns, SETTLED_NS) if self._watch else ()

    def _before(self, worked_ns: int, readings: tuple[PowerOver, ...]) -> tuple[PowerOver, ...]:
        """All that tells the power of the head, after the window that ended at `worked_ns` and its tail's readings.

        Without any other reading, this window's own tail tells it.
        """
        if self._hot:
            return (*self._repeated(self._called_ns), *self._watched(self._called_ns))
        recent = readings if self._called_ns - worked_ns < _MEMORY_NS else ()
        return (*recent, *self._watched(worked_ns)) or self._repeated(self._called_ns)

    def _repeated(self, worked_ns: int) -> tuple[PowerOver, ...]:
        """Power after the last windows, as if their work had ended at `worked_ns`."""
        return tuple(
            PowerOver(
                worked_ns + reading.start_ns,
                worked_ns + reading.end_ns,
                reading.watts,
                hypot(reading.std_w, _REPEAT_STD_W),
            )
            for reading in chain.from_iterable(self._tails)
        )

    def _keep(self, end_ns: int, seen: Sequence[PowerOver]) -> None:
        """Remember the tail: where it was, and how long after the work."""
        self._worked_ns, self._readings = end_ns, tuple(seen)
        if seen and not self.faults:
            since = (replace(r, start_ns=r.start_ns - end_ns, end_ns=r.end_ns - end_ns) for r in seen)
            self._tails.append(tuple(since))

    def _edge(self, tick: Tick, readings: Sequence[PowerOver], origin_ns: int, start_ns: int, end_ns: int) -> Edge:
        newest = max(readings, key=lambda reading: reading.end_ns)
        belief = Belief(newest.watts, _BELIEF_STD_W)
        origin_ns = origin_ns or min(reading.start_ns for reading in readings)
        idle = idle_joules(readings, belief, origin_ns=origin_ns, start_ns=start_ns, end_ns=end_ns)
        seconds = max(end_ns - start_ns, 1) / NS
        return Edge(
            time_ns=tick.time_ns,
            joules=tick.joules,
            power_w=idle.joules / seconds,
            time_std_ns=tick.std_ns,
            power_std_w=idle.std / seconds,
        )

    def _judge(self, watch: IdleWatch, tick: Tick | None) -> None:
        if watch.backwards:
            self.faults.append(BACKWARDS)
        if tick is None or watch.stuck:
            self.faults.append(STILL)
