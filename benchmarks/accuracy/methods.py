"""The ways of taking a window's joules that are compared with the meter's: each begins and ends beside the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from benchmarks.graphwork.board import Board


class Method(Protocol):
    """Takes joules of one window: `begin` just before the work, `end` just after it."""

    name: str

    def begin(self) -> None:
        """Called once the work is named and about to start."""
        ...

    def end(self, seconds: float) -> float:
        """Joules of the work, which took `seconds` by its own stamps."""
        ...


class CounterDifference:
    """The energy counter after the work less the energy counter before it."""

    name = "counter"

    def __init__(self, board: Board) -> None:
        self._board = board
        self._before = 0.0

    def begin(self) -> None:
        self._before = self._board.energy_j()

    def end(self, seconds: float) -> float:
        return self._board.energy_j() - self._before


class AveragePower:
    """NVML's power, an average over a second, read once at the end, times the time."""

    name = "power x time"

    def __init__(self, board: Board) -> None:
        self._board = board

    def begin(self) -> None:
        """Nothing to read yet."""

    def end(self, seconds: float) -> float:
        return self._board.average_w() * seconds


class Zeus:
    """A window of zeus.monitor.ZeusMonitor. The work's process synchronises its device, so zeus need not."""

    name = "zeus"

    def __init__(self, board: Board) -> None:
        from zeus.monitor import ZeusMonitor

        self._index = board.index
        self._monitor = ZeusMonitor(gpu_indices=[board.index], cpu_indices=[])
        self.begin()  # the first window finds out what the board can do
        self.end(0.0)

    def begin(self) -> None:
        self._monitor.begin_window("work", sync_execution=False, restart=True)

    def end(self, seconds: float) -> float:
        return float(self._monitor.end_window("work", sync_execution=False).gpu_energy[self._index])


class CodeCarbon:
    """A task of codecarbon's OfflineEmissionsTracker: its `gpu_energy`."""

    name = "codecarbon"

    def __init__(self, board: Board) -> None:
        from codecarbon import OfflineEmissionsTracker

        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA",
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
            gpu_ids=[board.index],
        )
        self._task = 0
        self.begin()  # the first task looks the hardware up, which takes seconds
        time.sleep(0.5)
        self.end(0.5)

    def begin(self) -> None:
        self._task += 1
        self._tracker.start_task(f"work-{self._task}")

    def end(self, seconds: float) -> float:
        found = self._tracker.stop_task(f"work-{self._task}")
        if found is None:
            raise RuntimeError("codecarbon gave nothing for its task")
        if not found.gpu_energy:
            raise RuntimeError("codecarbon saw no GPU energy")
        return float(found.gpu_energy) * 3.6e6


BESIDE: tuple[Callable[[Board], Method], ...] = (AveragePower, CounterDifference, Zeus)
"""Quick enough to stand around one and the same window, together with the meter."""
ALONE: tuple[Callable[[Board], Method], ...] = (CodeCarbon,)
"""Too slow to start for that (its own thread and hardware look-ups): windows of their own, of the same work."""
