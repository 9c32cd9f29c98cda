"""Telemetry: what GPUs tell of themselves while the engine works, sampled by one thread of pytest's idle process.

Only inside a round's window: the counter ticks at its edges are read before it and after it, alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pytest_lem.meters.device_use import device_use, timeline
from pytest_lem.meters.gauges import Gauges
from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Clock, TelemetryDriver
from pytest_lem.meters.moments import Track
from pytest_lem.meters.pace import HERTZ
from pytest_lem.model.telemetry import DeviceUse, Timeline

GOAL_SHARE = 0.009
"""What the thread may take of one core: 1 % is the promise."""
CORE_SHARE = 0.005
LEAST_SHARE = 0.0005
"""What the readings may take of it at first, and at least: waking 20 times a second takes the rest, 0.3 % and more."""
HUNG = "the driver did not answer for 2 s: telemetry is off"
_GONE_S = 2.0
_TELLING_S = 0.5
_WITHIN_NS = 5_000_000
"""The engine may begin a little after the start that was named: the first sample lies inside the window anyhow."""
_ASIDE_S = 0.01
_ASIDE = 4
_NS = 1_000_000_000


class Telemetry:
    """Samples `drivers` at `hertz` through one window at a time. Without drivers it asks nothing and has no thread.

    `clocks` gives each driver its own clock, as simulated GPUs have; `looking` tells of each whether the meter reads
    its counter just now: it is asked nothing then. Opening asks each GPU some times, to find out what it tells and at
    what cost: 0.1 s each. `thread_cpu_s` is what the thread took in the last window, in CPU seconds.
    """

    def __init__(
        self,
        drivers: Sequence[TelemetryDriver] = (),
        hertz: float = HERTZ,
        *,
        clocks: Sequence[Clock] | None = None,
        looking: Sequence[Callable[[], bool]] | None = None,
    ) -> None:
        self.hertz = hertz
        self.hung = False
        self.thread_cpu_s = 0.0
        self._share = CORE_SHARE
        shared, count = HostClock(), len(drivers)
        share = CORE_SHARE / max(count, 1)
        self.tracks = [
            Track(Gauges(driver), clock, hertz, share, looking=busy)
            for driver, clock, busy in zip(
                drivers, clocks or [shared] * count, looking or [lambda: False] * count, strict=True
            )
        ]

    @contextmanager
    def sampling(self, start_ns: int) -> Iterator[None]:
        """Sample from `start_ns` (monotonic) until the block ends; nothing is asked any more when this returns.

        A driver that does not answer for 2 s is left alone for good: windows go on without telemetry.
        """
        self.restart()
        if not self.tracks or self.hung:
            yield
            return
        held = threading.Lock()  # the cheapest thing to wait at: an Event takes ten times the CPU time
        held.acquire()
        thread = threading.Thread(target=self._run, args=(start_ns, held), name="lem-telemetry", daemon=True)
        try:
            thread.start()  # inside: Ctrl-C may come while it waits for the thread to run
            yield
        finally:
            self.hung = True  # until it is known to be gone, which Ctrl-C may keep from us
            held.release()
            with suppress(RuntimeError):  # it did not begin
                thread.join(_GONE_S)
            self.hung = thread.is_alive()
            if not self.hung:
                self.afford(self.thread_cpu_s, (time.monotonic_ns() - start_ns) / _NS)

    def afford(self, cpu_s: float, seconds: float) -> None:
        """Let readings take more or less of a core, after a window of `seconds` in which the thread took `cpu_s`.

        Less at once, more by half of what is left: what waking takes is only known once it has been taken.
        """
        if seconds < _TELLING_S:
            return
        left = GOAL_SHARE - cpu_s / seconds
        self._share = min(max(self._share + (left / 2 if left > 0 else left), LEAST_SHARE), GOAL_SHARE)
        for track in self.tracks:
            track.share = self._share / len(self.tracks)

    def restart(self) -> None:
        """Forget the last window."""
        for track in self.tracks:
            if self.hung:
                track.moments = []
            else:
                track.restart()

    def sample(self) -> None:
        """Ask every GPU once; one whose counter is being read a little later, or not at all."""
        waiting = list(self.tracks)
        for attempt in range(_ASIDE):
            if attempt:
                time.sleep(_ASIDE_S)
            free = [track for track in waiting if not track.looking()]
            for track in free:
                track.sample()
            waiting = [track for track in waiting if track not in free]
            if not waiting:
                return

    def use(self, start_ns: int, end_ns: int) -> tuple[DeviceUse, ...]:
        """What the last window comes to between two instants (monotonic), one summary a GPU."""
        reason = HUNG if self.hung else None
        return tuple(device_use(track, start_ns, end_ns, reason=reason) for track in self.tracks)

    def timelines(self, start_ns: int, end_ns: int) -> tuple[Timeline, ...]:
        """All that was told between two instants (monotonic), one timeline a GPU that told anything."""
        found = (timeline(track, start_ns, end_ns) for track in self.tracks)
        return tuple(each for each in found if each.time_ns)

    def close(self) -> None:
        """Let go of what the drivers allocated; a thread that hangs in one may still use it."""
        if not self.hung:
            for track in self.tracks:
                track.gauges.close()
        self.tracks = []

    def _run(self, start_ns: int, held: threading.Lock) -> None:
        """The thread: sample at the rate from `start_ns` on, until the lock can be had.

        A sample that came late is not made up for at once: GPM tells 0 of a busy GPU where two readings are too near.
        """
        period, due = round(_NS / self.hertz), start_ns + _WITHIN_NS
        while not held.acquire(timeout=max(due - time.monotonic_ns(), 0) / _NS):
            self.sample()
            due = max(due + period, time.monotonic_ns() + period // 2)
        self.thread_cpu_s = time.thread_time()
