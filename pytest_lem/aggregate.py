"""Cycles → metrics, always from the raw rounds: late aggregation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from pytest_lem.device_joules import Context, engine_joules, holds_host
from pytest_lem.launches import launched, nothing_valid, recorded_keys, recorded_metric, series, valid_rounds
from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS, Metric
from pytest_lem.model.reading import Source
from pytest_lem.model.round import Round
from pytest_lem.round_flops import OF_CONFIGURATION
from pytest_lem.round_values import (
    Value,
    counted,
    counter_source,
    middle,
    no_times,
    percent_of,
    service_kept,
    token_times,
)
from pytest_lem.service import added
from pytest_lem.stats.intervals import (
    Interval,
    bootstrap_mean,
    bootstrap_percentile,
    mean_interval,
    rounds_interval,
)


def metrics(cycles: Sequence[Cycle], context: Context) -> dict[str, MetricValue]:
    """Every metric of the table for these cycles, and what the user recorded; an absent one is null with its reason.

    A cycle that was cut short counts only where there is no other.
    """
    cycles = launched(cycles)
    return {key: _metric(metric, cycles, context) for key, metric in METRICS.items()} | recorded(cycles)


def recorded(cycles: Sequence[Cycle]) -> dict[str, MetricValue]:
    """The user's own metrics: the median of what each launch recorded, and their mean."""
    known = {each.metric: recorded_metric(each) for cycle in cycles for each in cycle.recorded}
    return {key: _recorded(known[key], launched(cycles)) for key in recorded_keys(cycles)}


def cost(round_: Round, context: Context) -> float:
    """What a round's precision is judged on: joules per token where joules are measured, else seconds per token."""
    per = round_.tokens or 1
    joules = engine_joules(round_, context)
    if joules.joules is not None and joules.source == "measured" and joules.joules > 0:
        return joules.joules / per
    return round_.seconds / per


