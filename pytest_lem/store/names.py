"""What runs are called."""

from __future__ import annotations

import secrets
from datetime import datetime

RUN_VARIABLE = "LEM_RUN"
"""Names the run that pytest will make, for who starts pytest and has to know; pytest's own children do not see it."""


def new_name(started: datetime) -> str:
    """A run's name: sorts by time to the millisecond, and no two are alike."""
    return f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03}Z-{secrets.token_hex(3)}"
