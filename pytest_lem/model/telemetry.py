"""What a GPU told of itself while it worked: what can be read, and what a window of it comes to.

The one table of readings: key, unit, definition. Summaries, the kept timeline and the documentation all read it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from pytest_lem.model.frozen import Frozen


@dataclass(frozen=True)
class Gauge:
    """Something that a GPU tells of itself: `key`, `unit` (`1`: a share between 0 and 1), what it is, in `definition`.

    `over_time`: a value is the mean since the reading before it, not that of an instant.
    """

    key: str
    unit: str
    definition: str
    over_time: bool = False


GAUGES = (
    Gauge("power_w", "W", "board power, instantaneous (NVML field 186: on an H100 the mean of the last 100 ms)"),
    Gauge("sm_clock_mhz", "MHz", "clock of the streaming multiprocessors"),
    Gauge("memory_clock_mhz", "MHz", "clock of the device's memory"),
    Gauge("temperature_c", "°C", "temperature of the chip"),
    Gauge("gpu_utilization", "1", "share of the driver's last sampling period in which a kernel ran (nvidia-smi)"),
    Gauge("memory_utilization", "1", "share of the same period in which memory was read or written (nvidia-smi)"),
    Gauge("memory_used_bytes", "B", "memory in use on the device: all processes, and what the driver keeps"),
    Gauge("gr_engine_active", "1", "share of time in which the graphics or compute engine was active (GPM)", True),
    Gauge("sm_active", "1", "share of the SMs that were busy, over time (GPM)", True),
    Gauge("sm_occupancy", "1", "warps resident on the SMs / the most that they hold, over time (GPM)", True),
    Gauge("tensor_active", "1", "share of time in which the SMs did tensor operations of any kind (GPM)", True),
    Gauge("dram_active", "1", "bandwidth of the device's memory in use / its theoretical maximum (GPM)", True),
)
BY_KEY = {gauge.key: gauge for gauge in GAUGES}
ACTIVITY = tuple(gauge.key for gauge in GAUGES if gauge.over_time)
"""What comes out of GPM, the GPU's own performance counters."""


class Spread(Frozen):
    """What one reading came to over a window, in its gauge's unit.

    `n` values, without those that reach back before the window; null with `reason` where there are none. `reason`
    beside values says why they ended on the way: they are of a part of the window, and no metric is made of them. `p5`
    and `p95` are percentiles. Of a gauge `over_time` the mean is weighted by the time that each value covers.
    """

    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p5: float | None = None
    p95: float | None = None
    n: int = 0
    reason: str | None = None


class Timeline(Frozen):
    """Everything that one GPU told through one window, moment by moment, on the host's monotonic clock.

    `values` by the keys of `GAUGES`, as long as `time_ns`; null where a reading was not taken at that moment. Readings
    over time stand for the time from `since_ns` on. `throttle_reasons` are joined by a comma, "" where there are none.
    """

    device: str
    time_ns: tuple[int, ...] = ()
    since_ns: tuple[int | None, ...] = ()
    values: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    throttle_reasons: tuple[str | None, ...] = ()


class DeviceUse(Frozen):
    """How one GPU was used through one window, as it told itself while the engine worked.

    `samples` moments inside the window, `hertz` the rate that they reached (null for fewer than two); a reading that
    costs much is asked less often: its own `n` says. `gauges` by the keys of `GAUGES`. `throttle_reasons` maps each
    reason that was seen to the share of readings that told it; null: not told. `cpu_share` is the part of one core
    that asking this GPU took. `reason` says why nothing more was sampled.
    """

    device: str
    samples: int = 0
    hertz: float | None = None
    gauges: dict[str, Spread] = Field(default_factory=dict)
    throttle_reasons: dict[str, float] | None = None
    cpu_share: float | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
