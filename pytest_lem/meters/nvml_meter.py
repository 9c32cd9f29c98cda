"""The GPU meter: joules of NVIDIA GPUs, from a counter read in the idle time around the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pytest_lem.meters.counter import MS
from pytest_lem.meters.gpu_channel import GpuChannel
from pytest_lem.meters.guards import in_pid_namespace
from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Clock, GpuDriver
from pytest_lem.meters.power_series import Sampler
from pytest_lem.meters.telemetry import Telemetry
from pytest_lem.meters.trail import Trail
from pytest_lem.meters.window import PHASE_SPREAD
from pytest_lem.model.reading import DeviceReading, MeterDevice, Source

T = TypeVar("T")

SETTLE_NS = 30 * MS
PHASES = 8
PHASE_NS = 12_500_000
_TICK_NS = PHASES * PHASE_NS
_LEAD_NS = 2 * MS
_NOTICE_NS = 15 * MS
"""`begin` returns this long before the start that it names, for the caller to pass it on."""


def _this_process() -> tuple[int, ...]:
    return (os.getpid(),)


class GpuMeter:
    """Measures each GPU of `drivers` on its own, over one window at a time.

    `clocks` gives each driver its own clock, in the drivers' order (simulated GPUs live in separate times); left out,
    all share `clock`. `own_pids` tells which processes are ours. `parallel` polls with one thread a GPU, and samples
    GPUs without a counter from a thread; without it nothing runs beside the caller, who then calls `sample` himself.
    `hidden_pids`: whether NVML's PIDs mean nothing in this process; found out when None. `phase_spread`: how unevenly
    the boards' counters weigh their tick, once a board is characterised.
    """

    name = "nvml"
    source: Source = "measured"

    def __init__(
        self,
        drivers: Sequence[GpuDriver],
        *,
        clock: Clock | None = None,
        clocks: Sequence[Clock] | None = None,
        own_pids: Callable[[], Collection[int]] = _this_process,
        parallel: bool = True,
        hidden_pids: bool | None = None,
        phase_spread: float = PHASE_SPREAD,
    ) -> None:
        shared = clock or HostClock()
        hidden = in_pid_namespace() if hidden_pids is None else hidden_pids
        self._channels = [
            GpuChannel(driver, its_clock, hidden_pids=hidden, phase_spread=phase_spread)
            for driver, its_clock in zip(drivers, clocks or [shared] * len(drivers), strict=True)
        ]
        self._own_pids = own_pids
        self._pool = ThreadPoolExecutor(len(drivers), "lem-gpu") if parallel and len(drivers) > 1 else None
        self._each(GpuChannel.open)
        blind = [channel for channel in self._channels if not channel.has_counter]
        self._sampler = Sampler(self.sample, blind[0].clock) if parallel and blind else None

    def devices(self) -> tuple[MeterDevice, ...]:
        """The GPUs, by UUID."""
        drivers = [channel.driver for channel in self._channels]
        return tuple(MeterDevice(id=driver.uuid, kind="gpu", name=driver.name) for driver in drivers)

    def begin(self, phase: int) -> int:
        """Wait for each GPU's tick; the start, 30 ms and (`phase` mod 8) × 12.5 ms after the last of them (ns)."""
        own = frozenset(self._own_pids())
        last_head = max(self._each(lambda channel: channel.begin(own)))
        start = last_head + SETTLE_NS + phase % PHASES * PHASE_NS
        earliest = max(channel.clock.now_ns() for channel in self._channels) + _LEAD_NS
        while start < earliest:
            start += _TICK_NS
        if not all(self._each(lambda channel: channel.watch_head(start - _NOTICE_NS))):
            start += _TICK_NS
            self._each(lambda channel: channel.watch_head(start - _NOTICE_NS))
        self._each(GpuChannel.judge_head)
        if self._sampler is not None:
            self._sampler.start()
        return start

    def watch(self, stopped: Callable[[], bool]) -> None:
        """Watch every counter tick until `stopped()`, one thread a GPU."""
        self._each(lambda channel: channel.watch(stopped))

    def trails(self) -> tuple[Trail, ...]:
        """The ticks since `begin`, one trail a GPU, in the drivers' order."""
        return tuple(channel.trail() for channel in self._channels)

    def end(self, start_ns: int, end_ns: int) -> tuple[DeviceReading, ...]:
        """Wait for each GPU's ticks after the work; one reading a GPU, in the drivers' order."""
        if self._sampler is not None:
            self._sampler.stop()
        own = frozenset(self._own_pids())
        return tuple(self._each(lambda channel: channel.end(start_ns, end_ns, own)))

    def telemetry(self, hertz: float) -> Telemetry:
        """What samples these GPUs at `hertz` inside windows, and stands aside while a counter is read."""
        return Telemetry(
            [channel.driver for channel in self._channels],
            hertz,
            clocks=[channel.clock for channel in self._channels],
            looking=[partial(getattr, channel, "looking") for channel in self._channels],
        )

    def sample(self) -> None:
        """Read the power of every GPU that has no counter, once. Called all through a window."""
        for channel in self._channels:
            channel.sample()

    def close(self) -> None:
        """End the threads."""
        if self._sampler is not None:
            self._sampler.stop()
        if self._pool is not None:
            self._pool.shutdown()

    def _each(self, act: Callable[[GpuChannel], T]) -> list[T]:
        return list(self._pool.map(act, self._channels) if self._pool else map(act, self._channels))
