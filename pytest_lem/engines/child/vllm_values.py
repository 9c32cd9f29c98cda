"""Values of vLLM's configuration as they are compared with what was asked for, and as JSON knows them."""

from __future__ import annotations

import copy
import enum
from typing import Any


def lowered(section: Any, mode: int, cudagraph_mode: str) -> Any:
    """The compilation's settings with the two that a worker may lower, as the worker has them."""
    found = copy.copy(section)
    found.mode = type(section.mode)(mode)
    found.cudagraph_mode = type(section.cudagraph_mode)[cudagraph_mode]
    return found


def like(asked: Any, found: Any) -> Any:
    """`found` written as `asked` is, so that equal means the same: names for enums, keys asked for of sections.

    A list is as asked when it holds all that was asked for: vLLM sorts sizes and adds operations of its own.
    """
    if isinstance(found, enum.Enum):
        return asked if asked in (found.name, found.value) else plain(found)
    if isinstance(asked, dict) and found is not None:
        entries = found if isinstance(found, dict) else {key: getattr(found, key, None) for key in asked}
        return {key: like(value, entries.get(key)) for key, value in asked.items()}
    if isinstance(asked, list | tuple) and isinstance(found, list | tuple | set):
        held = [plain(entry) for entry in found]
        return asked if all(entry in held for entry in asked) else held
    return plain(found)


def plain(value: Any) -> Any:
    """A configuration's value as JSON knows it."""
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, int | str) else value.name
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value).removeprefix("torch.")
