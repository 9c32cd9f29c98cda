"""What a counter told while the engine worked, and the joules between any two instants of it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt
from statistics import median

from pytest_lem.meters.window import MIN_WINDOW_S, NS
from pytest_lem.model.reading import DeviceKind, DeviceReading, Edge, Source

MIN_TICKS = 3
"""A window of fewer ticks tells no joules: its edges outweigh it."""
_SPARE = 10
"""In a window of so many ticks the sharpest of the first and of the last three may be its edges."""

_IN_STEP_NS = NS


@dataclass(frozen=True)
class Mark:
    """The counter at one instant (monotonic ns, J), the instant known to `std_ns` (standard uncertainty)."""

    time_ns: int
    joules: float
    std_ns: float = 0.0


@dataclass(frozen=True)
class Trail:
    """The marks of one device in order of time, or the `reason` why there are none.

    `phase_spread`: how unevenly the counter weighs its tick (see `window.PHASE_SPREAD`). `faults` and `notes` as in a
    DeviceReading.
    """

    device: str
    kind: DeviceKind
    meter: str
    method: str
    source: Source = "measured"
    marks: tuple[Mark, ...] = ()
    phase_spread: float = 0.0
    reason: str | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tick_ns(self) -> float:
        """How far its marks are apart, mostly; 0 where there are fewer than two."""
        gaps = [b.time_ns - a.time_ns for a, b in zip(self.marks, self.marks[1:], strict=False)]
        return median(gaps) if gaps else 0.0

    def reading(self, start_ns: int, end_ns: int) -> DeviceReading:
        """The joules between two instants, each interpolated between the marks beside it.

        The variance of each edge: (P σ_t)², for when its marks were; (ΔP h)², for power that changes between them, ΔP
        the difference between the mean powers there and beside it, h what a straight line may miss of a bend. The
        window's: the phase spread, as a range (hence the √12), new each second: the steps of a served load keep in step
        with the tick for no longer.
        Null joules with the reason where the marks do not reach to the edges, or are too few.
        """
        reason = self._reason(start_ns, end_ns)
        if reason is not None:
            return self._reading(reason=reason)
        head, tail = self._edge(start_ns), self._edge(end_ns)
        joules = tail.joules - head.joules
        uneven = joules * self.phase_spread / sqrt(12) * sqrt(_IN_STEP_NS / (end_ns - start_ns))
        edges = [(edge.power_w * edge.time_std_ns / NS, self._bend(edge)) for edge in (head, tail)]
        std = hypot(uneven, *(each for pair in edges for each in pair))
        return self._reading(joules=joules, std=std, head=head, tail=tail)

    def between(self, start_ns: int, end_ns: int) -> tuple[Mark, ...]:
        """Its marks between two instants."""
        return tuple(mark for mark in self.marks if start_ns <= mark.time_ns <= end_ns)

    def _reason(self, start_ns: int, end_ns: int) -> str | None:
        if self.reason is not None:
            return self.reason
        marks = self.marks
        if len(marks) < 2 or marks[0].time_ns > start_ns or marks[-1].time_ns < end_ns:
            return "the counter was not read at both edges of the window"
        if end_ns - start_ns < MIN_WINDOW_S * NS:
            return f"the window is shorter than {MIN_WINDOW_S:g} s: its edges outweigh it"
        return None

    def _edge(self, instant: int) -> Edge:
        before, after, x = self._beside(instant)
        watts = _watts(before, after)
        beside = [_watts(a, b) for a, b in self._around(instant)]
        return Edge(
            time_ns=instant,
            joules=before.joules + x * (after.joules - before.joules),
            power_w=watts,
            time_std_ns=hypot((1 - x) * before.std_ns, x * after.std_ns),
            power_std_w=max((abs(watts - other) for other in beside), default=0.0),
        )

    def _bend(self, edge: Edge) -> float:
        """What a straight line between two marks may miss (J): power that changes in a step, anywhere between them."""
        before, after, x = self._beside(edge.time_ns)
        return edge.power_std_w * x * (1 - x) * (after.time_ns - before.time_ns) / NS / sqrt(3)

    def _beside(self, instant: int) -> tuple[Mark, Mark, float]:
        """The marks beside an instant, and how far (0 to 1) it lies from the first to the second."""
        place = min(max(bisect_right(self.marks, instant, key=lambda mark: mark.time_ns), 1), len(self.marks) - 1)
        before, after = self.marks[place - 1], self.marks[place]
        return before, after, (instant - before.time_ns) / (after.time_ns - before.time_ns)

    def _around(self, instant: int) -> list[tuple[Mark, Mark]]:
        """The neighbours of the gap that holds an instant."""
        place = min(max(bisect_right(self.marks, instant, key=lambda mark: mark.time_ns), 1), len(self.marks) - 1)
        return [(self.marks[i - 1], self.marks[i]) for i in (place - 1, place + 1) if 0 < i < len(self.marks)]

    def _reading(
        self,
        *,
        joules: float | None = None,
        std: float | None = None,
        head: Edge | None = None,
        tail: Edge | None = None,
        reason: str | None = None,
    ) -> DeviceReading:
        first = self.marks[0].joules if self.marks else 0.0
        return DeviceReading(
            device=self.device,
            kind=self.kind,
            meter=self.meter,
            method=self.method,
            source=self.source if joules is not None else None,
            joules=joules,
            std=std,
            reason=reason,
            head=head,
            tail=tail,
            ticks=tuple((mark.time_ns, round(mark.joules - first, 6)) for mark in self.marks),
            faults=self.faults,
            notes=self.notes,
        )


def spread_evenly(reading: DeviceReading, start_ns: int, end_ns: int) -> Trail:
    """An estimate over a whole pass as a trail: a model of mean power knows no better than that it was even."""
    trail = unread(reading, "")
    marks = (Mark(start_ns, 0.0), Mark(end_ns, reading.joules or 0.0))
    return replace(trail, source="estimated", reason=reading.reason, marks=() if reading.joules is None else marks)


def unread(reading: DeviceReading, reason: str) -> Trail:
    """The trail of a device whose meter left none, beside its `reading` of the whole pass."""
    return Trail(reading.device, reading.kind, reading.meter, reading.method, reason=reason)


def common_edges(trails: Sequence[Trail], begin_ns: int, end_ns: int) -> tuple[int, int] | None:
    """The widest window between `begin_ns` and `end_ns` whose edges are ticks; None where it has too few, or is short.

    They are the ticks of the device whose counter is the slowest: others are interpolated to them. Without any counter
    the window is all of the time.
    """
    ticking = [trail for trail in trails if len(trail.marks) > 2]
    edges = (begin_ns, end_ns)
    if ticking:
        marks = max(ticking, key=lambda trail: trail.tick_ns).between(begin_ns, end_ns)
        if len(marks) <= MIN_TICKS:
            return None
        spare = 3 if len(marks) > _SPARE else 1
        head = min(marks[:spare], key=lambda mark: mark.std_ns)
        tail = min(marks[: -spare - 1 : -1], key=lambda mark: mark.std_ns)
        edges = (head.time_ns, tail.time_ns)
    return edges if edges[1] - edges[0] >= MIN_WINDOW_S * NS else None


def _watts(before: Mark, after: Mark) -> float:
    return (after.joules - before.joules) * NS / (after.time_ns - before.time_ns)
