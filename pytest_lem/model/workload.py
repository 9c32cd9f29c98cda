"""What is asked of an engine: requests, how they are handed over, how tokens are drawn, which service is promised."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_lem.model.frozen import Frozen

Batching = Literal["static", "dynamic", "sorted_static", "sorted_dynamic"]
Arrivals = Literal["constant", "poisson", "gamma", "closed", "trace"]


class Lengths(Frozen):
    """A distribution of token counts, from which each request draws its own.

    `uniform` lies between `low` and `high`, both included. `normal` and `lognormal` have `mean` and `std` (of the
    tokens, not of their logarithm), and are drawn again outside of `low` and `high`. `histogram` maps token counts to
    weights.
    """

    distribution: Literal["uniform", "normal", "lognormal", "histogram"]
    mean: float | None = Field(default=None, gt=0)
    std: float | None = Field(default=None, ge=0)
    low: int = Field(default=1, ge=1)
    high: int | None = Field(default=None, ge=1)
    histogram: dict[int, float] = Field(default_factory=dict)


class DataSpec(Frozen):
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


class TrafficSpec(Frozen):
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


class DecodingSpec(Frozen):
    """How the next token is drawn. Every request still gets exactly the tokens that were asked for.

    `temperature` 0 takes the likeliest token. A field that is None is not asked for: the engine draws without it.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None


class ServiceLevel(Frozen):
    """The service that is promised (SLO): bounds in ms on each request's times, met by `percentile` % of them.

    `ttft_ms` counts from when a request was due, `tpot_ms` is its time per output token, `e2el_ms` end to end.
    """

    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)
    e2el_ms: float | None = Field(default=None, gt=0)
    percentile: float = Field(default=99.0, gt=0, le=100)


class WorkloadSpec(Frozen):
    """What one pass asks of the engine: requests, each with exactly its number of new tokens.

    There are `requests` of them (None: as many as `data` or `traffic` says, else `batch`). Prompts are `prompt_tokens`
    token ids a request, drawn from `seed`, unless `prompts` gives them (texts, whose tokens the model's tokenizer
    counts, or token ids), or `data` does, or `generator` names an entry point of the group `pytest_lem.workloads`.
    With fewer prompts than requests they repeat in order.

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

    @field_validator("prompt_tokens", "output_tokens")
    @classmethod
    def _positive(cls, tokens: int | Lengths) -> int | Lengths:
        if isinstance(tokens, int) and tokens < 1:
            raise ValueError("expected a whole number from 1, or a distribution")
        return tokens

    @model_validator(mode="after")
    def _one_kind_of_traffic(self) -> Self:
        if self.traffic is not None and self.target_qps is not None:
            raise ValueError("target_qps is short for traffic={'qps': ...}; give one of them")
        return self

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def arriving(self) -> TrafficSpec | None:
        """The traffic, also where `target_qps` says it; None where requests are handed over in groups."""
        return TrafficSpec(qps=self.target_qps) if self.target_qps is not None else self.traffic
