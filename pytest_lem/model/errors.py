"""The errors of pytest-lem, one small tree.

A message is one line that names the place (an option, a marker, a file), the fault, and the mend.
"""

from __future__ import annotations


class LemError(Exception):
    """Root of everything pytest-lem raises on purpose."""


class UsageError(LemError):
    """What the user asked for cannot be: an option, marker, ini value or argument is wrong."""


class MeterError(LemError):
    """A meter that was asked for by name does not work here, or broke while it measured."""


class StoreError(LemError):
    """Results cannot be written or read: the message names the path."""


class ForgeError(LemError):
    """GitHub or GitLab cannot be reached, or refuses what was asked of it."""


class EngineError(LemError):
    """The engine could not start, died, or answered wrongly.

    `log_tail` holds the last lines of the engine's own log (may be empty), `kind` a word that programs can match:
    `start`, `died`, `timeout`, `memory`, `mismatch`, `protocol`, `usage`.
    """

    def __init__(self, message: str, *, kind: str = "start", log_tail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.log_tail = log_tail


class Unavailable(LemError):
    """A quantity that could not be measured was read.

    `key` is the metric's key, `reason` why there is no value. The plugin turns it into a skip, or into a failure where
    a baseline, the command line or a named meter asked for the quantity.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key} is not available: {reason}")
        self.key = key
        self.reason = reason
