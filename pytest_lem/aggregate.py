"""Cycles → metrics, always from the raw rounds: late aggregation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pytest_lem.device_joules import PARTS, Context, engine_joules, holds_host
from pytest_lem.model.measurement import Cycle, MetricValue, RequestTimes, Round, Source
from pytest_lem.model.metrics import METRICS, Metric
from pytest_lem.stats.intervals import (
    Interval,
    bootstrap_mean,
    bootstrap_percentile,
    mean_interval,
    rounds_interval,
)


def metrics(cycles: Sequence[Cycle], context: Context) -> dict[str, MetricValue]:
    """Every metric of the table for these cycles; one that could not be measured is null with its reason.

    A cycle that was cut short counts only where there is no other.
    """
    cycles = _launches([cycle for cycle in cycles if not cycle.cut_short] or cycles)
    found = {}
    for metric in METRICS.values():
        match metric.kind:
            case "energy":
                found[metric.key] = _energy(metric, cycles, context)
            case "balance":
                found[metric.key] = _imbalance(metric, cycles, context)
            case "rate":
                found[metric.key] = _rate(metric, cycles, context)
            case "latency":
                found[metric.key] = _latency(metric, cycles)
            case "memory":
                found[metric.key] = _memory(metric, cycles, context)
            case "counter":
                found[metric.key] = _counter(metric, cycles)
            case "load":
                found[metric.key] = _load(metric, cycles)
    return found


def _launches(cycles: Sequence[Cycle]) -> list[Cycle]:
    """One cycle a launch: a test that ran again on the same engine measured more rounds of it, and no other launch."""
    found: dict[tuple[int, str], Cycle] = {}
    for cycle in cycles:
        known = found.get((cycle.index, cycle.launch))
        more = cycle if known is None else known.model_copy(update={"rounds": (*known.rounds, *cycle.rounds)})
        found[cycle.index, cycle.launch] = more
    return list(found.values())


def cost(round_: Round, context: Context) -> float:
    """What a round's precision is judged on: joules per token where joules are measured, else seconds per token."""
    per = round_.tokens or 1
    joules = engine_joules(round_, context)
    if joules.joules is not None and joules.source == "measured" and joules.joules > 0:
        return joules.joules / per
    return round_.seconds / per


def valid_rounds(cycle: Cycle) -> list[Round]:
    """The rounds that count."""
    return [round_ for round_ in cycle.rounds if round_.valid]


def _passes(round_: Round) -> float:
    return round_.passes


_DIVISORS: dict[str, Callable[[Round], float]] = {
    "joules_per_token": lambda round_: round_.tokens,
    "joules_per_total_token": lambda round_: round_.tokens + round_.prompt_tokens,
    "joules_per_request": lambda round_: round_.requests,
    "power_w": lambda round_: round_.seconds,
}
_RATES: dict[str, Callable[[Round], float]] = {
    "tokens_per_second": lambda round_: round_.tokens / round_.seconds,
    "total_tokens_per_second": lambda round_: (round_.tokens + round_.prompt_tokens) / round_.seconds,
    "requests_per_second": lambda round_: round_.requests / round_.seconds,
    "seconds": lambda round_: round_.seconds / round_.passes,
}


def _absent(metric: Metric, reason: str) -> MetricValue:
    return MetricValue(value=None, unit=metric.unit, reason=reason)


def _present(metric: Metric, interval: Interval, source: Source) -> MetricValue:
    return MetricValue(
        value=interval.value,
        unit=metric.unit,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        source=source,
        covers=interval.covers,
    )


def _nothing_valid(cycles: Sequence[Cycle]) -> str | None:
    rounds = [round_ for cycle in cycles for round_ in cycle.rounds]
    if not rounds:
        return "no round was measured"
    if any(round_.valid for round_ in rounds):
        return None
    reasons = sorted({round_.reason or "unknown" for round_ in rounds})
    return f"none of {len(rounds)} rounds is valid: {'; '.join(reasons)}"


def _over_cycles(per_cycle: Sequence[Sequence[float]], floor: float = 0.0) -> Interval:
    if len(per_cycle) == 1:
        return rounds_interval(per_cycle[0], floor)
    return mean_interval([rounds_interval(values).value for values in per_cycle])


