"""One NVIDIA board read straight through NVML: the plain readings that the meter is compared with.

It shares no code with the meter under test.
"""

from __future__ import annotations

from typing import Any

import pynvml


class Board:
    """The board with NVML index `index`."""

    def __init__(self, index: int = 0) -> None:
        pynvml.nvmlInit()
        self.index = index
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid: str = pynvml.nvmlDeviceGetUUID(self._handle)

    def energy_j(self) -> float:
        """The energy counter in joules; it advances in steps."""
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3

    def average_w(self) -> float:
        """`nvmlDeviceGetPowerUsage` in watts: on recent boards a running average over a second."""
        return pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1e3

    def instant_w(self) -> float:
        """Field 186 in watts: on recent boards the mean of the last 100 ms, new every 100 ms."""
        value = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if value.nvmlReturn != pynvml.NVML_SUCCESS:
            raise pynvml.NVMLError(value.nvmlReturn)
        return value.value.uiVal / 1e3

    def limit_w(self) -> float:
        """The power limit in force, in watts."""
        return pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1e3

    def snapshot(self) -> dict[str, Any]:
        """Clock, temperature and throttle bits of now; None where the board does not tell."""
        asked = {
            "sm_mhz": lambda: pynvml.nvmlDeviceGetClockInfo(self._handle, pynvml.NVML_CLOCK_SM),
            "celsius": lambda: pynvml.nvmlDeviceGetTemperature(self._handle, pynvml.NVML_TEMPERATURE_GPU),
            "throttle_bits": lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle),
        }
        found: dict[str, Any] = {}
        for name, ask in asked.items():
            try:
                found[name] = ask()
            except pynvml.NVMLError:
                found[name] = None
        return found

    def facts(self) -> dict[str, Any]:
        """What names the board in a result."""
        return {
            "uuid": self.uuid,
            "name": pynvml.nvmlDeviceGetName(self._handle),
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "power_limit_w": self.limit_w(),
            "count": pynvml.nvmlDeviceGetCount(),
        }
