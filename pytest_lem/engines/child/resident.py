"""The peak of this process's memory on the host, and how to begin it anew."""

from __future__ import annotations

import re

# What the kernel takes for "forget the peak" (Documentation/filesystems/proc.rst).
FORGET_PEAK = "5"


def forget_peak() -> bool:
    """Whether the peak was reset to what is resident now; some containers do not allow it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write(FORGET_PEAK)
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """The most that was resident since the peak was reset, in bytes; None where the kernel does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