def _energy(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    reason = _nothing_valid(cycles)
    if reason:
        return _absent(metric, reason)
    if metric.key.startswith("joules_per") and not context.work:
        return _absent(metric, "a window has no tokens or requests")
    part = PARTS.get(metric.key, engine_joules)
    divisor = _DIVISORS.get(metric.key, _passes)
    per_cycle, relative = [], []
    sources: set[Source | None] = set()
    for cycle in cycles:
        values = []
        for round_ in valid_rounds(cycle):
            joules = part(round_, context)
            if joules.joules is None or joules.joules <= 0:
                return _absent(metric, joules.reason or "the meter read no energy")
            values.append(joules.joules / divisor(round_))
            relative.append(joules.std / joules.joules)
            sources.add(joules.source)
        if values:
            per_cycle.append(values)
    # What the meter itself does not know about its mean: independent edges, so it shrinks with the count of rounds.
    floor = sqrt(float(np.mean(np.square(relative)))) / sqrt(len(relative))
    found = _present(metric, _over_cycles(per_cycle, floor), "estimated" if "estimated" in sources else "measured")
    shared = any(cycle.lanes > 1 for cycle in cycles) and holds_host(metric.key, context)
    return found.model_copy(update={"shared": shared})


def _rate(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    reason = _nothing_valid(cycles)
    if reason:
        return _absent(metric, reason)
    if not context.work and metric.key != "seconds":
        return _absent(metric, "a window has no tokens or requests")
    value = _RATES[metric.key]
    per_cycle = [[value(round_) for round_ in valid_rounds(cycle)] for cycle in cycles if valid_rounds(cycle)]
    return _present(metric, _over_cycles(per_cycle), "measured")


def _latency(metric: Metric, cycles: Sequence[Cycle]) -> MetricValue:
    stem, _, rest = metric.key.partition("_")
    passes = [[r.latency for r in valid_rounds(cycle) if r.latency and r.latency.requests] for cycle in cycles]
    if not any(passes):
        return _absent(metric, "token times were not recorded")
    times = [[_token_times(latency.requests, stem) for latency in cycle] for cycle in passes]
    per_cycle = [groups for cycle in times if (groups := [group for group in cycle if group.size])]
    if not per_cycle:
        return _absent(metric, _NO_TIMES.get(stem, f"the engine does not tell {stem} times"))
    percent = None if rest == "ms" else float(rest.removeprefix("p").removesuffix("_ms"))
    if len(per_cycle) > 1:
        return _present(metric, mean_interval([_middle(groups, percent) for groups in per_cycle]), "measured")
    groups = per_cycle[0]
    found = bootstrap_mean(groups) if percent is None else bootstrap_percentile(groups, percent)
    return _present(metric, found, "measured")


def _middle(groups: Sequence[NDArray[np.float64]], percent: float | None) -> float:
    """The mean of a cycle's token times, or their percentile."""
    pooled = np.concatenate(groups)
    return float(np.mean(pooled) if percent is None else np.percentile(pooled, percent))


_NO_TIMES = {stem: f"{stem} needs at least two output tokens a request" for stem in ("tpot", "itl")}
_STAMPS = {"e2el": "e2e_ms", "queue": "queue_ms", "prefill": "prefill_ms", "decode": "decode_ms"}


def _token_times(requests: Sequence[RequestTimes], stem: str) -> NDArray[np.float64]:
    values: list[float] = []
    for times in requests:
        ttft, gaps, count = times.ttft_ms, times.gaps_ms, times.count
        if stem == "ttft":
            values += [ttft] * count
        elif stem == "tpot" and gaps:
            values += [sum(gaps) / len(gaps)] * count
        elif stem == "itl":
            values += list(gaps) * count
        elif stem in _STAMPS and (stamped := getattr(times, _STAMPS[stem])) is not None:
            values += [stamped] * count
    return np.asarray(values, dtype=float)


def _memory(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    if context.device != "cuda":
        return _absent(metric, "the engine uses no GPU")
    field = {"peak_memory_bytes": "allocated_bytes", "peak_reserved_bytes": "reserved_bytes"}[metric.key]
    peaks = []
    for cycle in cycles:
        values = [getattr(memory, field) for memory in cycle.memory]
        if not values or None in values:
            return _absent(metric, "the engine does not report it")
        peaks.append(float(sum(values)))
    return MetricValue(value=max(peaks), unit=metric.unit, n=len(peaks), source="measured")


def _imbalance(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    reason = _nothing_valid(cycles) if context.work else "a window has no engine"
    if reason:
        return _absent(metric, reason)
    shares, sources = [], set()
    for round_ in (round_ for cycle in cycles for round_ in valid_rounds(cycle)):
        gpus = [reading for reading in round_.devices if reading.kind == "gpu"]
        joules = [reading.joules for reading in gpus]
        if len(joules) < 2:
            return _absent(metric, "the engine runs on one GPU or none")
        known = [each for each in joules if each is not None]
        if len(known) < len(joules) or sum(known) <= 0:
            return _absent(metric, "not every GPU's joules are known")
        shares.append((max(known) - min(known)) * len(known) / sum(known))
        sources |= {reading.source for reading in gpus}
    source: Source = "estimated" if "estimated" in sources else "measured"
    return MetricValue(value=float(np.median(shares)), unit=metric.unit, n=len(shares), source=source)


_PER: dict[str, tuple[str, Callable[[Round], float]]] = {
    "cached_tokens": ("cached_tokens", lambda round_: round_.requests),
    "preemptions": ("preemptions", _passes),
    "engine_flops_per_token": ("engine_flops", lambda round_: round_.tokens),
}


def _counter(metric: Metric, cycles: Sequence[Cycle]) -> MetricValue:
    """What the engine itself counts: a total over a divisor, or the highest value seen."""
    reason = _nothing_valid(cycles)
    if reason:
        return _absent(metric, reason)
    counter, divisor = _PER.get(metric.key, (metric.key, None))
    rounds = [round_ for cycle in cycles for round_ in valid_rounds(cycle)]
    if any(counter not in round_.counters for round_ in rounds):
        return _absent(metric, "the engine does not report it")
    values = [round_.counters[counter] for round_ in rounds]
    value = max(values) if divisor is None else sum(values) / sum(map(divisor, rounds))
    # An engine's count of FLOPs follows from its configuration: nothing was measured.
    source: Source = "estimated" if counter == "engine_flops" else "measured"
    return MetricValue(value=value, unit=metric.unit, n=len(rounds), source=source)


def _load(metric: Metric, cycles: Sequence[Cycle]) -> MetricValue:
    loads = [cycle.load_seconds for cycle in cycles if cycle.load_seconds is not None]
    if not loads:
        return _absent(metric, "no engine was loaded for it")
    return _present(metric, mean_interval(loads), "measured")
