"""What runs are called."""

from __future__ import annotations

import secrets
from datetime import datetime


def new_name(started: datetime) -> str:
    """A run's name: sorts by time to the millisecond, and no two are alike."""
    return f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03}Z-{secrets.token_hex(3)}"
