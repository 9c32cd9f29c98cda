"""Which meters there are, and the set of those that work here.

Third-party meters register under the entry-point group `pytest_lem.meters`: the entry point loads to a factory
`factory(*, gpus, own_pids) -> Meter`, called in pytest's process when the first test measures, that raises MeterError
(one line: the fault, the mend) where the meter cannot work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from types import TracebackType
from typing import Protocol, Self, TypeVar

from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Meter, SampledMeter, WatchingMeter
from pytest_lem.meters.telemetry import Telemetry
from pytest_lem.meters.trail import Trail, spread_evenly, unread
from pytest_lem.model.errors import MeterError, UsageError
from pytest_lem.model.reading import DeviceReading, MeterRecord

GROUP = "pytest_lem.meters"
BUILT_IN = ("nvml", "rapl", "codecarbon")
AUTO = "auto"
_LEAD_NS = 2_000_000
_LAST = "codecarbon"

T = TypeVar("T")
OwnPids = Callable[[], Collection[int]]


class Factory(Protocol):
    """Makes a meter over these GPUs (UUIDs) and the host. Raises MeterError where it cannot work."""

    def __call__(self, *, gpus: Sequence[str], own_pids: OwnPids) -> Meter:
        """The meter, ready for its first window."""
        ...


@dataclass
class MeterSet:
    """Meters that measure the same windows, each in a thread of its own. Empty, it works too and reads nothing.

    `records` say what became of every meter that was asked for.
    """

    records: tuple[MeterRecord, ...] = ()
    meters: tuple[Meter, ...] = ()
    _pool: ThreadPoolExecutor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.meters) > 1:
            self._pool = ThreadPoolExecutor(len(self.meters), "lem-meter")

    def begin(self, phase: int) -> int:
        """Read every head; the earliest instant (monotonic ns) at which work may start."""
        starts = self._each(lambda meter: meter.begin(phase))
        return max([*starts, HostClock().now_ns() + _LEAD_NS])

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        """Read every tail; the readings of all meters, in the meters' order."""
        return tuple(reading for found in self._each(lambda meter: meter.end(start_ns, end_ns)) for reading in found)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Between `begin` and `end`: have every meter that can read while the engine works."""
        meters = [meter for meter in self.meters if isinstance(meter, WatchingMeter)]
        stop = threading.Event()
        with ThreadPoolExecutor(max(len(meters), 1), "lem-watch") as pool:
            watches = [pool.submit(meter.watch, stop.is_set) for meter in meters]
            try:
                yield
            finally:
                stop.set()
        for watch in watches:
            watch.result()

    def trails(self, whole: Sequence[DeviceReading], start_ns: int, end_ns: int) -> tuple[Trail, ...]:
        """What the meters read while the engine worked, one trail for each of the `whole` readings, in their order.

        `whole` is what `end` gave for the pass from `start_ns` to `end_ns`. An estimate is spread over it; a counter
        that cannot be read under load tells nothing.
        """
        found = {
            (trail.meter, trail.device): trail
            for meter in self.meters
            if isinstance(meter, WatchingMeter)
            for trail in meter.trails()
        }
        return tuple(
            found.get((reading.meter, reading.device)) or _without_watch(reading, start_ns, end_ns) for reading in whole
        )

    def telemetry(self, hertz: float | None) -> Telemetry:
        """What samples the measured GPUs at `hertz` inside windows; None: nothing, and no GPU is asked."""
        sampled = [meter for meter in self.meters if isinstance(meter, SampledMeter)]
        return sampled[0].telemetry(hertz) if sampled and hertz is not None else Telemetry()

    def close(self) -> None:
        """Close every meter."""
        self._each(lambda meter: meter.close())
        if self._pool is not None:
            self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _each(self, act: Callable[[Meter], T]) -> list[T]:
        return list(self._pool.map(act, self.meters) if self._pool else map(act, self.meters))


def _without_watch(reading: DeviceReading, start_ns: int, end_ns: int) -> Trail:
    if reading.source == "estimated":
        return spread_evenly(reading, start_ns, end_ns)
    return unread(reading, reading.reason or "its meter reads no joules while the engine works")


def known_meters() -> tuple[str, ...]:
    """The names of all meters, built-in ones first."""
    third_party = {point.name for point in entry_points(group=GROUP)} - set(BUILT_IN)
    return (*BUILT_IN, *sorted(third_party))


def open_meters(names: Sequence[str] | None, *, gpus: Sequence[str], own_pids: OwnPids) -> MeterSet:
    """The meters `names`, or (None, or with `auto` among them) every one that works.

    `gpus` are UUIDs; `own_pids` tells the processes that may use them. A part that one meter measures is not estimated
    by another. Raises UsageError for an unknown name, MeterError for a named meter that does not work.
    """
    known = known_meters()
    asked = list(dict.fromkeys(names or (AUTO,)))
    named = [_checked(name, known) for name in asked if name != AUTO]
    wanted = known if AUTO in asked else tuple(named)
    meters: list[Meter] = []
    try:
        order = sorted(wanted, key=lambda name: name == _LAST)
        records = [_open(name, name in named, meters, gpus, own_pids) for name in order]
    except BaseException:
        MeterSet(meters=tuple(meters)).close()
        raise
    return MeterSet(tuple(records), tuple(meters))


def _open(name: str, named: bool, meters: list[Meter], gpus: Sequence[str], own_pids: OwnPids) -> MeterRecord:
    """Open one meter and put it among `meters`; what became of it."""
    measured = {device.kind for meter in meters if meter.source == "measured" for device in meter.devices()}
    if name == _LAST and measured >= {"cpu", "ram"}:
        return MeterRecord(name=name, used=False, reason="CPU and memory are measured, so they are not estimated")
    try:
        meter = _make(name, gpus, own_pids, measured)
    except MeterError as error:
        if named:
            raise MeterError(_placed(name, str(error))) from None
        return MeterRecord(name=name, used=False, reason=str(error))
    meters.append(meter)
    return MeterRecord(name=name, used=True, source=meter.source, devices=meter.devices())


def _placed(name: str, fault: str) -> str:
    place = f"--lem-meter={name}"
    return fault if fault.startswith(place) else f"{place}: {fault}"


def _make(name: str, gpus: Sequence[str], own_pids: OwnPids, measured: Collection[str]) -> Meter:
    if name == "nvml":
        return _nvml(gpus, own_pids)
    if name == "rapl":
        from pytest_lem.meters.rapl import RaplMeter

        return RaplMeter()
    if name == "codecarbon":
        from pytest_lem.meters.carbon import CarbonMeter

        return CarbonMeter(without=tuple(kind for kind in ("cpu", "ram") if kind in measured))
    return _third_party(name)(gpus=gpus, own_pids=own_pids)


def _nvml(gpus: Sequence[str], own_pids: OwnPids) -> Meter:
    from pytest_lem.meters.nvml import NvmlDriver, library
    from pytest_lem.meters.nvml_meter import GpuMeter

    library()
    drivers = {driver.uuid: driver for driver in map(NvmlDriver, gpus)}
    if not drivers:
        raise MeterError("no GPU is in use here; make one visible (CUDA_VISIBLE_DEVICES) and run on it")
    return GpuMeter(tuple(drivers.values()), own_pids=own_pids)


def _third_party(name: str) -> Factory:
    point = next(iter(entry_points(group=GROUP, name=name)))
    try:
        factory: Factory = point.load()
    except (ImportError, AttributeError) as error:
        raise MeterError(f"its entry point {point.value!r} does not load ({error}); reinstall its package") from None
    return factory


def _checked(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    near = get_close_matches(name, (*known, AUTO), n=1, cutoff=0.0)[0]
    raise UsageError(f"--lem-meter={name}: no such meter; the nearest is {near!r}; known: {AUTO}, {', '.join(known)}")
