"""pytest-benchmark's `--benchmark-json`: the time of each benchmark, and no energy."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pytest_lem.model.foreign import ForeignRow
from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS

TOOL = "pytest-benchmark"
MEANS = (
    "seconds are the mean time of one call of the benchmarked function, on its timer; no interval is kept",
    "it measures time only: joules are absent",
)
NO_ENERGY = "pytest-benchmark measures time only"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Stats(_Part):
    """Seconds of a call, over `rounds`."""

    mean: float = Field(gt=0)
    rounds: int = Field(ge=1)


class Benchmark(_Part):
    """One benchmark: a test and its parameters."""

    name: str
    fullname: str
    group: str | None = None
    stats: Stats


class File(_Part):
    """What `--benchmark-json` writes, and what `--benchmark-save` keeps."""

    version: str
    timestamp: str = Field(default="", validation_alias="datetime")
    machine_info: dict[str, Any] = Field(default_factory=dict)
    benchmarks: tuple[Benchmark, ...]


def benchmark_rows(file: File) -> tuple[ForeignRow, ...]:
    """One row a benchmark, in the file's order."""
    return tuple(_row(each) for each in file.benchmarks)


def _row(benchmark: Benchmark) -> ForeignRow:
    seconds = MetricValue(
        value=benchmark.stats.mean, unit=METRICS["seconds"].unit, n=benchmark.stats.rounds, source="measured"
    )
    joules = MetricValue(value=None, unit=METRICS["joules_per_token"].unit, reason=NO_ENERGY)
    notes = (f"group {benchmark.group}",) if benchmark.group else ()
    return ForeignRow(name=benchmark.fullname, metrics={"seconds": seconds, "joules_per_token": joules}, notes=notes)
