"""The host's monotonic clock."""

from __future__ import annotations

import time


class HostClock:
    """`time.monotonic_ns()`, one clock for all processes of a host."""

    def now_ns(self) -> int:
        """Nanoseconds since some instant in the past."""
        return time.monotonic_ns()

    def sleep_until_ns(self, instant: int) -> None:
        """Return at `instant` or soon after; at once when it has passed."""
        rest = instant - time.monotonic_ns()
        if rest > 0:
            time.sleep(rest / 1e9)
