"""The service that is promised."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Self

from pydantic import Field, model_validator

from pytest_lem.model.frozen import Asked
from pytest_lem.model.presets import SERVICE_LEVELS, preset


class ServiceLevel(Asked):
    """The service that is promised (SLO): bounds in ms on each request's times, met by `percentile` % of them.

    `ttft_ms` counts from when a request was due, `tpot_ms` is its time per output token, `e2el_ms` end to end. A name
    stands for a level of MLPerf's (`SERVICE_LEVELS`).
    """

    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)
    e2el_ms: float | None = Field(default=None, gt=0)
    percentile: float = Field(default=99.0, gt=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, str):
            return preset(given, SERVICE_LEVELS, "service level")
        bounds = ("ttft_ms", "tpot_ms", "e2el_ms")
        if isinstance(given, Mapping):
            for name in given:
                if name not in (*bounds, "percentile"):
                    near = get_close_matches(str(name), bounds, n=1, cutoff=0.0)[0]
                    raise ValueError(f"unknown metric {name!r}; the nearest known one is {near!r}")
        return given

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.ttft_ms is self.tpot_ms is self.e2el_ms is None:
            raise ValueError("a service level bounds ttft_ms, tpot_ms or e2el_ms; give at least one")
        return self
