"""What is read of optimum-benchmark's files, as its 0.2 to 0.7 write them; whatever else they hold is left alone.

`benchmark_report.json` maps targets (`load_model`, `prefill`, `decode`, `generate`, `forward`, …) to what was tracked;
`benchmark_config.json` says how it was asked for; `benchmark.json` is both.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Latency(_Part):
    """Seconds of each call."""

    unit: Literal["s"]
    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class Throughput(_Part):
    """Volume a second: of samples, tokens, images or steps."""

    unit: str
    value: float


class Energy(_Part):
    """kWh of one call, by CodeCarbon."""

    unit: Literal["kWh"]
    cpu: float | None = None
    ram: float | None = None
    gpu: float | None = None
    total: float


class Memory(_Part):
    """Peaks, in millions of bytes."""

    unit: Literal["MB"]
    max_allocated: float | None = None
    max_reserved: float | None = None


class Target(_Part):
    """One phase of the benchmark."""

    memory: Memory | None = None
    latency: Latency | None = None
    throughput: Throughput | None = None
    energy: Energy | None = None


class TargetMap(RootModel[dict[str, Target | None]]):
    """`benchmark_report.json`."""


class Backend(_Part):
    """The engine, as it was asked for."""

    name: str = ""
    version: str | None = None
    model: str | None = None
    task: str | None = None
    device: str | None = None
    device_ids: str | int | list[int] | None = None
    dtype: str | None = Field(default=None, validation_alias="torch_dtype")


class Scenario(_Part):
    """The work, as it was asked for."""

    input_shapes: dict[str, Any] = Field(default_factory=dict)
    generate_kwargs: dict[str, Any] = Field(default_factory=dict)


class Config(_Part):
    """`benchmark_config.json`."""

    name: str = ""
    backend: Backend = Backend()
    scenario: Scenario = Scenario()
    environment: dict[str, Any] = Field(default_factory=dict)

    def whole(self, section: str, key: str) -> int | None:
        """A whole number above 0 of `input_shapes` or `generate_kwargs`, or None."""
        found = getattr(self.scenario, section).get(key)
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
