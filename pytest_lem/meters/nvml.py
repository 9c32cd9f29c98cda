"""NVIDIA's management library: the machine's GPUs, always by UUID, and the driver that the GPU meter polls.

`pynvml` is imported when first asked for. NVML counts GPUs in PCI order and ignores CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal, TypeVar

from pytest_lem.meters.gpm import Gpm
from pytest_lem.meters.visible import resolve
from pytest_lem.model.errors import MeterError

T = TypeVar("T")

_MIG = "MIG-"
"""What the UUID of a MIG instance begins with."""
_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
_REASONS = {
    0x01: "idle",
    0x02: "application_clocks",
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "power_brake",
    0x100: "display_clocks",
}
"""nvmlClocksEventReasons, bit by bit, as nvml.h names them."""


@dataclass(frozen=True)
class GpuInfo:
    """One GPU: `uuid`, `name`, the `driver`'s version, power limit (W, None where not told), memory in bytes.

    `clocks_mhz` are its `application`, `memory` and `max` clocks, those that the card tells.
    """

    uuid: str
    name: str
    driver: str
    power_limit_w: float | None
    memory_bytes: int
    clocks_mhz: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NvmlState:
    """Clocks (MHz), temperature (°C) and throttle reasons of an instant; None where the card does not tell."""

    sm_clock_mhz: int | None
    temperature_c: int | None
    throttle_reasons: tuple[str, ...]


@cache
def library() -> ModuleType:
    """pynvml, initialised. Raises MeterError where there is no NVIDIA driver."""
    try:
        import pynvml
    except ImportError as error:
        raise MeterError(f"NVML: {error}; pip install nvidia-ml-py") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MeterError(f"NVML does not start ({error}); it needs an NVIDIA GPU and its driver") from None
    return pynvml  # type: ignore[no-any-return]  # pynvml has no types


def gpus() -> tuple[GpuInfo, ...]:
    """All GPUs of this machine in PCI order; () where there is no NVIDIA driver. Raises MeterError if NVML fails."""
    try:
        lib = library()
    except MeterError:
        return ()
    count = _ask("count the GPUs", lib.nvmlDeviceGetCount)
    return tuple(
        _info(lib, _ask(f"GPU {index}", partial(lib.nvmlDeviceGetHandleByIndex, index))) for index in range(count)
    )


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """UUIDs of the GPUs that CUDA_VISIBLE_DEVICES in `environ` leaves, in its order; all where it is not set.

    Indices count in PCI order (CUDA's own default, fastest first, agrees on a machine of equal GPUs). A MIG instance
    stays the instance's UUID. Raises UsageError for an entry that names no GPU of this machine.
    """
    return resolve(environ.get("CUDA_VISIBLE_DEVICES"), tuple(gpu.uuid for gpu in gpus()))


def known(uuids: Collection[str]) -> tuple[GpuInfo, ...]:
    """Those of `uuids` that are GPUs of this machine or MIG instances of them, in the same order.

    An instance has a UUID and a name of its own (`NVIDIA H100 80GB HBM3 MIG 1g.10gb`), all else is that of the GPU that
    holds it. Raises MeterError if NVML fails.
    """
    here = {gpu.uuid: gpu for gpu in gpus()} if uuids else {}
    found = [_instance(uuid) if uuid.startswith(_MIG) else here.get(uuid) for uuid in uuids if here]
    return tuple(gpu for gpu in found if gpu is not None)


def memory_used(uuid: str) -> int:
    """Bytes of memory in use on the GPU (or MIG instance). Raises MeterError."""
    lib = library()
    return int(_ask(uuid, lambda: lib.nvmlDeviceGetMemoryInfo(lib.nvmlDeviceGetHandleByUUID(uuid))).used)


class NvmlDriver:
    """One GPU by its UUID, as `meter.GpuDriver` wants it. A MIG instance's UUID gives the whole GPU that holds it."""

    def __init__(self, uuid: str) -> None:
        self._lib = library()
        self._handle = _ask(uuid, lambda: _whole(self._lib, uuid))
        self.uuid: str = self._read("its UUID", self._lib.nvmlDeviceGetUUID)
        self.name: str = self._read("its name", self._lib.nvmlDeviceGetName)
        self.mig = self._mig()

    def energy_mj(self) -> int:
        """Total energy counter (mJ): nvmlDeviceGetTotalEnergyConsumption. Raises MeterError where there is none."""
        return int(self._read("total energy", self._lib.nvmlDeviceGetTotalEnergyConsumption))

    def power_w(self) -> float:
        """Field 186, NVML_FI_DEV_POWER_INSTANT (W). Raises MeterError where there is none."""
        field = self._lib.NVML_FI_DEV_POWER_INSTANT
        (value,) = self._read("power", lambda handle: self._lib.nvmlDeviceGetFieldValues(handle, [field]))
        if value.nvmlReturn != self._lib.NVML_SUCCESS:
            raise MeterError(f"GPU {self.uuid}: power: {self._lib.NVMLError(value.nvmlReturn)}")
        return float(getattr(value.value, _VALUE_FIELDS[value.valueType])) / 1000

    def average_power_w(self) -> float:
        """Power by nvmlDeviceGetPowerUsage (W), a mean over 1 s on newer cards. Raises MeterError."""
        return float(self._read("power", self._lib.nvmlDeviceGetPowerUsage)) / 1000

    def process_ids(self) -> tuple[int, ...]:
        """PIDs of the compute processes; () where the card does not tell them."""
        found = self._optional(self._lib.nvmlDeviceGetComputeRunningProcesses)
        return tuple(int(process.pid) for process in found or ())

    def state(self) -> NvmlState:
        """Clocks, temperature and throttle reasons of now."""
        lib = self._lib
        bits = self._optional(lib.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return NvmlState(
            self._optional(lambda handle: lib.nvmlDeviceGetClockInfo(handle, lib.NVML_CLOCK_SM)),
            self._optional(lambda handle: lib.nvmlDeviceGetTemperature(handle, lib.NVML_TEMPERATURE_GPU)),
            _named(bits),
        )

    def clock_mhz(self, which: Literal["sm", "memory"]) -> int:
        """A clock of now (MHz). Raises MeterError where the card does not tell it."""
        kind = self._lib.NVML_CLOCK_SM if which == "sm" else self._lib.NVML_CLOCK_MEM
        return int(self._read(f"{which} clock", lambda handle: self._lib.nvmlDeviceGetClockInfo(handle, kind)))

    def temperature_c(self) -> int:
        """The chip's temperature (°C). Raises MeterError."""
        lib = self._lib
        return int(
            self._read("temperature", lambda handle: lib.nvmlDeviceGetTemperature(handle, lib.NVML_TEMPERATURE_GPU))
        )

    def utilization(self) -> tuple[float, float]:
        """Shares (0 to 1) of the driver's last sampling period in which a kernel ran, and memory was used.

        Raises MeterError.
        """
        rates = self._read("utilization", self._lib.nvmlDeviceGetUtilizationRates)
        return rates.gpu / 100, rates.memory / 100

    def memory_used(self) -> int:
        """Bytes in use on the whole GPU. Raises MeterError."""
        return int(self._read("memory", self._lib.nvmlDeviceGetMemoryInfo).used)

    def throttle_reasons(self) -> tuple[str, ...]:
        """Why the clocks are lower than they could be, now. Raises MeterError where the card does not tell."""
        return _named(self._read("throttle reasons", self._lib.nvmlDeviceGetCurrentClocksThrottleReasons))

    def gpm(self) -> Gpm:
        """The GPU's performance counters; whoever opens them closes them. Raises MeterError where it has none."""
        return Gpm(self._lib, self._handle)

    def _mig(self) -> bool:
        modes = self._optional(self._lib.nvmlDeviceGetMigMode)
        return bool(modes) and modes[0] == self._lib.NVML_DEVICE_MIG_ENABLE

    def _read(self, what: str, call: Callable[[Any], Any]) -> Any:
        try:
            return call(self._handle)
        except self._lib.NVMLError as error:
            raise MeterError(f"NVML: {getattr(self, 'uuid', 'GPU')}: {what}: {error}") from None

    def _optional(self, call: Callable[[Any], Any]) -> Any:
        """What the card tells, or None where it does not support the question."""
        try:
            return call(self._handle)
        except self._lib.NVMLError:
            return None


def _named(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _REASONS.items() if bits & bit)


def _whole(lib: ModuleType, uuid: str) -> Any:
    """The handle of a GPU, or of the one that holds the MIG instance."""
    handle = lib.nvmlDeviceGetHandleByUUID(uuid)
    return lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if uuid.startswith(_MIG) else handle


def _instance(uuid: str) -> GpuInfo | None:
    """A MIG instance; None where NVML knows none of that name: CUDA has no device for it either."""
    lib = library()
    try:
        handle = lib.nvmlDeviceGetHandleByUUID(uuid)
    except lib.NVMLError:
        return None
    whole = _info(lib, _ask(uuid, lambda: _whole(lib, uuid)))
    return replace(whole, uuid=uuid, name=_ask(uuid, lambda: lib.nvmlDeviceGetName(handle)))


def _info(lib: ModuleType, handle: Any) -> GpuInfo:
    uuid = _ask("a GPU's UUID", lambda: lib.nvmlDeviceGetUUID(handle))
    try:
        limit = lib.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
    except lib.NVMLError:
        limit = None
    return GpuInfo(
        uuid=uuid,
        name=_ask(uuid, lambda: lib.nvmlDeviceGetName(handle)),
        driver=_ask(uuid, lib.nvmlSystemGetDriverVersion),
        power_limit_w=limit,
        memory_bytes=int(_ask(uuid, lambda: lib.nvmlDeviceGetMemoryInfo(handle)).total),
        clocks_mhz=_clocks(lib, handle),
    )


def _clocks(lib: ModuleType, handle: Any) -> dict[str, int]:
    """The clocks that the card is allowed, as far as it tells them: newer ones know no application clocks."""
    questions: dict[str, Callable[[], Any]] = {
        "application": lambda: lib.nvmlDeviceGetApplicationsClock(handle, lib.NVML_CLOCK_GRAPHICS),
        "memory": lambda: lib.nvmlDeviceGetApplicationsClock(handle, lib.NVML_CLOCK_MEM),
        "max": lambda: lib.nvmlDeviceGetMaxClockInfo(handle, lib.NVML_CLOCK_SM),
    }
    found = {}
    for name, ask in questions.items():
        with suppress(lib.NVMLError):
            found[name] = int(ask())
    return found


def _ask(what: str, call: Callable[[], T]) -> T:
    """The call's answer. Raises MeterError that names `what` where NVML refuses."""
    lib = library()
    try:
        return call()
    except lib.NVMLError as error:
        raise MeterError(f"NVML: {what}: {error}") from None
