"""How long prompts and answers are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pytest_lem.model.frozen import Asked


class Lengths(Asked):
    """A distribution of token counts, from which each request draws its own.

    `uniform` lies between `low` and `high`, both included. `normal` and `lognormal` have `mean` and `std` (of the
    tokens, not of their logarithm), and are drawn again outside of `low` and `high`. `histogram` maps token counts to
    weights. Short: `uniform(64, 256)`, `normal(256, 32)`, `lognormal(256, 128)`.
    """

    distribution: Literal["uniform", "normal", "lognormal", "histogram"]
    mean: float | None = Field(default=None, gt=0)
    std: float | None = Field(default=None, ge=0)
    low: int = Field(default=1, ge=1)
    high: int | None = Field(default=None, ge=1)
    histogram: dict[int, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        if isinstance(given, str):
            return _written_out(given)
        if isinstance(given, Mapping) and "histogram" in given:
            return {"distribution": "histogram", **given}
        return given

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needs = {"uniform": ("high",), "histogram": ("histogram",)}.get(self.distribution, ("mean", "std"))
        missing = [name for name in needs if not getattr(self, name) and getattr(self, name) != 0]
        if missing:
            raise ValueError(f"distribution {self.distribution!r} needs {' and '.join(missing)}")
        if self.high is not None and self.high < self.low:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        if any(length < 1 or weight < 0 for length, weight in self.histogram.items()):
            raise ValueError("a histogram maps token counts from 1 to weights from 0")
        if self.histogram and not sum(self.histogram.values()) > 0:
            raise ValueError("a histogram needs a weight above 0")
        return self

    def __hash__(self) -> int:
        return hash(self.key)  # the histogram itself has none

    @property
    def word(self) -> str:
        """Short, as it may be written: `lognormal(256, 128)`."""
        if self.distribution == "histogram":
            return f"histogram({len(self.histogram)} lengths)"
        pair = (self.low, self.high) if self.distribution == "uniform" else (self.mean, self.std)
        return f"{self.distribution}({pair[0]:g}, {pair[1]:g})"


def _written_out(text: str) -> dict[str, Any]:
    """`normal(256, 32)` → its fields. Raises ValueError for what is no distribution."""
    found = re.fullmatch(r"\s*(uniform|normal|lognormal)\s*\(\s*([\d.]+)\s*,\s*([\d.]+)\s*\)\s*", text)
    if found is None:
        raise ValueError(f"expected uniform(LOW, HIGH), normal(MEAN, STD) or lognormal(MEAN, STD), got {text!r}")
    names = ("low", "high") if found[1] == "uniform" else ("mean", "std")
    return {"distribution": found[1], names[0]: found[2], names[1]: found[3]}
