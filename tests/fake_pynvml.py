"""A stand-in for the pynvml module over made-up GPUs, with the calls, constants and errors that the driver uses."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

_ERRORS = {
    20: "Insufficient Memory",
    3: "Not Supported",
    6: "Not Found",
    12: "NVML Shared Library Not Found",
    15: "GPU is lost",
}


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(_ERRORS.get(value, str(value)))
        self.value = value


@dataclass
class FakeGpu:
    """`lacks` names calls that the card does not support; `broken` those that fail with `GPU is lost`.

    `gpm` maps the ids of metrics to what they are in percent; one that is not there has no value. None: no GPM.
    """

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    energy_mj: int = 1_000_000
    instant_mw: int = 120_000
    average_mw: int = 118_000
    limit_mw: int = 700_000
    used: int = 5_000
    temperature: int = 41
    total: int = 80_000
    pids: tuple[int, ...] = ()
    reasons: int = 0
    mig: bool = False
    instances: tuple[str, ...] = ()
    gpm: dict[int, float | int] | None = None
    lacks: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)


class WorkingGpu(FakeGpu):
    """Draws 300 W all the time: its counter ticks every 100 ms."""

    @property
    def energy_mj(self):
        return time.monotonic_ns() // 100_000_000 * 30_000

    @energy_mj.setter
    def energy_mj(self, value):
        pass


@dataclass
class FakeHandle:
    gpu: FakeGpu
    instance: str | None = None


def fake_pynvml(*gpus: FakeGpu, driver: bool = True) -> ModuleType:
    """The module over `gpus` in PCI order; `driver=False` is a machine without NVIDIA's driver."""
    lib = ModuleType("pynvml")
    lib.NVMLError, lib.NVML_SUCCESS, lib.NVML_FI_DEV_POWER_INSTANT = NVMLError, 0, 186
    lib.NVML_CLOCK_GRAPHICS, lib.NVML_CLOCK_SM, lib.NVML_CLOCK_MEM = 0, 1, 2
    lib.NVML_TEMPERATURE_GPU, lib.NVML_DEVICE_MIG_ENABLE = 0, 1

    def init():
        if not driver:
            raise NVMLError(12)

    lib.nvmlInit = init
    lib.nvmlSystemGetDriverVersion = lambda: "580.95.05"
    lib.nvmlDeviceGetCount = lambda: len(gpus)
    lib.nvmlDeviceGetHandleByIndex = lambda index: FakeHandle(gpus[index])
    lib.nvmlDeviceGetHandleByUUID = lambda uuid: _by_uuid(gpus, uuid)
    lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle = lambda handle: FakeHandle(handle.gpu)
    lib.calls = []
    _gpm(lib)
    for call, answer in _ANSWERS.items():
        setattr(lib, call, _answering(lib.calls, call, answer))
    return lib


def _gpm(lib):
    """GPM as nvml.h has it: samples that must be given back, in order; `lib.samples` are those that were not."""
    names = {"GRAPHICS_UTIL": 1, "SM_UTIL": 2, "SM_OCCUPANCY": 3, "ANY_TENSOR_UTIL": 5, "DRAM_BW_UTIL": 10}
    for name, identity in names.items():
        setattr(lib, f"NVML_GPM_METRIC_{name}", identity)
    lib.NVML_GPM_METRICS_GET_VERSION, lib.samples, lib.most_samples = 1, [], 100

    def allocate():
        if len(lib.samples) >= lib.most_samples:
            raise NVMLError(20)
        lib.samples.append(SimpleNamespace(gpu=None, taken=0))
        return lib.samples[-1]

    def get(gpu, sample):
        lib.taken += 1
        sample.gpu, sample.taken = gpu, lib.taken

    def compare(question):
        assert question.version == 1
        assert 0 < question.sample1.taken < question.sample2.taken, "two samples, the earlier one first"
        for metric in question.metrics[: question.numMetrics]:
            told = question.sample2.gpu.gpm.get(metric.metricId)
            metric.nvmlReturn, metric.value = (3, 0.0) if told is None else (0, told)

    lib.taken = 0
    lib.nvmlGpmQueryDeviceSupport = _answering(
        lib.calls, "nvmlGpmQueryDeviceSupport", lambda gpu: SimpleNamespace(isSupportedDevice=int(gpu.gpm is not None))
    )
    lib.nvmlGpmSampleAlloc, lib.nvmlGpmSampleFree = allocate, lib.samples.remove
    lib.nvmlGpmSampleGet = _answering(lib.calls, "nvmlGpmSampleGet", get)
    lib.nvmlGpmMetricsGet = compare
    lib.c_nvmlGpmMetricsGet_t = lambda: SimpleNamespace(metrics=[SimpleNamespace() for _ in range(20)])


def _by_uuid(gpus, uuid):
    for gpu in gpus:
        if uuid == gpu.uuid:
            return FakeHandle(gpu)
        if uuid in gpu.instances:
            return FakeHandle(gpu, instance=uuid)
    raise NVMLError(6)


def _answering(calls, call, answer):
    def ask(handle, *arguments):
        calls.append((call, time.monotonic_ns()))
        if call in handle.gpu.broken:
            raise NVMLError(15)
        if call in handle.gpu.lacks or (handle.instance and call == "nvmlDeviceGetTotalEnergyConsumption"):
            raise NVMLError(3)
        told = answer(handle.gpu, *arguments)
        return f"{told} MIG 1g.10gb" if handle.instance and call == "nvmlDeviceGetName" else told

    return ask


def _fields(gpu, ids):
    lacking = "186" in gpu.lacks
    value = SimpleNamespace(uiVal=gpu.instant_mw, dVal=float("nan"))
    return [SimpleNamespace(nvmlReturn=3 if lacking else 0, valueType=1, value=value) for _ in ids]


_ANSWERS = {
    "nvmlDeviceGetUUID": lambda gpu: gpu.uuid,
    "nvmlDeviceGetName": lambda gpu: gpu.name,
    "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: gpu.limit_mw,
    "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=gpu.used, total=gpu.total),
    "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: gpu.energy_mj,
    "nvmlDeviceGetPowerUsage": lambda gpu: gpu.average_mw,
    "nvmlDeviceGetFieldValues": _fields,
    "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [SimpleNamespace(pid=pid) for pid in gpu.pids],
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: gpu.reasons,
    "nvmlDeviceGetClockInfo": lambda gpu, clock: 1980,
    "nvmlDeviceGetApplicationsClock": lambda gpu, clock: {0: 1755, 2: 2619}[clock],
    "nvmlDeviceGetMaxClockInfo": lambda gpu, clock: 1980,
    "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(gpu=97, memory=40),
    "nvmlDeviceGetTemperature": lambda gpu, sensor: gpu.temperature,
    "nvmlDeviceGetMigMode": lambda gpu: [int(gpu.mig), int(gpu.mig)],
}


def install(folder, *gpus: FakeGpu):
    """Make `folder` (to be put on PYTHONPATH) hold a module `pynvml` over these GPUs: for other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pynvml.py").write_text(
        "import sys\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "from fake_pynvml import FakeGpu, fake_pynvml\n"
        f"made = fake_pynvml(*{list(gpus)!r})\n"
        "globals().update({name: value for name, value in vars(made).items() if not name.startswith('__')})\n"
    )
