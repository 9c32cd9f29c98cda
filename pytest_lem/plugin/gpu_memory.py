"""Waits until GPU memory is what it seems: freed by an engine that ended, or no longer in use by one that dies."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence

import pytest

from pytest_lem.meters.host_clock import HostClock
from pytest_lem.meters.meter import Clock
from pytest_lem.meters.nvml import memory_used

SETTLE_SECONDS = 30.0
SETTLE_BYTES = 64 * 1024 * 1024
STABLE_NS = 1_000_000_000
_LOOK_NS = 100_000_000


def freed(before: Mapping[str, int]) -> None:
    """Wait until each GPU (by UUID) uses no more bytes than `before`; warn where one does not get there."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        over = {uuid: memory_used(uuid) - bytes_ for uuid, bytes_ in before.items()}
        held = {uuid: more for uuid, more in over.items() if more > SETTLE_BYTES}
        if not held:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    told = ", ".join(f"{uuid}: {more / 2**20:.0f} MiB" for uuid, more in held.items())
    warnings.warn(pytest.PytestWarning(f"GPU memory still in use after an engine's end ({told})"), stacklevel=3)


def stable(gpus: Sequence[str], show: Callable[[str], object], clock: Clock | None = None) -> bool:
    """Wait until for a second no GPU has freed more than 64 MiB; whether that came within 30 s."""
    clock = clock or HostClock()
    now = clock.now_ns()
    deadline = now + round(SETTLE_SECONDS * 1e9)
    levels = {uuid: memory_used(uuid) for uuid in gpus}
    since = now
    while now - since < STABLE_NS:
        if now >= deadline:
            return False
        show("wait for the GPU memory of who was there before")
        clock.sleep_until_ns(now + _LOOK_NS)
        now = clock.now_ns()
        used = {uuid: memory_used(uuid) for uuid in gpus}
        if any(levels[uuid] - used[uuid] > SETTLE_BYTES for uuid in gpus):
            levels, since = used, now
        levels = {uuid: max(levels[uuid], used[uuid]) for uuid in gpus}
    return True
