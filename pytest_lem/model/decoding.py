"""How the next token is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from pytest_lem.model.frozen import Asked
from pytest_lem.model.presets import PRESETS, preset


class DecodingSpec(Asked):
    """How the next token is drawn. Every request still gets exactly the tokens that were asked for.

    `temperature` 0 takes the likeliest token. A field that is None is not asked for: the engine draws without it. A
    name, or `preset` beside other fields, stands for those of `PRESETS`.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    typical_p: float | None = Field(default=None, gt=0, le=1)
    top_h: float | None = Field(default=None, gt=0, le=1)
    epsilon_cutoff: float | None = Field(default=None, ge=0, lt=1)
    eta_cutoff: float | None = Field(default=None, ge=0, lt=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None

    @property
    def undrawn(self) -> tuple[str, ...]:
        """The fields that say how to draw, where nothing is drawn: temperature 0 takes the likeliest token anyway."""
        if self.temperature:
            return ()
        return tuple(name for name, nothing in _OF_A_DRAW.items() if getattr(self, name) not in (None, nothing))

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, str):
            return preset(given, PRESETS, "preset")
        if isinstance(given, Mapping) and "preset" in given:
            rest = {name: value for name, value in given.items() if name != "preset"}
            return {**preset(str(given["preset"]), PRESETS, "preset"), **rest}
        return given


_OF_A_DRAW: Mapping[str, float | None] = {
    "top_p": 1.0,
    "top_k": 1,
    "min_p": 0.0,
    "typical_p": 1.0,
    "top_h": None,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "seed": None,
}
"""What only shapes a draw, with the value that leaves nothing out, or nothing but the likeliest token."""


def of_transformers(decoding: DecodingSpec) -> str | None:
    """The first field that is asked for and that only transformers has, whatever the other engines' version."""
    names = ("typical_p", "top_h", "epsilon_cutoff", "eta_cutoff")
    return next((name for name in names if getattr(decoding, name) is not None), None)
