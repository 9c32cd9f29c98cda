"""GPM, the performance counters that NVIDIA's driver reads without a profiler (Hopper and later).

Two samples of a GPU's counters say what it did between them: nvml.h, `nvmlGpmSampleGet` and `nvmlGpmMetricsGet`. On an
H200 a sample and what it says take 1.3 to 2.1 ms of a core. One that is 50 ms after another can have no number for
DRAM, and one that is 10 ms after tells 0 of a GPU at work: nvml.h asks for more than 100 ms.
"""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from types import ModuleType
from typing import Any

from pytest_lem.model.errors import MeterError

METRICS = {
    "gr_engine_active": "NVML_GPM_METRIC_GRAPHICS_UTIL",
    "sm_active": "NVML_GPM_METRIC_SM_UTIL",
    "sm_occupancy": "NVML_GPM_METRIC_SM_OCCUPANCY",
    "tensor_active": "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "dram_active": "NVML_GPM_METRIC_DRAM_BW_UTIL",
}
"""What is asked for → its name in nvml.h; NVML gives each in percent."""


class Gpm:
    """The counters of one GPU, read from one thread. `faults` say of each metric why NVML gave no value for it."""

    def __init__(self, lib: ModuleType, handle: Any) -> None:
        """Find out whether the GPU has GPM, and take what NVML needs for it. Raises MeterError."""
        self._lib, self._handle = lib, handle
        self._samples: list[Any] = []
        self._filled = False
        self.faults: dict[str, str] = {}
        try:
            if not lib.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
                raise MeterError("GPM: the card has none")
            for _ in range(2):
                self._samples.append(lib.nvmlGpmSampleAlloc())
        except lib.NVMLError as error:
            self.close()
            raise MeterError(f"GPM: {error}") from None
        self._question = self._asked()

    def restart(self) -> None:
        """Forget the last sample and what had no value: the next one begins a new stretch of time."""
        self._filled = False
        self.faults.clear()

    def read(self) -> dict[str, float] | None:
        """Shares (0 to 1) since the last call, by the keys of `METRICS`; None at the first, which only begins.

        Raises MeterError where NVML refuses. A metric without a value is left out, and `faults` says why.
        """
        lib = self._lib
        self._samples.reverse()
        try:
            lib.nvmlGpmSampleGet(self._handle, self._samples[1])
            if not self._filled:
                self._filled = True
                return None
            question = self._question
            question.sample1, question.sample2 = self._samples
            lib.nvmlGpmMetricsGet(question)
        except lib.NVMLError as error:
            self._filled = False
            raise MeterError(f"GPM: {error}") from None
        return self._answers()

    def close(self) -> None:
        """Give back what NVML allocated."""
        while self._samples:
            with suppress(self._lib.NVMLError):
                self._lib.nvmlGpmSampleFree(self._samples.pop())

    def _asked(self) -> Any:
        """The structure of nvmlGpmMetricsGet: 19 KB, made once."""
        question = self._lib.c_nvmlGpmMetricsGet_t()
        question.version = self._lib.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(METRICS)
        for place, name in enumerate(METRICS.values()):
            question.metrics[place].metricId = getattr(self._lib, name)
        return question

    def _answers(self) -> dict[str, float]:
        found = {}
        for key, metric in zip(METRICS, self._question.metrics, strict=False):
            if metric.nvmlReturn != self._lib.NVML_SUCCESS:
                self.faults[key] = f"GPM: {self._lib.NVMLError(metric.nvmlReturn)}"
            elif not isfinite(metric.value):
                self.faults[key] = "GPM: NVML gave no number"
            else:
                found[key] = metric.value / 100
        return found
