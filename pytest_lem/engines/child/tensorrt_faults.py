"""Why TensorRT-LLM failed, in the words of the process that did."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "insufficient memory", "memory allocation")


@contextlib.contextmanager
def worker_faults() -> Iterator[None]:
    """MemoryError, with what to lower, for an error that says that memory was short; any other as it is."""
    try:
        yield
    except Exception as fault:
        words = f"{type(fault).__name__}: {fault}"
        if isinstance(fault, MemoryError) or not any(sign in words.lower() for sign in _MEMORY):
            raise
        raise MemoryError(
            f"{words}; or set max_batch_size, max_seq_len or kv_cache_free_gpu_mem_fraction of tensorrt={{...}}"
        ) from fault
