"""Moments and ages as they are typed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(r"(\d+)([mhdw])")


def age(text: str, option: str) -> timedelta:
    """`30d`, `12h`, `90m`, `2w`. Raises UsageError that names `option`."""
    from pytest_lem.model.errors import UsageError

    found = _AGE.fullmatch(text)
    if not found:
        raise UsageError(f"{option}={text}: write a number and m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment(text: str, option: str) -> datetime:
    """A date or time of ISO 8601 (UTC where it names no zone), or an age. Raises UsageError that names `option`."""
    from pytest_lem.model.errors import UsageError

    if _AGE.fullmatch(text):
        return datetime.now(UTC) - age(text, option)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}={text}: write a date such as 2026-01-31, or an age such as 7d") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
