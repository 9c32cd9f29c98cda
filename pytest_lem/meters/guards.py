"""What makes a GPU's window invalid: rules over what was seen at its edges. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SLOWED = frozenset({"hw_slowdown", "hw_thermal", "sw_thermal", "power_brake"})
"""Throttle reasons under which a GPU does not run as it would."""
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC


def in_pid_namespace() -> bool:
    """Whether this process sees other PIDs than the host's, so that NVML's (the host's) mean nothing here.

    The kernel gives the host's own PID namespace a fixed inode number (PROC_PID_INIT_INO).
    """
    try:
        return Path("/proc/self/ns/pid").stat().st_ino != _INITIAL_PID_NAMESPACE
    except OSError:
        return False


@dataclass
class IdleFloor:
    """Judges whether a GPU was idle before a start, by its lowest idle power and its busiest window so far.

    Idle differs by tens of watts on its own (H100: 72 W at low clocks, 115 to 135 W just after work), so a head may lie
    25 % above the lowest plus a margin: 35 % of the way from there to the busiest window, but 15 to 45 W.
    """

    lowest_w: float | None = None
    busiest_w: float | None = None

    def fault(self, head_w: float) -> str | None:
        """The fault of a head of `head_w` watts, which is remembered."""
        limit = self._limit()
        self.lowest_w = head_w if self.lowest_w is None else min(self.lowest_w, head_w)
        if limit is None or head_w <= limit:
            return None
        return f"not idle before the start: {head_w:.0f} W, expected at most {limit:.0f} W"

    def worked(self, watts: float, idle_w: float | None = None) -> None:
        """Remember the mean power of a window, and the idle power after it."""
        self.busiest_w = watts if self.busiest_w is None else max(self.busiest_w, watts)
        if idle_w is not None:
            self.lowest_w = idle_w if self.lowest_w is None else min(self.lowest_w, idle_w)

    def _limit(self) -> float | None:
        if self.lowest_w is None:
            return None
        way = 45.0 if self.busiest_w is None else 0.35 * (self.busiest_w - self.lowest_w)
        return 1.25 * self.lowest_w + min(max(way, 15.0), 45.0)


@dataclass
class ProcessGuard:
    """Finds other processes on a GPU by PID.

    Where PIDs can be trusted (`hidden` false, or one of our own is among them) every other one is a stranger. Where a
    container hides or renumbers them, a stranger is one more PID than we have processes, or one that was not there at
    the first look; beyond that the GPU's power before the start must tell.
    """

    hidden: bool
    _first: frozenset[int] | None = field(default=None)

    def fault(self, seen: Collection[int], own: Collection[int]) -> str | None:
        """The fault of finding `seen` on the GPU while `own` are our processes."""
        strangers = self.strangers(seen, own)
        if not strangers:
            return None
        return f"another process is on the GPU: PID {', '.join(map(str, strangers))}"

    def strangers(self, seen: Collection[int], own: Collection[int]) -> list[int]:
        """The PIDs among `seen` that are not ours, as far as that can be told."""
        first = self._first
        if first is None:
            self._first = first = frozenset(seen)
        strangers = sorted(set(seen) - set(own))
        trusted = not self.hidden or len(strangers) < len(set(seen))
        if not trusted:
            strangers = sorted(set(strangers) - first) or (strangers if len(strangers) > len(set(own)) else [])
        return strangers


def slowdown_fault(reasons: Sequence[str]) -> str | None:
    """The fault of throttle `reasons` that were set beside a window."""
    set_now = sorted(SLOWED & set(reasons))
    return f"the GPU was slowed down: {', '.join(set_now)}" if set_now else None
