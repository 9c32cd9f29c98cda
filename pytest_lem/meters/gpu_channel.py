"""One GPU as the GPU meter measures it: by its counter where it has one, else by its power readings."""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import sqrt
from typing import TypeVar

from pytest_lem.meters.gpu_edges import GpuEdges
from pytest_lem.meters.guards import IdleFloor, ProcessGuard, slowdown_fault
from pytest_lem.meters.load_watch import LoadWatch
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.power_series import PowerSeries
from pytest_lem.meters.trail import Mark, Trail
from pytest_lem.meters.window import MIN_WINDOW_S, NS, Joules, head_tail, series_joules
from pytest_lem.model.errors import MeterError
from pytest_lem.model.reading import DeviceReading, DeviceState, Edge

T = TypeVar("T")

SHORT = "the window is shorter than 1 s: its edges outweigh it"
SHARED = "MIG is enabled: the joules are the whole GPU's, shared by its instances"
_IMPLAUSIBLE = 0.5


class GpuChannel:
    """Heads, tails, guards and readings of one GPU. `phase_spread`: see `window.PHASE_SPREAD`."""

    def __init__(self, driver: GpuDriver, clock: Clock, *, hidden_pids: bool, phase_spread: float) -> None:
        self.driver, self.clock = driver, clock
        self.has_counter = _answers(driver.energy_mj)
        instant = _answers(driver.power_w)
        self.series = PowerSeries(driver, clock, instant)
        self._edges = GpuEdges(driver, clock, instant)
        self._hidden_pids = hidden_pids
        self._own: frozenset[int] | None = None
        self._phase_spread = phase_spread
        self._faults: list[str] = []
        self._broken: str | None = None
        self._load: LoadWatch | None = None
        self._before: DeviceState | None = None
        self._after: DeviceState | None = None

    def open(self) -> None:
        """Get to know the counter, before the first window; what fails here fails again there, with its reason."""
        if self.has_counter:
            self._guarded(self._edges.learn)

    def begin(self, own: frozenset[int]) -> int:
        """Take the head; the instant (ns) that it belongs to: its tick, or now.

        Other processes of our own mean another engine, and idle as it was before says nothing about it.
        """
        self._faults, self._broken, self._load = [], None, None
        self._before = self._after = None
        if self._own is None or (own != self._own and 2 * len(own & self._own) <= len(self._own)):
            self._floor, self._processes = IdleFloor(), ProcessGuard(self._hidden_pids)
            self._edges.forget()
        self._own = own
        return self._guarded(self._begin) or self.clock.now_ns()

    def watch_head(self, until_ns: int) -> bool:
        """Look at the power until shortly before the start; whether that tells if the GPU is idle."""
        return self._broken is not None or self._guarded(lambda: self._watch_head(until_ns)) is not False

    def judge_head(self) -> None:
        """Note a GPU that is not idle before the start, as far as its head tells."""
        watts = self._edges.head_watts() if self.has_counter else self.series.head_watts
        self._note(self._floor.fault(watts) if watts is not None else None)

    @property
    def looking(self) -> bool:
        """Whether the counter is being read just now, while the GPU works."""
        return self._load is not None and self._load.looking

    def watch(self, stopped: Callable[[], bool]) -> None:
        """Watch the counter while the GPU works, until `stopped()`; a GPU without is sampled anyway."""
        if self.has_counter and self._broken is None:
            self._load = load = self._edges.load_watch()
            self._guarded(lambda: load.run(stopped))

    def trail(self) -> Trail:
        """What was read since `begin` while the GPU worked."""
        return Trail(
            device=self.driver.uuid,
            kind="gpu",
            meter="nvml",
            method="counter" if self.has_counter else "power-integral",
            marks=self._ticks() if self.has_counter else self._power(),
            phase_spread=self._phase_spread if self.has_counter else 0.0,
            reason=self._broken,
            faults=tuple(self._load.faults) if self._load else (),
            notes=self._notes(),
        )

    def _ticks(self) -> tuple[Mark, ...]:
        return tuple(Mark(tick.time_ns, tick.joules, tick.std_ns) for tick in self._load.ticks) if self._load else ()

    def _power(self) -> tuple[Mark, ...]:
        """The integral of the power readings: a straight line from each to the next."""
        marks, joules, points = [], 0.0, self.series.points
        for before, point in zip([points[0], *points], points, strict=False):
            joules += (before.watts + point.watts) / 2 * (point.time_ns - before.time_ns) / NS
            marks.append(Mark(point.time_ns, joules, self.series.period_s * NS / sqrt(12)))
        return tuple(marks)

    def end(self, start_ns: int, end_ns: int, own: Collection[int]) -> DeviceReading:
        """Take the tail and give the reading of the window; a driver that fails gives its reason."""
        reading = None
        if self._broken is None:
            reading = self._guarded(lambda: self._end(start_ns, end_ns, own))
        return reading or self._reading(reason=self._broken)

    def sample(self) -> None:
        """Take a power reading inside the window, where there is no counter."""
        if not self.has_counter and self._broken is None:
            self._guarded(self.series.sample)

    def _guarded(self, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except MeterError as error:
            self._broken = str(error)
            return None

    def _begin(self) -> int:
        if self.has_counter:
            self._edges.take_head()
        else:
            self.series.restart()
        self._before = self._state()
        return self._edges.head.time_ns if self._edges.head else self.clock.now_ns()

    def _watch_head(self, until_ns: int) -> bool:
        if not self.has_counter:
            return True
        self._edges.watch_head(until_ns)
        return self._edges.is_judged()

    def _end(self, start_ns: int, end_ns: int, own: Collection[int]) -> DeviceReading:
        reading = self._by_counter(start_ns, end_ns) if self.has_counter else self._by_power(start_ns, end_ns)
        self._look_around(own)
        return reading.replace(after=self._after, faults=self._all_faults(), notes=self._notes())

    def _by_counter(self, start_ns: int, end_ns: int) -> DeviceReading:
        edges = self._edges.take_tail(start_ns, end_ns)
        if edges is None or self._edges.faults:
            return self._reading(reason="; ".join(self._edges.faults) or "the power at the window's edges is unknown")
        head, tail = edges
        tick_s = self._edges.tick_ns / NS
        energy = head_tail(head, tail, start_ns, end_ns, tick_s=tick_s, phase_spread=self._phase_spread)
        seconds = (end_ns - start_ns) / NS
        self._check(energy.joules / seconds, head, tail)
        self._floor.worked(energy.joules / seconds, tail.power_w)
        return self._judged(energy, seconds, head, tail)

    def _check(self, watts: float, head: Edge, tail: Edge) -> None:
        if tail.joules < head.joules:
            self._note("the energy counter ran backwards")
        elif watts < _IMPLAUSIBLE * head.power_w:
            self._note(f"the energy counter stood still: {watts:.0f} W over the window, {head.power_w:.0f} W idle")

    def _by_power(self, start_ns: int, end_ns: int) -> DeviceReading:
        self.series.sample()
        points, seconds = self.series.points, (end_ns - start_ns) / NS
        try:
            energy = series_joules(points, start_ns, end_ns, idle_w=points[0].watts, period_s=self.series.period_s)
        except ValueError as error:
            return self._reading(reason=str(error))
        self._floor.worked(energy.joules / seconds)
        return self._judged(energy, seconds)

    def _judged(
        self, energy: Joules, seconds: float, head: Edge | None = None, tail: Edge | None = None
    ) -> DeviceReading:
        if seconds < MIN_WINDOW_S:
            return self._reading(head=head, tail=tail, reason=SHORT)
        return self._reading(energy, head=head, tail=tail)

    def _reading(
        self,
        energy: Joules | None = None,
        *,
        head: Edge | None = None,
        tail: Edge | None = None,
        reason: str | None = None,
    ) -> DeviceReading:
        return DeviceReading(
            device=self.driver.uuid,
            kind="gpu",
            meter="nvml",
            method="counter" if self.has_counter else "power-integral",
            source="measured" if energy else None,
            joules=energy.joules if energy else None,
            std=energy.std if energy else None,
            reason=reason,
            head=head,
            tail=tail,
            tick_s=self._edges.seen_tick_s if self.has_counter else None,
            before=self._before,
            after=self._after,
            faults=self._all_faults(),
            notes=self._notes(),
        )

    def _look_around(self, own: Collection[int]) -> None:
        self._note(self._processes.fault(self.driver.process_ids(), own))
        self._after = self._state()
        self._note(slowdown_fault(self._after.throttle_reasons))

    def _state(self) -> DeviceState:
        seen = self.driver.state()
        return DeviceState(
            time_ns=self.clock.now_ns(),
            sm_clock_mhz=seen.sm_clock_mhz,
            temperature_c=seen.temperature_c,
            throttle_reasons=seen.throttle_reasons,
        )

    def _note(self, fault: str | None) -> None:
        if fault is not None and fault not in self._faults:
            self._faults.append(fault)

    def _all_faults(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._faults + self._edges.faults))

    def _notes(self) -> tuple[str, ...]:
        notes = [SHARED] if self.driver.mig else []
        if not self.has_counter and not self.series.instant:
            notes.append("the card tells its power as an average over 1 s only")
        return tuple(notes)


def _answers(read: Callable[[], float]) -> bool:
    """Whether a driver's method answers here: it raises MeterError where the card lacks the reading."""
    try:
        read()
    except MeterError:
        return False
    return True
