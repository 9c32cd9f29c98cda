"""Why vLLM failed: its core is a process of its own, and what went wrong there is in the log alone."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator

TAIL_BYTES = 1 << 16
_ERROR = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception|OutOfMemory\w*)): (.+)")
_SHELL = ("Engine core initialization failed", "EngineCore encountered an issue", "WorkerProc initialization failed")
_SHELL_CLASSES = ("EngineDeadError",)
_MEMORY = ("out of memory", "No available memory", "KV cache is needed", "Free memory on device", "kv cache memory")


@contextlib.contextmanager
def core_faults() -> Iterator[None]:
    """Turn an error that says no more than "see above" into the one above; MemoryError where memory was short."""
    try:
        yield
    except Exception as fault:
        cause = root_cause(fault)
        if cause is fault:
            raise
        raise cause from fault


def root_cause(fault: Exception) -> Exception:
    """`fault`, or the error that a core or worker process logged before it; MemoryError where memory was short."""
    shell = type(fault).__name__ in _SHELL_CLASSES or any(words in str(fault) for words in _SHELL)
    words = _logged() if shell else f"{type(fault).__name__}: {fault}"
    if words is None:
        return fault
    if any(sign.lower() in words.lower() for sign in _MEMORY):
        return MemoryError(f"{words}; or set max_model_len, max_num_seqs or gpu_memory_utilization of vllm={{...}}")
    return RuntimeError(f"vLLM's core said {words}") if shell else fault


def _logged() -> str | None:
    """The last error of another process that this one's log holds; None where the log cannot be read."""
    sys.stdout.flush()
    try:
        with open(os.readlink("/proc/self/fd/1"), "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        found = _ERROR.search(line)
        if found and not any(shell in line for shell in _SHELL):
            return f"{found[1]}: {found[2]}"
    return None
