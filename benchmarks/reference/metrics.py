"""What is compared: the same metrics by our formulas and by vLLM's, and the settings that both run with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_lem.engines import registry
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.specs import EngineSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.round_values import middle, percent_of, token_times
from pytest_lem.service import is_good

PERCENTILES = (50, 90, 95, 99)
STEMS = ("ttft", "tpot", "itl", "e2el")
KEYS = tuple(f"{stem}{part}_ms" for stem in STEMS for part in ("", *(f"_p{percent}" for percent in PERCENTILES)))


@dataclass(frozen=True)
class Settings:
    """One model under one traffic; `slo` are bounds in ms by the names of the command `vllm bench serve --goodput`."""

    model: str = "synthetic:qwen2.5-0.5b"
    precision: str = "bfloat16"
    qps: float = 1.0
    requests: int = 20
    prompt_tokens: int = 64
    output_tokens: int = 16
    slo: dict[str, float] = field(default_factory=lambda: {"ttft": 500.0, "tpot": 150.0})

    @classmethod
    def parsed(cls, parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> Settings:
        """The settings that a command line gives."""
        for name in ("model", "precision", "qps", "requests", "prompt_tokens", "output_tokens"):
            default = getattr(cls, name)
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
        for name, bound in cls().slo.items():
            parser.add_argument(f"--{name}", type=float, default=bound, help="ms a good request takes at most")
        given = vars(parser.parse_args(argv))
        return cls(slo={name: given.pop(name) for name in cls().slo}, **given)

    def arguments(self) -> list[str]:
        """The command line that gives these settings."""
        names = ("model", "precision", "qps", "requests", "prompt_tokens", "output_tokens")
        told = [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in names]
        return told + [f"--{name}={bound}" for name, bound in self.slo.items()]

    def engine(self) -> EngineSpec:
        """vLLM, served, on the CPU, without compiling."""
        options = {"served": True, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 30, "max_model_len": 2048}
        asked = EngineSpec(backend="vllm", model=self.model, precision=self.precision, device="cpu", options=options)
        return registry.validate(asked)

    def workload(self) -> WorkloadSpec:
        """A Poisson process of requests of equal lengths."""
        return WorkloadSpec(
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            traffic=TrafficSpec(arrivals="poisson", qps=self.qps, requests=self.requests),
        )


def our_metrics(requests: Sequence[RequestTimes], seconds: float, slo: dict[str, float]) -> dict[str, float]:
    """Each metric by this package's formulas, over a run of so many seconds."""
    found = {key: middle(token_times(key, requests), percent_of(key)) for key in KEYS}
    level = ServiceLevel(**{f"{name}_ms": bound for name, bound in slo.items()})
    return {**found, "goodput": sum(is_good(times, level) for times in requests) / seconds}


def vllm_metrics(outputs: Sequence[Any], seconds: float, slo: dict[str, float]) -> dict[str, float]:
    """The same by vLLM's `calculate_metrics`, of its own `RequestFuncOutput`s."""
    from vllm.benchmarks.serve import calculate_metrics

    metrics, _ = calculate_metrics([], list(outputs), seconds, None, list(PERCENTILES), slo)
    return named(metrics)


def named(metrics: Any) -> dict[str, float]:
    """VLLM's `BenchmarkMetrics` by our names."""
    found: dict[str, float] = {}
    for stem in STEMS:
        found[f"{stem}_ms"] = float(getattr(metrics, f"mean_{stem}_ms"))
        found |= {f"{stem}_p{percent:g}_ms": float(at) for percent, at in getattr(metrics, f"percentiles_{stem}_ms")}
    return {**found, "goodput": float(metrics.request_goodput)}


def difference(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """How far ours lies from theirs, metric by metric, as a share of theirs; 0 where both are 0."""
    return {key: ours[key] / theirs[key] - 1 if theirs[key] else float(ours[key] != 0) for key in ours}
