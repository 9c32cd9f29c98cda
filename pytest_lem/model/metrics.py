"""The one table of metrics: key, unit, which way is better, definition.

Budgets, gates, JSON, the terminal table and the documentation all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pytest_lem.model.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A metric's `key`, `unit`, whether `lower` or `higher` is `better`, `kind` of raw data, and its definition.

    The kind `recorded` is the user's own, and stands in no table.
    """

    key: str
    unit: str
    better: Literal["lower", "higher"]
    kind: Literal[
        "energy",
        "balance",
        "rate",
        "latency",
        "service",
        "memory",
        "counter",
        "arithmetic",
        "roofline",
        "use",
        "load",
        "recorded",
    ]
    definition: str

    @property
    def is_hooked(self) -> bool:
        """Whether it needs token times, which are taken beside some rounds only (under traffic in all of them)."""
        return self.kind in ("latency", "service", "roofline")

    @property
    def is_joules(self) -> bool:
        """Whether it needs an energy reading."""
        return self.kind == "energy" or self.key in ("joules_per_good_request", "joules_per_tflop")


PERCENTILES = (50, 90, 95, 99)
LATENCIES = ("ttft_service", "dispatch_delay", "ttft", "tpot", "itl", "e2el", "queue", "prefill", "decode")
"""The stems of the latency metrics, one that begins like another before it."""


def _latency() -> list[Metric]:
    stems = {
        "ttft": "time to first token: first token − the request's due time, per request (MLPerf, AIPerf)",
        "ttft_service": "time to first token of the service: first token − when the request was sent (AIPerf)",
        "tpot": "time per output token: (last token − first token) / (n − 1), per request (MLPerf, vLLM)",
        "itl": "inter-token latency: gaps between consecutive tokens, pooled over requests (AIPerf)",
        "e2el": "end-to-end latency: answered − due, per request, by the engine process's clock (vLLM)",
        "dispatch_delay": "sent − due, per request: how late the sender was, not the engine (coordinated omission)",
        "queue": "queued → scheduled, per request, by the engine's own stamps",
        "prefill": "scheduled → first token, per request, by the engine's own stamps",
        "decode": "first token → last token, per request, by the engine's own stamps",
    }
    rows = []
    for stem, text in stems.items():
        rows.append(Metric(f"{stem}_ms", "ms", "lower", "latency", f"{text}; mean"))
        rows += [Metric(f"{stem}_p{p}_ms", "ms", "lower", "latency", f"{text}; percentile {p}") for p in PERCENTILES]
    return rows


