"""What killed processes would leave behind: their children elsewhere, and shared memory, which has names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

FOLDER = "/dev/shm"
# What Python's own shared memory and semaphores are called, and NCCL's; others may belong to somebody else.
PREFIXES = ("psm_", "sem.mp-", "nccl-")


def unlink_shared_memory(pids: Iterable[int]) -> None:
    """Take the names of these processes' segments away; whoever has them mapped keeps them until it ends."""
    for path in set(_mapped(pids)):
        with contextlib.suppress(OSError):
            os.unlink(path)


def group_members() -> list[int]:
    """The processes of this process's own group."""
    own, found = os.getpgid(0), []
    for name in os.listdir("/proc"):
        with contextlib.suppress(ValueError, OSError):
            if os.getpgid(int(name)) == own:
                found.append(int(name))
    return found


def descendants() -> list[int]:
    """The processes below this one, also those in sessions of their own."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
            parent = int(stat.read().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _mapped(pids: Iterable[int]) -> Iterator[str]:
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                path = line.rstrip("\n").partition("/")[2]
                if f"/{path}".startswith(tuple(f"{FOLDER}/{prefix}" for prefix in PREFIXES)):
                    yield f"/{path}"
