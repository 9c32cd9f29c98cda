"""How an adapter says what went wrong. Out of memory is Python's own MemoryError."""

from __future__ import annotations


class Refused(Exception):
    """The request cannot be met as it stands, and the message says why; the engine is still good for another."""
