"""Out of memory, and how near to it a run came."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch

# torch has no class of its own for a refused allocation of host memory, only these words.
HOST_WORDS = ("can't allocate memory", "not enough memory")


@contextlib.contextmanager
def memory_faults() -> Iterator[None]:
    """Turn torch's ways of being out of memory into MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise MemoryError(_size(fault)) from fault
    except RuntimeError as fault:
        if any(words in str(fault) for words in HOST_WORDS):
            raise MemoryError(_size(fault)) from fault
        raise


def _size(fault: RuntimeError) -> str:
    """The part of torch's message that tells how much was wanted."""
    found = re.search(r"[Tt]ried to allocate [\d.]+ \w+|tried to allocate \d+ bytes", str(fault))
    return found.group().capitalize() if found else str(fault).splitlines()[0]


def gpu_uuid(device: torch.device) -> str:
    """The UUID as NVML writes it: `GPU-…`."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def wait_for(gpus: Iterable[torch.device]) -> None:
    """Return when they have done all that they were told."""
    for gpu in gpus:
        torch.cuda.synchronize(gpu)


def forget_peaks(gpus: Iterable[torch.device]) -> None:
    """Begin the peaks of their memory anew."""
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)


def device_peaks(gpus: Iterable[torch.device]) -> list[dict[str, Any]]:
    """Peak bytes of tensors and of the allocator since they were reset, per GPU."""
    return [
        {
            "device": gpu_uuid(gpu),
            "allocated_bytes": torch.cuda.max_memory_allocated(gpu),
            "reserved_bytes": torch.cuda.max_memory_reserved(gpu),
        }
        for gpu in gpus
    ]