def _metric(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    try:
        return _KINDS[metric.kind](metric, cycles, context)
    except Unavailable as error:
        return MetricValue(value=None, unit=metric.unit, reason=error.reason)


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


def _of_rounds(metric: Metric, cycles: Sequence[Cycle], context: Context) -> list[list[Value]]:
    """Values of each launch. Raises Unavailable where no round is valid, or one has none."""
    reason = nothing_valid(cycles)
    if reason:
        raise Unavailable(metric.key, reason)
    return [values for _, values in series(metric, cycles, context)]


def _source(values: Sequence[Value]) -> Source:
    return "estimated" if any(each.source == "estimated" for each in values) else "measured"


def _over_cycles(per_cycle: Sequence[Sequence[Value]], floor: float = 0.0) -> Interval:
    plain = [[each.value for each in values] for values in per_cycle]
    if len(plain) == 1:
        return rounds_interval(plain[0], floor)
    return mean_interval([rounds_interval(values).value for values in plain])


def _energy(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    per_cycle = _of_rounds(metric, cycles, context)
    values = [each for cycle in per_cycle for each in cycle]
    # What the meter itself does not know about its mean: independent edges, so it shrinks with the count of rounds.
    floor = sqrt(float(np.mean(np.square([each.std for each in values])))) / sqrt(len(values))
    found = _present(metric, _over_cycles(per_cycle, floor), _source(values))
    shared = any(cycle.lanes > 1 for cycle in cycles) and holds_host(metric.key, context)
    return found.model_copy(update={"shared": shared})


def _rate(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    return _present(metric, _over_cycles(_of_rounds(metric, cycles, context)), "measured")


def _latency(metric: Metric, cycles: Sequence[Cycle], _: Context) -> MetricValue:
    """Out of all token times pooled: a percentile of few requests a round says little."""
    passes = [[r.latency for r in valid_rounds(cycle) if r.latency and r.latency.requests] for cycle in cycles]
    if not any(passes):
        raise Unavailable(metric.key, nothing_valid(cycles) or "token times were not recorded")
    times = [[token_times(metric.key, latency.requests) for latency in cycle] for cycle in passes]
    per_cycle = [groups for cycle in times if (groups := [group for group in cycle if group.size])]
    if not per_cycle:
        raise Unavailable(metric.key, no_times(metric.key))
    percent = percent_of(metric.key)
    if len(per_cycle) > 1:
        middles = [_pooled(groups, percent) for groups in per_cycle]
        if min(middles) <= 0:  # nothing waits in an empty queue
            return _maybe_zero(metric, [[Value(each)] for each in middles])
        return _present(metric, mean_interval(middles), "measured")
    groups = per_cycle[0]
    found = bootstrap_mean(groups) if percent is None else bootstrap_percentile(groups, percent)
    return _present(metric, found, "measured")


def _pooled(groups: Sequence[NDArray[np.float64]], percent: float | None) -> float:
    return middle(np.concatenate(groups), percent)


def _service(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    """Shares of all requests pooled, as percentiles are; the rest by round, as joules and rates are."""
    if metric.key == "joules_per_good_request":
        return _energy(metric, cycles, context)
    per_cycle = _of_rounds(metric, cycles, context)
    if metric.key in ("good_share", "slo_met"):
        return _kept(metric, cycles, context)
    return _maybe_zero(metric, per_cycle)


def _kept(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    hooked = [[r for r in valid_rounds(cycle) if r.latency and r.latency.requests] for cycle in cycles]
    launches = [added([service_kept(metric, round_, context) for round_ in rounds]) for rounds in hooked if rounds]
    if metric.key == "slo_met":
        value = float(added(launches).met)
        return MetricValue(value=value, unit=metric.unit, n=sum(map(len, hooked)), source="measured")
    if len(launches) > 1:
        return _maybe_zero(metric, [[Value(launch.share)] for launch in launches])
    value = launches[0].share
    return MetricValue(value=value, unit=metric.unit, n=sum(map(len, hooked)), source="measured")


def _memory(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    peaks = [each.value for _, values in series(metric, cycles, context) for each in values]
    return MetricValue(value=max(peaks), unit=metric.unit, n=len(peaks), source="measured")


def _imbalance(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    values = [each for cycle in _of_rounds(metric, cycles, context) for each in cycle]
    middle_share = float(np.median([each.value for each in values]))
    return MetricValue(value=middle_share, unit=metric.unit, n=len(values), source=_source(values))


def _counter(metric: Metric, cycles: Sequence[Cycle], _: Context) -> MetricValue:
    """What the engine itself counts: a total over a divisor, or the highest value seen."""
    reason = nothing_valid(cycles)
    if reason:
        raise Unavailable(metric.key, reason)
    found = [counted(metric, round_) for cycle in cycles for round_ in valid_rounds(cycle)]
    counts, divisors = [count for count, _ in found], [divisor for _, divisor in found if divisor is not None]
    value = sum(counts) / sum(divisors) if divisors else max(counts)
    return MetricValue(value=value, unit=metric.unit, n=len(counts), source=counter_source(metric))


def _arithmetic(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    """What follows from the configuration alone has no interval; the rest is as its seconds and joules are."""
    if metric.key not in OF_CONFIGURATION:
        return _energy(metric, cycles, context)
    values = [each.value for cycle in _of_rounds(metric, cycles, context) for each in cycle]
    return MetricValue(value=values[0], unit=metric.unit, n=len(values), source="estimated")


def _roofline(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    per_cycle = [values for _, values in series(metric, cycles, context)]
    value = float(np.mean([np.median([each.value for each in values]) for values in per_cycle]))
    return MetricValue(value=value, unit=metric.unit, n=sum(map(len, per_cycle)), source="estimated")


def _use(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    per_cycle = [values for _, values in series(metric, cycles, context)]
    if metric.key != "peak_used_bytes":
        return _maybe_zero(metric, per_cycle)
    peaks = [each.value for values in per_cycle for each in values]
    return MetricValue(value=max(peaks), unit=metric.unit, n=len(peaks), source="measured")


def _load(metric: Metric, cycles: Sequence[Cycle], context: Context) -> MetricValue:
    loads = [each.value for _, values in series(metric, cycles, context) for each in values]
    return _present(metric, mean_interval(loads), "measured")


def _recorded(metric: Metric, cycles: Sequence[Cycle]) -> MetricValue:
    return _maybe_zero(metric, [values for _, values in series(metric, cycles, Context(device="cpu"))])


def _maybe_zero(metric: Metric, per_cycle: Sequence[Sequence[Value]]) -> MetricValue:
    """The median of each launch, and their mean, of values that need not be positive."""
    if all(each.value > 0 for values in per_cycle for each in values):
        return _present(metric, _over_cycles(per_cycle), "measured")
    # Zero or below has no logarithm, and intervals are made on its scale.
    middles = [float(np.median([each.value for each in values])) for values in per_cycle]
    n = len(middles) if len(middles) > 1 else len(per_cycle[0])
    return MetricValue(value=float(np.mean(middles)), unit=metric.unit, n=n, source="measured")


_KINDS: dict[str, Callable[[Metric, Sequence[Cycle], Context], MetricValue]] = {
    "energy": _energy,
    "balance": _imbalance,
    "rate": _rate,
    "latency": _latency,
    "service": _service,
    "memory": _memory,
    "counter": _counter,
    "arithmetic": _arithmetic,
    "roofline": _roofline,
    "use": _use,
    "load": _load,
}
