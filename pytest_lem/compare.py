"""Two measurements side by side: what differs between them, and each metric's ratio with what it says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from pytest_lem.fingerprint import CHOSEN, fingerprint
from pytest_lem.launches import Launch, launches, metric_of, recorded_keys, ungateable
from pytest_lem.model.environment import Environment
from pytest_lem.model.errors import Unavailable, UsageError
from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.stats.contrast import Apart, Word, contrast
from pytest_lem.stats.history import FEWEST, THRESHOLD
from pytest_lem.stats.verdict import Direction

ONCE = ("recorded", "memory", "load")
"""Kinds of metric that a launch may have once."""
OF_ENGINES = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms")
OF_WINDOWS = ("gpu_joules", "system_joules", "seconds")


@dataclass(frozen=True)
class Side:
    """A measurement, the `run` it is of, and where it was made."""

    run: str
    measurement: Measurement
    environment: Environment


@dataclass(frozen=True)
class MetricPair:
    """One metric of both sides: the candidate's divided by the reference's.

    `low` and `high` bound the ratio's 95 % interval. `word` is null where nothing may be judged, for the `reason`.
    """

    metric: str
    unit: str
    better: Direction
    reference: MetricValue
    candidate: MetricValue
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    word: Word | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Pair:
    """A comparison: `differs` names what was asked, or where it ran, otherwise: the reference's, then the other's."""

    reference: Side
    candidate: Side
    apart: Apart
    differs: tuple[str, ...]
    metrics: tuple[MetricPair, ...]


def compare(reference: Side, candidate: Side, keys: Sequence[str] = (), *, threshold: float = THRESHOLD) -> Pair:
    """Compare two measurements by the metrics `keys`: those of the headline, and the users' own, where none is named.

    `threshold` is the relative change within which two are alike. Raises UsageError for a metric that nobody knows.
    """
    told = [fingerprint(side.measurement, side.environment) for side in (reference, candidate)]
    apart = _apart(reference, candidate, *told)
    chosen = _chosen(keys, reference.measurement, candidate.measurement)
    return Pair(
        reference,
        candidate,
        apart,
        tuple(_differences(*told)),
        tuple(_metric(key, reference.measurement, candidate.measurement, apart, threshold) for key in chosen),
    )


def _apart(reference: Side, candidate: Side, then: Mapping[str, str], now: Mapping[str, str]) -> Apart:
    hosts = {side.environment.host for side in (reference, candidate)}
    if len(hosts) > 1 or any(then.get(key) != now.get(key) for key in ("board", "CPU")):
        return "board"
    return "session" if reference.run == candidate.run else "run"


def _differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    found = []
    for key in dict.fromkeys([*then, *now]):
        one, other = then.get(key, ""), now.get(key, "")
        if one == other or (key == "board" and then.get("GPU") != now.get("GPU")):
            continue  # another model is another board: one line says it
        if key == "options":
            one, other = _without(one, other), _without(other, one)
        found.append(f"{key}: {one or 'none'} and {other or 'none'}")
    return sorted(found, key=lambda line: line.partition(":")[0] not in CHOSEN)


def _without(words: str, others: str) -> str:
    return ", ".join(word for word in words.split(", ") if word not in others.split(", "))


def _chosen(keys: Sequence[str], *measurements: Measurement) -> list[str]:
    own = dict.fromkeys(key for each in measurements for key in recorded_keys(each.cycles))
    for key in keys:
        if key not in METRICS and key not in own:
            near = get_close_matches(key, [*METRICS, *own], n=1, cutoff=0.0)[0]
            raise UsageError(f"--metric={key}: unknown metric; the nearest known one is {near!r}")
    if keys:
        return list(dict.fromkeys(keys))
    usual = OF_ENGINES if any(each.engine for each in measurements) else OF_WINDOWS
    known = [key for key in usual if any(_value(each, key).value is not None for each in measurements)]
    return [*(known or usual[:1]), *own]


def _value(measurement: Measurement, key: str) -> MetricValue:
    unit = METRICS[key].unit if key in METRICS else ""
    return measurement.metrics.get(key) or MetricValue(value=None, unit=unit, reason="it was not part of this")


def _metric(key: str, reference: Measurement, candidate: Measurement, apart: Apart, threshold: float) -> MetricPair:
    values = (_value(reference, key), _value(candidate, key))
    metric = next((metric_of(each, key) for each in (reference, candidate) if _knows(each, key)), None)
    unit, better = (metric.unit, metric.better) if metric else (values[0].unit, "lower")
    known = MetricPair(key, unit, better, *values, ratio=_ratio(*values))
    reason = next(filter(None, (_refused(each, key) for each in (reference, candidate))), None)
    if reason or metric is None:
        return replace(known, reason=reason or "nothing was recorded under that name")
    fewest = 1 if metric.kind in ONCE else FEWEST
    sides = [launches(each, key) for each in (reference, candidate)]
    found = contrast(
        *([launch.values for launch in side] for side in sides),
        apart=apart,
        direction=better,
        threshold=threshold,
        fewest=fewest,
    )
    if found is None:
        return replace(known, reason=_lack(sides, fewest))
    return replace(known, ratio=found.ratio, low=found.low, high=found.high, word=found.word)


def _knows(measurement: Measurement, key: str) -> bool:
    return key in METRICS or key in recorded_keys(measurement.cycles)


def _ratio(one: MetricValue, other: MetricValue) -> float | None:
    return other.value / one.value if one.value and other.value is not None else None


def _refused(measurement: Measurement, key: str) -> str | None:
    """Why a gate would not take this metric of this measurement either; None where it would."""
    try:
        if measurement.protocol.quick and metric_of(measurement, key).is_joules:
            return "joules of a quick run (--lem-quick) are not comparable"
        found = launches(measurement, key)
    except Unavailable as error:
        return error.reason
    if any(launch.steady is False for launch in found):
        return "warm-up was cut before its time"
    return ungateable(measurement, key, found)


def _lack(sides: Sequence[Sequence[Launch]], fewest: int) -> str:
    longest = min(max((len(launch.values) for launch in side), default=0) for side in sides)
    if longest < fewest:
        return f"{longest} of {fewest} rounds needed"
    return "a value that is not a positive, finite number"
