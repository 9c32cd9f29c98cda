"""How an adapter says what went wrong. Out of memory is Python's own MemoryError."""

from __future__ import annotations

import signal


class Refused(Exception):
    """The request cannot be met as it stands, and the message says why; the engine is still good for another."""


def exit_words(status: int) -> str:
    """`exit code 3` or `signal SIGKILL`, of a process's exit status as subprocess writes it."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
