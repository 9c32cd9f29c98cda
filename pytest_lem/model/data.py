"""Where the words of prompts come from."""

from __future__ import annotations

import re
from string import Formatter
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_lem.model.frozen import Asked


class DataSpec(Asked):
    """Prompts out of a file, a Hugging Face dataset or the package's own set (`builtin:NAME`).

    `source` is a path (JSONL, CSV, Parquet, or text with a prompt a line), `hf:NAME`, or `builtin:NAME`. `field` names
    the column, `template` a text with `{column}` in it instead. `output_field` is a column of output lengths. Prompts
    of more than `max_tokens` are an error, or lose their left or right end, or are left out (`drop`); those of fewer
    than `min_tokens` are filled up on the left by repeating them (`repeat`), or left out, or an error, as `too_short`
    says. `limit` takes the first so many entries.
    """

    source: str
    field: str | None = None
    template: str | None = None
    output_field: str | None = None
    split: str = "train"
    limit: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    min_tokens: int | None = Field(default=None, ge=1)
    too_long: Literal["error", "left", "right", "drop"] = "error"
    too_short: Literal["repeat", "drop", "error"] = "repeat"

    @field_validator("template")
    @classmethod
    def _names_columns(cls, template: str | None) -> str | None:
        if template is None:
            return None
        fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        if not fields:
            raise ValueError("it names no column; write {column} where the row's text goes")
        if any(re.match(r"\d*([.\[]|$)", name) for name in fields):
            raise ValueError("a field has no column's name; write {column}, and {{ and }} for braces themselves")
        return template

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.field is not None and self.template is not None:
            raise ValueError("field and template each say what a prompt is; give one of them")
        if self.too_long != "error" and self.max_tokens is None:
            raise ValueError(f"too_long={self.too_long!r} says what becomes of prompts over max_tokens; give it")
        if self.too_short != "repeat" and self.min_tokens is None:
            raise ValueError(f"too_short={self.too_short!r} says what becomes of prompts under min_tokens; give it")
        if self.max_tokens is not None and self.min_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is above max_tokens ({self.max_tokens})")
        return self
