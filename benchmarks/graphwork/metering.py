"""The meter under test on one GPU, and a log of what it asks of its driver."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from pytest_lem.meters.nvml import NvmlDriver
from pytest_lem.meters.nvml_meter import GpuMeter


class CallLog:
    """When driver calls began and ended (monotonic ns)."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def clear(self) -> None:
        """Begin a new list; one that was handed out stays as it is."""
        self.calls = []


class LoggedDriver:
    """A driver that notes each call of its methods; everything else is the driver's own."""

    def __init__(self, driver: Any, log: CallLog) -> None:
        self._driver, self._log = driver, log

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if not callable(found):
            return found

        def logged(*args: Any, **options: Any) -> Any:
            began = time.monotonic_ns()
            try:
                return found(*args, **options)
            finally:
                self._log.calls.append((began, time.monotonic_ns()))

        return logged


def gpu_meter(uuid: str, pids: Sequence[int], log: CallLog | None = None) -> GpuMeter:
    """The meter of the GPU `uuid`; `pids` are the processes of ours that work on it."""
    driver = NvmlDriver(uuid)
    own = (os.getpid(), *pids)
    watched: Any = driver if log is None else LoggedDriver(driver, log)
    return GpuMeter([watched], own_pids=lambda: own)
