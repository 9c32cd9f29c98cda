"""What is asked for: an engine, a workload, a protocol. Frozen, validated, with a stable key."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.precision import PRECISION_IDS, canonical_precision
from pytest_lem.model.workload import WorkloadSpec

__all__ = ["EngineSpec", "Frozen", "ProtocolSpec", "WorkloadSpec"]


class EngineSpec(Frozen):
    """One engine process: which engine loads which model, how, and on how many devices.

    `device` is `cuda` or `cpu`; `auto` is resolved before the engine starts (cuda where a GPU is leased to it).
    `gpus` counts the GPUs it gets. `options` is the engine's own section (marker `pytorch={...}`), validated by the
    engine's entry. `python` is the interpreter that holds the engine, None for pytest's own.
    """

    backend: str
    model: str = "synthetic:tiny"
    precision: str = "bfloat16"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    gpus: int = Field(default=1, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    python: str | None = None

    _precision = field_validator("precision")(canonical_precision)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def precision_id(self) -> str:
        """The precision as ids write it: bf16, fp16, fp32."""
        return PRECISION_IDS[self.precision]


class ProtocolSpec(Frozen):
    """How a cycle is measured. Seconds unless a name says otherwise.

    A round repeats the workload until it lasts `round_seconds`. Warm-up ends after `warmup_rounds` rounds,
    `warmup_seconds` and `warmup_prompts` answered requests, whichever comes last, and is cut at `warmup_cap_seconds`.
    Rounds stop between `min_rounds` and `max_rounds`, when the standard error of the log of the cost is at most
    `precision`, when the forecast shows that `max_rounds` would not reach it, or at `max_seconds`. `rounds` fixes their
    number instead.
    """

    cycles: int = Field(default=1, ge=1)
    rounds: int | None = Field(default=None, ge=1)
    min_rounds: int = Field(default=8, ge=1)
    max_rounds: int = Field(default=30, ge=1)
    round_seconds: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    warmup_rounds: int = Field(default=5, ge=0)
    warmup_seconds: float = Field(default=15.0, ge=0, allow_inf_nan=False)
    warmup_prompts: int = Field(default=0, ge=0)
    warmup_cap_seconds: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    precision: float = Field(default=0.015, gt=0)
    max_seconds: float | None = Field(default=None, gt=0)
    latency: bool = True
    quick: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_rounds > self.max_rounds:
            raise ValueError(f"min_rounds ({self.min_rounds}) is above max_rounds ({self.max_rounds})")
        return self
