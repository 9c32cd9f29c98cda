"""One GPU's edges: its head before a window and its tail after it, with the power between them and the work."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_lem.meters.idle import Belief, PowerOver, idle_joules
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.polling import MS, REFRESH_NS, IdleWatch
from pytest_lem.meters.tick_train import Tick, TickTrain
from pytest_lem.meters.window import NS
from pytest_lem.model.measurement import Edge

_MEMORY_NS = 5_000 * MS
_HEAD_BELIEF_STD_W = 30.0
_TAIL_BELIEF_STD_W = 5.0
_TAIL_READINGS = 2
_TAIL_CAP_NS = 300 * MS
STILL = "the energy counter stands still"
BACKWARDS = "the energy counter ran backwards"


@dataclass
class GpuEdges:
    """Takes the edges of one GPU's windows, one window after the other, from a counter."""

    driver: GpuDriver
    clock: Clock
    instant: bool = True
    head: Tick | None = None
    faults: list[str] = field(default_factory=list)
    _train: TickTrain = field(default_factory=TickTrain)
    _worked_ns: int = 0
    _readings: tuple[PowerOver, ...] = ()

    @property
    def tick_ns(self) -> float:
        """The counter's period, an H100's until it is known."""
        return self._train.period_ns or REFRESH_NS

    def take_head(self) -> None:
        """Wait for the tick before a window."""
        suspect = STILL in self.faults
        self.faults.clear()
        watch = IdleWatch(self.driver, self.clock, self._worked_ns, self._train, self.instant)
        kept = self._readings if self.clock.now_ns() - self._worked_ns < _MEMORY_NS else ()
        self.head = watch.head_tick(suspect=suspect)
        if watch.readings:
            self._readings = kept + watch.readings
        self._judge(watch, self.head)

    def head_watts(self) -> float | None:
        """The newest power before the work; None where nothing could be read."""
        newest = self._newest()
        return newest.watts if newest else None

    def take_tail(self, start_ns: int, end_ns: int) -> tuple[Edge, Edge] | None:
        """Wait for the tick after a window; both edges, or None where a tick is missing or power is unknown."""
        head_edge = self._head_edge(start_ns)
        watch = IdleWatch(self.driver, self.clock, end_ns, self._train, self.instant)
        tick = watch.tail_tick()
        watch.settle(_TAIL_READINGS, end_ns + _TAIL_CAP_NS)
        self._judge(watch, tick)
        self._worked_ns, self._readings = end_ns, watch.readings
        if head_edge is None or tick is None:
            return None
        return head_edge, self._tail_edge(tick, end_ns, head_edge.power_w)

    def _head_edge(self, start_ns: int) -> Edge | None:
        newest = self._newest()
        if self.head is None or newest is None:
            return None
        belief = Belief(newest.watts, _HEAD_BELIEF_STD_W)
        origin = max(self._worked_ns, newest.end_ns - _MEMORY_NS)
        return self._edge(self.head, belief, origin, self.head.time_ns, start_ns)

    def _tail_edge(self, tick: Tick, end_ns: int, head_w: float) -> Edge:
        return self._edge(tick, Belief(head_w, _TAIL_BELIEF_STD_W), end_ns, end_ns, tick.time_ns)

    def _edge(self, tick: Tick, belief: Belief, origin_ns: int, start_ns: int, end_ns: int) -> Edge:
        idle = idle_joules(self._readings, belief, origin_ns=origin_ns, start_ns=start_ns, end_ns=end_ns)
        seconds = max(end_ns - start_ns, 1) / NS
        return Edge(
            time_ns=tick.time_ns,
            joules=tick.joules,
            power_w=idle.joules / seconds,
            time_std_ns=tick.std_ns,
            power_std_w=idle.std / seconds,
        )

    def _newest(self) -> PowerOver | None:
        """The newest of the readings that are not much worse than the best one."""
        best = min((reading.std_w for reading in self._readings), default=0.0)
        good = [reading for reading in self._readings if reading.std_w <= 2 * best]
        return max(good, key=lambda reading: reading.end_ns, default=None)

    def _judge(self, watch: IdleWatch, tick: Tick | None) -> None:
        if watch.backwards:
            self.faults.append(BACKWARDS)
        if tick is None or watch.stuck:
            self.faults.append(STILL)
