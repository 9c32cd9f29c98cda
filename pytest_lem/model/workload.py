"""What is asked of an engine: requests, how they are handed over, how tokens are drawn, which service is promised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from string import Formatter
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from pytest_lem.model.frozen import Frozen

Batching = Literal["static", "dynamic", "sorted_static", "sorted_dynamic"]
Arrivals = Literal["constant", "poisson", "gamma", "closed", "trace"]


class Asked(Frozen):
    """What a user asks for: every number of it is finite, as JSON's are."""

    model_config = ConfigDict(allow_inf_nan=False)


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


class DataSpec(Asked):
    """Prompts out of a file, a Hugging Face dataset or the package's own set (`builtin:NAME`).

    `source` is a path (JSONL, CSV, Parquet, or text with a prompt a line), `hf:NAME`, or `builtin:NAME`. `field` names
    the column, `template` a text with `{column}` in it instead. `output_field` is a column of output lengths. Prompts
    of more than `max_tokens` are an error, or lose their left or right end, or are left out (`drop`); those of fewer
    than `min_tokens` are filled up on the left by repeating them. `limit` takes the first so many entries.
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
        if self.max_tokens is not None and self.min_tokens is not None and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) is above max_tokens ({self.max_tokens})")
        return self


class TrafficSpec(Asked):
    """When requests come: an open loop at `qps` requests a second, a closed one of `concurrency`, or a trace.

    `gamma` gaps have a coefficient of variation of 1/√`burstiness` (vLLM's word: 1 is Poisson, below 1 burstier). The
    first `ramp_seconds` climb to the rate in a straight line. `requests`, or `seconds` of arrivals, bound a pass.
    `trace` is a JSONL file of `arrival_s`, `prompt_tokens`, `output_tokens`, in order of arrival.
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
        needs = takes[0]
        if getattr(self, needs) is None:
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
}
"""What each kind of arrivals takes; it needs the first."""


class DecodingSpec(Asked):
    """How the next token is drawn. Every request still gets exactly the tokens that were asked for.

    `temperature` 0 takes the likeliest token. A field that is None is not asked for: the engine draws without it. A
    name, or `preset` beside other fields, stands for those of `PRESETS`.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        if isinstance(given, str):
            return _preset(given, PRESETS, "preset")
        if isinstance(given, Mapping) and "preset" in given:
            rest = {name: value for name, value in given.items() if name != "preset"}
            return {**_preset(str(given["preset"]), PRESETS, "preset"), **rest}
        return given


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "deterministic": {"temperature": 0.0},
    "standard": {"temperature": 1.0, "top_p": 0.95, "top_k": 50},
    "creative": {"temperature": 1.2, "top_p": 0.98, "top_k": 100},
    "factual": {"temperature": 0.3, "top_p": 0.9, "top_k": 40},
}
"""Decoding by name."""

SERVICE_LEVELS: Mapping[str, Mapping[str, float]] = {
    "llama3.1-8b": {"ttft_ms": 2000, "tpot_ms": 100},
    "llama2-70b": {"ttft_ms": 2000, "tpot_ms": 200},
    "interactive": {"ttft_ms": 450, "tpot_ms": 40},
}
"""Service levels by name: the latency constraints of MLPerf Inference's server scenario, at its 99th percentile."""


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
            return _preset(given, SERVICE_LEVELS, "service level")
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


def _preset(name: str, known: Mapping[str, Mapping[str, Any]], what: str) -> dict[str, Any]:
    """The fields that a name stands for. Raises ValueError with the nearest known name."""
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ValueError(f"unknown {what} {name!r}; the nearest known one is {near!r} of {', '.join(known)}")
    return dict(known[name])
