"""Cycles → launches: the values of a metric, round by round, as gates and baselines compare them. Late, like all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pytest_lem.device_joules import Context, holds_host
from pytest_lem.flops.peaks import peaks_of
from pytest_lem.flops.products import multiplied_in
from pytest_lem.model.cycle import Cycle, Recorded
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import EngineRecord, Measurement
from pytest_lem.model.metrics import METRICS, Metric
from pytest_lem.model.reading import Source
from pytest_lem.model.round import Round
from pytest_lem.round_values import Value, launch_value, round_value


@dataclass(frozen=True)
class Launch:
    """A metric over one launch of an engine: its values (in the metric's unit) in the order they were measured.

    `cycle` is the cycle's index. `values` are those of the rounds that count, `warmup` those of the warm-up before
    them; a metric that a launch has once (a peak, a load time) has one value and no warm-up. `source` is `estimated`
    where any value is. `steady` is the protocol's own word on the warm-up.
    """

    cycle: int
    values: tuple[float, ...]
    warmup: tuple[float, ...]
    source: Source
    steady: bool | None


def launches(measurement: Measurement, key: str, context: Context | None = None) -> tuple[Launch, ...]:
    """The launches behind the metric `key`, the user's own included. Raises Unavailable, as an absent metric does."""
    metric = metric_of(measurement, key)
    context = context or context_of(measurement)
    cycles = launched(measurement.cycles)
    reason = nothing_valid(cycles) if metric.kind in OF_ROUNDS else None
    if reason:
        raise Unavailable(key, reason)
    return tuple(
        Launch(
            cycle=cycle.index,
            values=tuple(each.value for each in values),
            warmup=_warmup(metric, cycle, context),
            source="estimated" if any(each.source == "estimated" for each in values) else "measured",
            steady=cycle.steady,
        )
        for cycle, values in series(metric, cycles, context)
    )


def ungateable(measurement: Measurement, key: str, found: Sequence[Launch] | None = None) -> str | None:
    """Why the metric `key` can be shown but not compared between runs, in words; None where it can.

    `found` are its launches, where they are known already. Raises Unavailable where it was not measured at all.
    """
    context = context_of(measurement)
    if any(launch.source == "estimated" for launch in found or launches(measurement, key, context)):
        return "it is estimated, and a model's guess can neither regress nor improve"
    shared = any(cycle.lanes > 1 for cycle in measurement.cycles) and metric_of(measurement, key).is_joules
    if shared and holds_host(key, context):
        return "other lanes measured on this host at the same time, and its joules are those of all of them"
    return None


def context_of(measurement: Measurement) -> Context:
    """What the metrics of a measurement need beside its rounds, as far as the measurement itself tells it."""
    device = "cuda" if any(cycle.gpus for cycle in measurement.cycles) else "cpu"
    context = Context(
        device=device,
        meters=measurement.meters,
        work=measurement.engine is not None,
        slo=measurement.workload.slo if measurement.workload else None,
    )
    return with_arithmetic(context, measurement)


def with_arithmetic(context: Context, measurement: Measurement) -> Context:
    """The context with the FLOPs of a pass, and the peaks of the GPUs that the meters name."""
    if measurement.engine is None:
        return context
    arithmetic = next((cycle.arithmetic for cycle in measurement.cycles if cycle.arithmetic is not None), None)
    known = {device.id: device.name for meter in measurement.meters for device in meter.devices}
    gpus = max((cycle.gpus for cycle in measurement.cycles), key=len, default=())
    numbers, untold = _numbers(measurement.engine)
    try:
        peaks, reason = peaks_of([known.get(gpu, "") for gpu in gpus], numbers, untold), ""
    except Unavailable as error:
        peaks, reason = None, error.reason
    return replace(context, arithmetic=arithmetic, peaks=peaks, peaks_reason=reason)


def _numbers(engine: EngineRecord) -> tuple[str | None, str]:
    """In what numbers it multiplies; None with the reason where that is not known."""
    try:
        return multiplied_in(engine.requested.precision, engine.observed), ""
    except Unavailable as error:
        return None, error.reason


def metric_of(measurement: Measurement, key: str) -> Metric:
    """The metric `key`: one of the table, or one that the user recorded here. Raises Unavailable for any other."""
    if key in METRICS:
        return METRICS[key]
    found = next((each for cycle in measurement.cycles for each in cycle.recorded if each.metric == key), None)
    if found is None:
        raise Unavailable(key, "nothing was recorded under that name")
    return recorded_metric(found)


def recorded_metric(recorded: Recorded) -> Metric:
    """The user's own metric as one of the table's kind."""
    return Metric(recorded.metric, recorded.unit, recorded.better, "recorded", "what the test recorded")


def recorded_keys(cycles: Iterable[Cycle]) -> list[str]:
    """The names of the user's own metrics, in the order of their first value."""
    return list(dict.fromkeys(each.metric for cycle in cycles for each in cycle.recorded))


OF_ROUNDS = frozenset({"energy", "balance", "rate", "counter", "arithmetic"})
"""The kinds of metric that every valid round has a value of, or none has."""


def series(metric: Metric, cycles: Sequence[Cycle], context: Context) -> list[tuple[Cycle, list[Value]]]:
    """The cycles that have values of the metric, each with those values. Raises Unavailable where there are none.

    A metric of rounds is absent where one valid round lacks it; one that only some rounds or launches can have (token
    times are taken beside some rounds) where none has it.
    """
    found: list[tuple[Cycle, list[Value]]] = []
    lacking: Unavailable | None = None
    for cycle in cycles:
        try:
            values = _values(metric, cycle, context)
        except Unavailable as error:
            if metric.kind in OF_ROUNDS or metric.kind == "memory":
                raise
            lacking = error
            continue
        if values:
            found.append((cycle, values))
    if not found:
        raise lacking or Unavailable(metric.key, nothing_valid(cycles) or "it was not part of this measurement")
    return found


def launched(cycles: Sequence[Cycle]) -> list[Cycle]:
    """One cycle a launch: a test that ran again on the same engine measured more rounds of it, and no other launch.

    A cycle that was cut short counts only where there is no other.
    """
    found: dict[tuple[int, str], Cycle] = {}
    for cycle in [cycle for cycle in cycles if not cycle.cut_short] or cycles:
        known = found.get((cycle.index, cycle.launch))
        found[cycle.index, cycle.launch] = cycle if known is None else _pooled(known, cycle)
    return list(found.values())


def valid_rounds(cycle: Cycle) -> list[Round]:
    """The rounds that count."""
    return [round_ for round_ in cycle.rounds if round_.valid]


def nothing_valid(cycles: Sequence[Cycle]) -> str | None:
    """Why no round of these cycles counts, in words; None where one does."""
    rounds = [round_ for cycle in cycles for round_ in cycle.rounds]
    if not rounds:
        return "no round was measured"
    if any(round_.valid for round_ in rounds):
        return None
    reasons = sorted({round_.reason or "unknown" for round_ in rounds})
    return f"none of {len(rounds)} rounds is valid: {'; '.join(reasons)}"


def _pooled(known: Cycle, more: Cycle) -> Cycle:
    rounds, recorded = (*known.rounds, *more.rounds), (*known.recorded, *more.recorded)
    return known.model_copy(update={"rounds": rounds, "recorded": recorded})


def _values(metric: Metric, cycle: Cycle, context: Context) -> list[Value]:
    if metric.kind == "recorded":
        return [Value(each.value) for each in cycle.recorded if each.metric == metric.key]
    if metric.kind in ("load", "memory"):
        return [launch_value(metric, cycle, context)]
    if metric.kind in OF_ROUNDS:
        return [round_value(metric, round_, context) for round_ in valid_rounds(cycle)]
    return _of_some(metric, cycle, context)


def _of_some(metric: Metric, cycle: Cycle, context: Context) -> list[Value]:
    """Those of rounds that have it: a pass with token times beside them, or GPUs that told how they were used."""
    found, lacking = [], Unavailable(metric.key, nothing_valid([cycle]) or "token times were not recorded")
    for round_ in valid_rounds(cycle):
        try:
            found.append(round_value(metric, round_, context))
        except Unavailable as error:
            told = metric.kind in ("service", "use") or (round_.latency and round_.latency.requests)
            lacking = error if told else lacking
    if not found:
        raise lacking
    return found


def _warmup(metric: Metric, cycle: Cycle, context: Context) -> tuple[float, ...]:
    if metric.kind not in OF_ROUNDS:
        return ()
    values = []
    for round_ in cycle.warmup_rounds:
        try:
            values.append(round_value(metric, round_, context).value)
        except Unavailable:  # a warm-up that could not be read whole is still a warm-up
            continue
    return tuple(values)
