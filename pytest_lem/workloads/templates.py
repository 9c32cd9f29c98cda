"""Prompts out of a row's columns: a text with `{column}` in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from pytest_lem.model.errors import UsageError

WIDEST = 100_000
"""Characters to which a field may be filled up, and digits that it may be told with: a prompt is no longer."""


class _Columns(Formatter):
    """Fields by their names only, none of them without a value; what is wrong is a ValueError, a sentence."""

    def get_value(self, key: int | str, _args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if key not in kwargs:
            raise ValueError(f"no column {key!r}; its columns: {', '.join(kwargs)}")
        return kwargs[str(key)]

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value, first = super().get_field(field_name, args, kwargs)
        if value is None:
            raise ValueError(f"column {field_name!r} has no value there")
        return value, first

    def format_field(self, value: Any, format_spec: str) -> Any:
        for digits in re.findall(r"\d+", format_spec):  # its width and its precision, also out of another column
            if len(digits.lstrip("0")) > len(str(WIDEST)) or int(digits) > WIDEST:
                raise ValueError(f"a width or precision of {digits:.20} in ':{format_spec:.40}'; {WIDEST} is the most")
        return super().format_field(value, format_spec)


def fill(template: str, cells: Mapping[str, Any], where: str) -> str:
    """The template with a row's columns in it. Raises UsageError, which names `where` the row stands."""
    try:
        return _Columns().vformat(template, (), cells)
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # of `{a.b}`, `{a[0]}` and `{a:d}` too
        raise UsageError(f"{where}: template: {error}") from None
