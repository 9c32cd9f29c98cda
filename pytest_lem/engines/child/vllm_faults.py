"""Why a start of vLLM failed: its core is a process of its own, and what went wrong there is in the log alone."""

from __future__ import annotations

import os
import re
import sys

TAIL_BYTES = 1 << 16
_ERROR = re.compile(r"\b((?:\w+\.)*\w*(?:Error|Exception|OutOfMemory\w*)): (.+)")
_SHELL = ("Engine core initialization failed", "EngineCore encountered an issue", "WorkerProc initialization failed")
_MEMORY = ("out of memory", "No available memory", "KV cache is needed", "Free memory on device", "kv cache memory")


def root_cause(fault: BaseException) -> BaseException:
    """`fault`, or the error that a core or worker process logged before it; MemoryError where memory was short."""
    words = _logged() if any(shell in str(fault) for shell in _SHELL) else f"{type(fault).__name__}: {fault}"
    if words is None:
        return fault
    if any(sign.lower() in words.lower() for sign in _MEMORY):
        return MemoryError(words)
    return RuntimeError(words)


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