_PASS = "for one pass of the workload (all its requests once)"
_TABLE = [
    Metric(
        "joules_per_token", "J/tok", "lower", "energy", "joules of the engine's devices per output token (headline)"
    ),
    Metric("joules_per_total_token", "J/tok", "lower", "energy", "the same joules per prompt and output token"),
    Metric("joules_per_request", "J/req", "lower", "energy", "the same joules per request"),
    Metric(
        "joules_per_good_request",
        "J/req",
        "lower",
        "service",
        "the same joules per request that met every bound of the service level (SLO)",
    ),
    Metric("tokens_per_second", "tok/s", "higher", "rate", "output tokens per second of the window"),
    Metric("total_tokens_per_second", "tok/s", "higher", "rate", "prompt and output tokens per second of the window"),
    Metric("requests_per_second", "req/s", "higher", "rate", "requests answered per second of the window"),
    Metric(
        "goodput",
        "req/s",
        "higher",
        "service",
        "requests per second of the window that met every bound of the service level: ttft, tpot, e2el (vLLM)",
    ),
    Metric("good_share", "1", "higher", "service", "requests that met every bound of the service level / all"),
    Metric(
        "slo_met", "1", "higher", "service", "1 where good_share is at least the service level's percentile, else 0"
    ),
    Metric("seconds", "s", "lower", "rate", f"time {_PASS}, or of the window"),
    Metric("idle_share", "1", "lower", "service", "share of the window in which no request was in flight"),
    Metric("power_w", "W", "lower", "energy", "mean power of the engine's devices over the window"),
    Metric("gpu_joules", "J", "lower", "energy", f"joules of the engine's GPUs {_PASS}"),
    Metric("gpu_imbalance", "1", "lower", "balance", "(most − least) / mean of the GPUs' joules in a round"),
    Metric("cpu_joules", "J", "lower", "energy", f"joules of the host's CPU packages {_PASS}"),
    Metric("ram_joules", "J", "lower", "energy", f"joules of the host's memory {_PASS}"),
    Metric("system_joules", "J", "lower", "energy", f"GPU + CPU + RAM joules {_PASS}; null unless every part exists"),
    Metric("co2_grams", "g", "lower", "energy", f"CO2 of the engine's devices {_PASS}: joules × the grid's factor"),
    *_latency(),
    Metric("peak_memory_bytes", "B", "lower", "memory", "peak allocated device memory, summed over the engine's GPUs"),
    Metric("peak_reserved_bytes", "B", "lower", "memory", "peak reserved device memory, summed over the engine's GPUs"),
    Metric("weights_bytes", "B", "lower", "counter", "memory that the model's weights take, summed over GPUs"),
    Metric("kv_cache_usage", "1", "lower", "counter", "highest share of the KV cache's blocks in use at once"),
    Metric("cached_tokens", "tok/req", "higher", "counter", "prompt tokens out of the prefix cache, per request"),
    Metric("preemptions", "1/pass", "lower", "counter", f"requests thrown back into the queue {_PASS}"),
    Metric("padding_share", "1", "lower", "counter", "tokens that fill prompts up / all prompt tokens computed"),
    Metric(
        "wasted_share", "1", "lower", "counter", "output tokens beyond what requests asked for / all that were computed"
    ),
    Metric(
        "acceptance_rate",
        "1",
        "higher",
        "counter",
        "drafted tokens that the model took / all drafted (assisted generation)",
    ),
    Metric("engine_flops_per_token", "FLOP/tok", "lower", "counter", "the engine's own count, per output token"),
    Metric("flops_per_token", "FLOP/tok", "lower", "arithmetic", "FLOPs of prompts and answers, per output token"),
    Metric("flops_per_request", "FLOP/req", "lower", "arithmetic", "the same FLOPs per request"),
    Metric("prefill_flops_per_token", "FLOP/tok", "lower", "arithmetic", "FLOPs of prefill per prompt token"),
    Metric(
        "decode_flops_per_token", "FLOP/tok", "lower", "arithmetic", "FLOPs of decode per output token after the first"
    ),
    Metric("flops_per_second", "FLOP/s", "higher", "arithmetic", "FLOPs of prompts and answers / time of the window"),
    Metric(
        "mfu",
        "1",
        "higher",
        "arithmetic",
        "model FLOPs utilisation: flops_per_second / the GPUs' published dense peak in what they multiply (PaLM)",
    ),
    Metric(
        "joules_per_tflop",
        "J/TFLOP",
        "lower",
        "arithmetic",
        "joules of the engine's devices per 10¹² FLOPs of prompts and answers",
    ),
    Metric(
        "roofline_memory",
        "1",
        "higher",
        "roofline",
        "share of decode's time that its reads of weights and KV cache take at the published bandwidth",
    ),
    Metric(
        "roofline_arithmetic",
        "1",
        "higher",
        "roofline",
        "share of decode's time that its FLOPs take at the published dense peak",
    ),
    Metric(
        "roofline_rest",
        "1",
        "lower",
        "roofline",
        "share of decode's time that neither explains: 1 − the larger of both (host, launches, kernels below peak)",
    ),
    Metric("sm_active", "1", "higher", "use", "share of the GPUs' SMs that were busy, over time (NVML's GPM)"),
    Metric("tensor_active", "1", "higher", "use", "share of time in which the SMs did tensor operations (NVML's GPM)"),
    Metric(
        "dram_active",
        "1",
        "higher",
        "use",
        "bandwidth of the GPUs' memory in use / its theoretical maximum, over time (NVML's GPM)",
    ),
    Metric(
        "peak_used_bytes",
        "B",
        "lower",
        "use",
        "most memory that was seen in use on the GPUs during rounds, by whomever, summed over the engine's GPUs",
    ),
    Metric("load_seconds", "s", "lower", "load", "from the start of the engine's process until it could take work"),
    Metric(
        "build_seconds", "s", "lower", "load", "of the load, the time in which an engine was built, by its own clock"
    ),
    Metric("build_joules", "J", "lower", "load", "joules of the engine's devices in that time, apart from serving"),
]
METRICS: dict[str, Metric] = {metric.key: metric for metric in _TABLE}


def metric(key: str, *, place: str) -> Metric:
    """The metric named `key`. Raises UsageError that names `place` and the nearest known key."""
    found = METRICS.get(key)
    if found is not None:
        return found
    near = get_close_matches(key, METRICS, n=1, cutoff=0.0)
    raise UsageError(f"{place}: unknown metric {key!r}; the nearest known one is {near[0]!r}")
