"""What a meter is, and what the GPU meter asks of a driver and a clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pytest_lem.meters.trail import Trail
from pytest_lem.model.reading import DeviceReading, MeterDevice, Source

if TYPE_CHECKING:
    from pytest_lem.meters.telemetry import Telemetry


class Meter(Protocol):
    """Reads the joules of some devices over one window at a time.

    The runner calls it from pytest's process, while the engine is idle on both sides of the window: `begin`, then the
    work, then `end`. Nothing is called between them, but for a WatchingMeter. Third-party meters register a factory
    (see `pytest_lem.meters.registry`) under the entry-point group `pytest_lem.meters`.
    """

    name: str
    source: Source

    def devices(self) -> tuple[MeterDevice, ...]:
        """The devices that this meter reads."""
        ...

    def begin(self, phase: int) -> int:
        """Read the head edge; return the earliest instant (monotonic ns) at which work may start.

        `phase` is the round's index: a meter whose counter ticks spreads its windows over the tick by it.
        """
        ...

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        """Read the tail edge after work that ran from `start_ns` to `end_ns`; one reading a device.

        A device that cannot be read gives a reading with null joules and a reason; it does not raise.
        """
        ...

    def close(self) -> None:
        """Let go of whatever `begin` and `end` hold; called once, also after a failure."""
        ...


@runtime_checkable
class WatchingMeter(Meter, Protocol):
    """A meter that reads while the engine works, too: under traffic a window has no idle time beside it.

    `watch` is called in a thread of its own between `begin` and `end`, `trails` after it has returned.
    """

    def watch(self, stopped: Callable[[], bool]) -> None:
        """Read the counters until `stopped()`, which is worth asking every 20 ms. What fails is a trail's reason."""
        ...

    def trails(self) -> tuple[Trail, ...]:
        """What the last `watch` read, one trail a device."""
        ...


@runtime_checkable
class SampledMeter(Meter, Protocol):
    """A meter whose GPUs tell of themselves while they work."""

    def telemetry(self, hertz: float) -> Telemetry:
        """What samples them at `hertz` inside windows."""
        ...


class Clock(Protocol):
    """The host's monotonic clock; a simulation has its own."""

    def now_ns(self) -> int:
        """Nanoseconds of `time.monotonic_ns()`."""
        ...

    def sleep_until_ns(self, instant: int) -> None:
        """Return at `instant` or soon after; at once when it has passed."""
        ...


class GpuState(Protocol):
    """Facts of one instant, for guards and notes. None where the driver does not tell."""

    @property
    def sm_clock_mhz(self) -> int | None:
        """Clock of the streaming multiprocessors in MHz."""
        ...

    @property
    def temperature_c(self) -> int | None:
        """Temperature of the chip in degrees Celsius."""
        ...

    @property
    def throttle_reasons(self) -> tuple[str, ...]:
        """Why the clocks are lower than they could be, by the names in `pytest_lem.meters.nvml`."""
        ...


class ActivityCounters(Protocol):
    """A GPU's performance counters: shares of time since they were read last."""

    @property
    def faults(self) -> Mapping[str, str]:
        """Key → why there was no value for it."""
        ...

    def restart(self) -> None:
        """Forget the last reading: the next one begins a new stretch of time."""
        ...

    def read(self) -> Mapping[str, float] | None:
        """Shares (0 to 1) since the last call by key; None at the first. Raises MeterError."""
        ...

    def close(self) -> None:
        """Give back what the driver allocated."""
        ...


class TelemetryDriver(Protocol):
    """One GPU as telemetry sees it, while it works. Methods raise MeterError where the card lacks the reading."""

    uuid: str
    mig: bool
    """Whether MIG is enabled, so that what is read is the whole GPU's, shared by its instances."""

    def power_w(self) -> float:
        """Instantaneous board power in watts (field 186), a new value about every 100 ms; a call takes 5 µs."""
        ...

    def average_power_w(self) -> float:
        """Mean board power in watts over the last second, for cards without field 186."""
        ...

    def clock_mhz(self, which: Literal["sm", "memory"]) -> int:
        """A clock of now in MHz."""
        ...

    def temperature_c(self) -> int:
        """Temperature of the chip in degrees Celsius."""
        ...

    def utilization(self) -> tuple[float, float]:
        """Shares (0 to 1) of the driver's last sampling period: a kernel ran, memory was used."""
        ...

    def memory_used(self) -> int:
        """Bytes in use on the whole GPU."""
        ...

    def throttle_reasons(self) -> tuple[str, ...]:
        """Why the clocks are lower than they could be, now."""
        ...

    def gpm(self) -> ActivityCounters:
        """The performance counters; whoever opens them closes them."""
        ...


class GpuDriver(TelemetryDriver, Protocol):
    """One GPU as the GPU meter sees it, and as it hands it on for telemetry.

    Methods raise MeterError where the card lacks the reading.

    Only `pytest_lem.meters.nvml` implements it for real; the tests' simulated GPU implements it with its own clock.
    """

    name: str

    def energy_mj(self) -> int:
        """Total energy counter in millijoules. Slow: a call takes about 3 ms."""
        ...

    def process_ids(self) -> tuple[int, ...]:
        """PIDs of the compute processes on the GPU; () where there are none or a container hides them."""
        ...

    def state(self) -> GpuState:
        """Clocks, temperature and throttle reasons of now."""
        ...
