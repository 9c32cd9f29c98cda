"""What all data that crosses a border between rooms has in common."""

from __future__ import annotations

import hashlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all data that crosses a border between rooms: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def replace(self, **changes: Any) -> Self:
        """The same data with `changes`, validated again. Raises pydantic's ValidationError."""
        return type(self).model_validate({**self.model_dump(), **changes})

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name this data: equal data, equal key, on any machine."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


class Asked(Frozen):
    """What a user asks for: every number of it is finite, as JSON's are."""

    model_config = ConfigDict(allow_inf_nan=False)
