"""What is asked of an engine in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from pytest_lem.model.data import DataSpec
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.frozen import Asked
from pytest_lem.model.lengths import Lengths
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.traffic import TrafficSpec

Batching = Literal["static", "dynamic", "sorted_static", "sorted_dynamic"]


class WorkloadSpec(Asked):
    """What one pass asks of the engine: requests, each with exactly its number of new tokens.

    There are `requests` of them (None: as many as `data` or `traffic` says, else `batch`). Prompts are `prompt_tokens`
    token ids a request, drawn from `seed`, unless `prompts` gives them (texts, whose tokens the model's tokenizer
    counts, or token ids), or `data` does, or `generator` names an entry point of the group `pytest_lem.workloads`.
    With fewer prompts than requests they repeat in order. One of these, or a trace of `traffic`, gives them.

    Without `traffic` they are handed over in groups: `static` ones of `batch` requests in order, or `dynamic` ones of
    at most `max_tokens_per_batch` prompt and output tokens (and `batch` requests); `sorted_…` sorts by length first.
    With `traffic` they come over time. `target_qps` is short for a Poisson process of so many requests a second.
    """

    batch: int = Field(default=1, ge=1)
    prompt_tokens: int | Lengths = Field(default=128)
    output_tokens: int | Lengths = Field(default=32)
    prompts: tuple[str | tuple[int, ...], ...] = ()
    seed: int = 0
    target_qps: float | None = Field(default=None, gt=0)
    requests: int | None = Field(default=None, ge=1)
    batching: Batching = "static"
    max_tokens_per_batch: int | None = Field(default=None, ge=1)
    data: DataSpec | None = None
    generator: str | None = None
    traffic: TrafficSpec | None = None
    decoding: DecodingSpec = DecodingSpec()
    slo: ServiceLevel | None = None

    @field_validator("prompt_tokens", "output_tokens", mode="before")
    @classmethod
    def _lengths(cls, given: Any) -> Any:
        """One number, or a distribution; said here, as errors of a union name what was not meant."""
        if isinstance(given, str) and given.strip().isdecimal():
            given = int(given)
        if isinstance(given, str | Mapping):
            try:
                return Lengths.model_validate(given)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                said = first["msg"].removeprefix("Value error, ")
                raise ValueError(f"{where}: {said}" if where else said) from None
        if isinstance(given, int) and given < 1:
            raise ValueError("expected a whole number from 1, or a distribution")
        return given

    @model_validator(mode="after")
    def _one_kind_of_traffic(self) -> Self:
        if self.traffic is not None and self.target_qps is not None:
            raise ValueError("target_qps is short for traffic={'qps': ...}; give one of them")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        traced = self.traffic is not None and self.traffic.trace is not None
        given = {"prompts": self.prompts, "data": self.data, "generator": self.generator, "traffic.trace": traced}
        sources = [name for name, value in given.items() if value]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} each give the prompts; give one of them")
        return self

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        for name in ("requests", "seconds"):
            if self.requests is not None and self.traffic is not None and getattr(self.traffic, name) is not None:
                raise ValueError(f"requests and traffic.{name} both bound a pass; give one of them")
        return self

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def arriving(self) -> TrafficSpec | None:
        """The traffic, also where `target_qps` says it; None where requests are handed over in groups."""
        return TrafficSpec(qps=self.target_qps) if self.target_qps is not None else self.traffic
