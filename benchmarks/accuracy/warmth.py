"""The chip's own warmth: every window begins on a chip with the same history, and how power rises in one is seen.

A chip leaks more as it warms, about 0.5 % of its power a degree on an H100, so fixed work has fixed joules only on a
chip that has done as much before. Two things follow: rest and work between windows keep the share of busy time
constant, and the power inside long windows is read, to tell how much less the first seconds really cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

PREHEAT_S = 2.0
DUTY = 0.88
LONGEST_S = 8.0
POLL_S = 0.01

Trace = list[tuple[float, float]]


def conditioning(busy_s: float, elapsed_s: float) -> tuple[float, float]:
    """Seconds to rest, then seconds to work (PREHEAT_S to LONGEST_S), after which the busy share is DUTY again."""
    work = min(LONGEST_S, max(PREHEAT_S, (DUTY * elapsed_s - busy_s) / (1 - DUTY)))
    rest = max(0.0, (busy_s + work) / DUTY - elapsed_s - work)
    return rest, work


@dataclass
class History:
    """How long the chip has been watched and how much of that it worked."""

    began_ns: int
    busy_ns: int = 0

    def ask(self, now_ns: int) -> tuple[float, float]:
        """Rest and work (s) that keep the busy share."""
        return conditioning(self.busy_ns / 1e9, (now_ns - self.began_ns) / 1e9)


def power_trace(watts: Callable[[], float], start_ns: int, seconds: float) -> Trace:
    """Every new value of `watts` with its instant in seconds after `start_ns`, until `seconds` are over."""
    found: Trace = []
    last = watts()
    while (now := time.monotonic_ns() - start_ns) < seconds * 1e9:
        value = watts()
        if value != last:
            found.append((now / 1e9, value))
            last = value
        time.sleep(POLL_S)
    return found


def first_seconds(trace: Trace, seconds: float, average_s: float = 0.1) -> float | None:
    """Mean power of the first `seconds` of a window over that of all of it.

    A value stands for the `average_s` before it, so the first ones, which reach back before the work, are left out.
    None for a trace too short to tell.
    """
    clean = [(at, watts) for at, watts in trace if at >= average_s]
    head = [watts for at, watts in clean if at <= seconds]
    if len(head) < 5 or len(clean) < 2 * len(head):
        return None
    return (sum(head) / len(head)) / (sum(watts for _, watts in clean) / len(clean))
