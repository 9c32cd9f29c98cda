"""What meters tell of devices: their joules over one window, and the raw edges that they are made of."""

from __future__ import annotations

from typing import Literal

from pytest_lem.model.frozen import Frozen

Source = Literal["measured", "estimated"]
DeviceKind = Literal["gpu", "cpu", "ram", "psys"]


class MeterDevice(Frozen):
    """A device that a meter reads: `id` is a GPU's UUID, or a name such as `package-0`, `dram-0`."""

    id: str
    kind: DeviceKind
    name: str = ""


class MeterRecord(Frozen):
    """What became of one meter: `used` with its devices, or not, with the reason."""

    name: str
    used: bool
    source: Source | None = None
    devices: tuple[MeterDevice, ...] = ()
    reason: str | None = None


class Edge(Frozen):
    """One edge of a window as the meter saw it, kept raw so that joules can be recomputed.

    `time_ns` (monotonic) is the counter tick, `joules` the counter there, `power_w` the idle power beside it,
    `time_std_ns` and `power_std_w` their standard uncertainties. In a window cut out of traffic the power beside an
    edge is the load's, from tick to tick.
    """

    time_ns: int
    joules: float
    power_w: float
    time_std_ns: float
    power_std_w: float


class DeviceState(Frozen):
    """A GPU at an instant (monotonic ns): SM clock (MHz), temperature (°C), why it was throttled; null: not told."""

    time_ns: int
    sm_clock_mhz: int | None = None
    temperature_c: int | None = None
    throttle_reasons: tuple[str, ...] = ()


class DeviceReading(Frozen):
    """Joules of one device over one window.

    `joules` is gross energy between the window's start and end, `std` its standard uncertainty (J, k = 1); null with
    `reason` where it could not be read. `source` says measured or estimated, `method` how: `counter`,
    `power-integral`, `rapl`, or an estimate's model. `faults` are guards that make the round invalid; `notes` are
    remarks that do not. `ticks` are all readings of the counter that were taken while the engine worked, as (monotonic
    ns, J since the first): under traffic only. `tick_s` is the counter's period, null where none was seen. `before` and
    `after` are a GPU's state just outside of the window, where asking disturbs nothing: its clock may have fallen since
    the work.
    """

    device: str
    kind: DeviceKind
    meter: str
    method: str
    source: Source | None
    joules: float | None
    std: float | None = None
    reason: str | None = None
    head: Edge | None = None
    tail: Edge | None = None
    ticks: tuple[tuple[int, float], ...] = ()
    tick_s: float | None = None
    before: DeviceState | None = None
    after: DeviceState | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
