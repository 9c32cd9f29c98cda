"""Power readings all through a window, for a GPU that has no energy counter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_lem.meters.counter import MS
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.power_watch import REFRESH_NS
from pytest_lem.meters.window import NS, PowerPoint

SAMPLE_NS = 20 * MS


@dataclass
class PowerSeries:
    """The readings of one GPU, from field 186 or (`instant` false) from the field that averages over 1 s."""

    driver: GpuDriver
    clock: Clock
    instant: bool
    points: list[PowerPoint] = field(default_factory=list)

    @property
    def period_s(self) -> float:
        """The time whose mean a reading is (s): field 186's refresh, or the 1 s of the other; seen up to 20 ms late."""
        return ((REFRESH_NS if self.instant else 1000 * MS) + SAMPLE_NS) / NS

    @property
    def head_watts(self) -> float | None:
        """The power before the work; None where it was not read."""
        return self.points[0].watts if self.points else None

    def restart(self) -> None:
        """Forget all readings and take one."""
        self.points.clear()
        self.sample()

    def sample(self) -> None:
        """Read the power once. An unchanged value is the same reading, until it is old enough to be a new one."""
        watts = self.driver.power_w() if self.instant else self.driver.average_power_w()
        now = self.clock.now_ns()
        last = self.points[-1] if self.points else None
        if last is None or last.watts != watts or now - last.time_ns >= REFRESH_NS + self.period_s * NS / 2:
            self.points.append(PowerPoint(now - round(self.period_s * NS / 2), watts))


class Sampler:
    """A thread that calls `sample` every 20 ms between `start` and `stop`."""

    def __init__(self, sample: Callable[[], None], clock: Clock) -> None:
        self._sample, self._clock = sample, clock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="lem-power", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling; returns when the thread is gone. Safe to call without `start`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._sample()
            self._clock.sleep_until_ns(self._clock.now_ns() + SAMPLE_NS)
