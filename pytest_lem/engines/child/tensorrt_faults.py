"""Why TensorRT-LLM failed, in the words of the process that did."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_MEMORY = (
    "out of memory",
    "outofmemory",
    "cudaerrormemoryallocation",
    "insufficient memory",
    "insufficient gpu memory",
    "memory allocation",
)
# The cache got its share of the memory that was free, and it is too small: not one request fits.
_BLOCKS = (
    "fit in any sequence in kvcache",
    "to process at least 1 sequence to completion",
    "can't allocate new blocks",
    "no free blocks left",
)
_LOWER = "or set max_batch_size, max_seq_len or kv_cache_free_gpu_mem_fraction of tensorrt={...}"
_RAISE = "or raise kv_cache_free_gpu_mem_fraction or lower max_seq_len of tensorrt={...}"


@contextlib.contextmanager
def worker_faults() -> Iterator[None]:
    """MemoryError, with what to set, for an error that says that memory was short; any other as it is."""
    try:
        yield
    except Exception as fault:
        words = f"{type(fault).__name__}: {fault}"
        mend = _mend(words.lower())
        if isinstance(fault, MemoryError) or mend is None:
            raise
        raise MemoryError(f"{words}; {mend}") from fault


def _mend(words: str) -> str | None:
    if any(sign in words for sign in _BLOCKS):
        return _RAISE
    return _LOWER if any(sign in words for sign in _MEMORY) else None
