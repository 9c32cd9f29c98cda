"""When requests come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pytest_lem.model.frozen import Asked

Arrivals = Literal["constant", "poisson", "gamma", "closed", "trace", "generator"]


class TrafficSpec(Asked):
    """When requests come: an open loop at `qps` requests a second, a closed one of `concurrency`, a trace, a generator.

    `gamma` gaps have a coefficient of variation of 1/√`burstiness` (vLLM's word: 1 is Poisson, below 1 burstier). The
    first `ramp_seconds` climb to the rate in a straight line. `requests`, or `seconds` of arrivals, bound a pass.
    `trace` is a JSONL file of `arrival_s`, `prompt_tokens`, `output_tokens`, in order of arrival. `generator`
    arrivals are the `arrival_s` of the requests that the workload's own generator makes.
    """

    arrivals: Arrivals = "poisson"
    qps: float | None = Field(default=None, gt=0)
    burstiness: float | None = Field(default=None, gt=0)
    concurrency: int | None = Field(default=None, ge=1)
    requests: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    ramp_seconds: float = Field(default=0.0, ge=0)
    trace: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _implied(cls, given: Any) -> Any:
        """A concurrency is a closed loop, a trace a replay: neither has to be said twice."""
        if isinstance(given, Mapping) and "arrivals" not in given:
            kinds = {"concurrency": "closed", "trace": "trace", "burstiness": "gamma"}
            return {**given, **next(({"arrivals": kind} for name, kind in kinds.items() if given.get(name)), {})}
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        takes = _TAKES[self.arrivals]
        needs = _NEEDS.get(self.arrivals)
        if needs is not None and getattr(self, needs) is None:
            raise ValueError(f"{self.arrivals} arrivals need {needs}")
        for name in ("qps", "burstiness", "concurrency", "seconds", "ramp_seconds", "trace"):
            if name not in takes and getattr(self, name):
                raise ValueError(f"{self.arrivals} arrivals take no {name}; they take {', '.join(takes)}")
        if self.requests is not None and self.seconds is not None:
            raise ValueError("requests and seconds both bound a pass; give one of them")
        if self.seconds is not None and self.ramp_seconds >= self.seconds:
            raise ValueError(f"ramp_seconds ({self.ramp_seconds:g}) leave nothing of seconds ({self.seconds:g})")
        return self


_TAKES: Mapping[str, tuple[str, ...]] = {
    "constant": ("qps", "requests", "seconds", "ramp_seconds"),
    "poisson": ("qps", "requests", "seconds", "ramp_seconds"),
    "gamma": ("qps", "burstiness", "requests", "seconds", "ramp_seconds"),
    "closed": ("concurrency", "requests"),
    "trace": ("trace", "requests"),
    "generator": ("requests",),
}
"""What each kind of arrivals takes."""

_NEEDS = {"constant": "qps", "poisson": "qps", "gamma": "qps", "closed": "concurrency", "trace": "trace"}
"""What it cannot be without."""
