"""Numbers of optimum-benchmark in our units, each with its source or the reason why it is absent."""

from __future__ import annotations

from math import isfinite

from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS, PERCENTILES
from pytest_lem.model.reading import Source
from pytest_lem.store.foreign.optimum_file import Energy, Latency, Memory

JOULES_PER_KWH = 3.6e6
BYTES_PER_MB = 1e6
_UNTRACKED = "it was not tracked: scenario.energy was off"
_NO_WORK = "how many tokens a call brings cannot be told: keep benchmark_config.json beside the report"
_NOT_ABOVE = "its value is not above 0"


def known(key: str, value: float, n: int = 0, source: Source = "measured") -> MetricValue:
    """The metric `key`, which has no interval; absent where it is not above 0: a device was not read, or is not there.

    Differences of two of the tool's measurements may be below 0 too.
    """
    if value <= 0 or not isfinite(value):
        return absent(key, _NOT_ABOVE)
    return MetricValue(value=value, unit=METRICS[key].unit, n=n, source=source)


def absent(key: str, reason: str) -> MetricValue:
    """The metric `key`, which is not known."""
    return MetricValue(value=None, unit=METRICS[key].unit, reason=reason)


def on_gpu(energy: Energy | None) -> bool:
    """Whether GPUs were read: on a machine without, CodeCarbon says 0."""
    return energy is not None and energy.gpu is not None and energy.gpu > 0


def energies(energy: Energy | None, batch: int | None, tokens: int | None) -> dict[str, MetricValue]:
    """One call in joules of each device, a token and a request: of the GPUs where there are some, else of the CPU.

    The file does not say whether the CPU was read or modelled; memory is always modelled.
    """
    if energy is None:
        keys = ("joules_per_token", "joules_per_request", "gpu_joules", "cpu_joules", "ram_joules", "system_joules")
        return {key: absent(key, _UNTRACKED) for key in keys}
    found = {
        "gpu_joules": _joules("gpu_joules", energy.gpu, "measured"),
        "cpu_joules": _joules("cpu_joules", energy.cpu, "estimated"),
        "ram_joules": _joules("ram_joules", energy.ram, "estimated"),
        "system_joules": _joules("system_joules", energy.total, "estimated"),
    }
    engine = found["gpu_joules" if on_gpu(energy) else "cpu_joules"]
    per = {"joules_per_token": tokens, "joules_per_request": batch}
    return found | {key: _per(key, engine, count) for key, count in per.items()}


def _joules(key: str, kwh: float | None, source: Source) -> MetricValue:
    return absent(key, _UNTRACKED) if kwh is None else known(key, kwh * JOULES_PER_KWH, source=source)


def _per(key: str, joules: MetricValue, count: int | None) -> MetricValue:
    if joules.value is None:
        return absent(key, joules.reason or _UNTRACKED)
    if not count:
        return absent(key, _NO_WORK)
    return known(key, joules.value / count, source=joules.source or "estimated")


def rates(latency: Latency | None, batch: int | None, tokens: int | None) -> dict[str, MetricValue]:
    """The mean time of a call, and what it brings a second."""
    if latency is None or latency.mean <= 0:
        return {}
    found = {"seconds": known("seconds", latency.mean, latency.count)}
    for key, count in (("tokens_per_second", tokens), ("requests_per_second", batch)):
        found[key] = known(key, count / latency.mean, latency.count) if count else absent(key, _NO_WORK)
    return found


def times(stem: str, latency: Latency | None, factor: float) -> dict[str, MetricValue]:
    """Mean and percentiles over calls, in ms: all requests of a call are answered together."""
    if latency is None:
        return {}
    told = {f"{stem}_ms": latency.mean} | {f"{stem}_p{p}_ms": getattr(latency, f"p{p}") for p in PERCENTILES}
    return {key: known(key, 1e3 * factor * value, latency.count) for key, value in told.items()}


def memory(found: Memory | None) -> dict[str, MetricValue]:
    """Peaks in bytes, as far as they were tracked."""
    told = {"peak_memory_bytes": found.max_allocated, "peak_reserved_bytes": found.max_reserved} if found else {}
    return {key: known(key, value * BYTES_PER_MB) for key, value in told.items() if value is not None}
