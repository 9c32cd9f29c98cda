"""`lem_energy.search`: the marker that says what is looked for, and one measurement a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pytest

from pytest_lem.campaign.values import one_line, unknown
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS, Metric, metric
from pytest_lem.model.search import Search, SearchPoint, Setting
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.search import Settings, cheapest, front, ties

MARKER = "@pytest.mark.lem_search"
NAMES = ("over", "objective", "slo", "values", "latency")
POWERS = tuple(2**power for power in range(9))
"""The batches (or requests under way, or a second) that are looked among where the marker lists none: 1 to 256."""

Measure = Callable[[EngineSpec, WorkloadSpec, str], Measurement]


@dataclass(frozen=True)
class Found:
    """What a search found: `value` and its `measurement`; the whole `record` is in the report, with every point."""

    value: Setting
    measurement: Measurement
    record: Search


@dataclass(frozen=True)
class Aim:
    """What is looked for, as the marker says it."""

    over: str
    values: tuple[Setting, ...]
    objective: Metric
    slo: Mapping[str, float]
    latency: Metric


def aim_of(item: pytest.Item) -> Aim:
    """The marker's words, checked. Raises UsageError that names what is wrong."""
    mark = item.get_closest_marker("lem_search")
    if mark is None:
        raise UsageError(f"lem_energy.search: over what? say it by {MARKER}(over='batch')")
    given = dict(zip(NAMES, mark.args, strict=False)) | dict(mark.kwargs)
    for name in given:
        if name not in NAMES:
            raise unknown("keyword", name, NAMES, MARKER)
    if len(mark.args) > len(NAMES) or not isinstance(given.get("over"), str):
        raise UsageError(f"{MARKER}: over names a field of the workload, such as 'batch' or 'traffic.qps'")
    slo = dict(given.get("slo") or {})
    for key, bound in slo.items():
        metric(key, place=f"{MARKER}: slo")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound):
            raise UsageError(f"{MARKER}: slo: {key}: expected a number, got {bound!r}")
    return Aim(
        over=given["over"],
        values=_values(given.get("values", POWERS)),
        objective=metric(given.get("objective", "joules_per_token"), place=f"{MARKER}: objective"),
        slo={key: float(bound) for key, bound in slo.items()},
        latency=metric(given.get("latency", "tpot_p99_ms"), place=f"{MARKER}: latency"),
    )


def search(
    item: pytest.Item, aim: Aim, engine: EngineSpec, workload: WorkloadSpec, measure: Measure, name: str
) -> tuple[Search, dict[Setting, Measurement]]:
    """Measure as few settings as tell which is best; the record, and what was measured of each."""
    kept: dict[Setting, Measurement] = {}

    def point(value: Setting) -> SearchPoint:
        own = f"{name}{'-' if name else ''}{aim.over}={value:g}"
        spec, work = _set(aim.over, value, engine, workload)
        try:
            kept[value] = measure(spec, work, own)
        except EngineError as error:
            if error.kind != "memory":
                raise
            return SearchPoint(value=value, name=own, meets=False, why=str(error).splitlines()[0])
        return _point(aim, value, own, kept[value])

    higher = aim.objective.better == "higher"
    settings = Settings(aim.values, point, higher_is_better=higher)
    place = cheapest(settings)
    best = None if place is None else settings.point(place)
    record = Search(
        test=item.nodeid,
        name=name,
        over=aim.over,
        objective=aim.objective.key,
        unit=aim.objective.unit,
        better=aim.objective.better,
        slo=dict(aim.slo),
        candidates=aim.values,
        points=settings.points,
        best=best.value if best else None,
        ties=ties(settings.points, best) if best else (),
        latency=aim.latency.key,
        front=front(settings.points, higher_is_better=higher),
        rounds=sum(each.rounds for each in settings.points),
    )
    return record, kept


def none_kept(record: Search) -> str:
    """Why nothing was found, in a line: what the lowest setting misses."""
    lowest = min(record.points, key=lambda each: each.value)
    return (
        f"search over {record.over}: no setting keeps the service level; {record.over}={lowest.value:g}: {lowest.why}"
    )


def _set(over: str, value: Setting, engine: EngineSpec, workload: WorkloadSpec) -> tuple[EngineSpec, WorkloadSpec]:
    """The engine and the workload with one field changed: the workload's, its traffic's, or an option of the engine."""
    head, _, field = over.partition(".")
    try:
        if not field and head in WorkloadSpec.model_fields:
            return engine, workload.replace(**{head: value})
        if head == "traffic" and workload.traffic is not None:
            return engine, workload.replace(traffic=workload.traffic.replace(**{field: value}))
    except ValueError as error:  # pydantic's own is one
        raise UsageError(f"{MARKER}: over={over!r}: {one_line(error)}") from None  # type: ignore[arg-type]
    if head == engine.backend and field:
        return engine.replace(options={**engine.options, field: value}), workload
    known = {*WorkloadSpec.model_fields, "traffic.qps", "traffic.concurrency", f"{engine.backend}.OPTION"}
    raise unknown("field", over, known, f"{MARKER}: over")


def _point(aim: Aim, value: Setting, name: str, measured: Measurement) -> SearchPoint:
    objective = measured.quantity(aim.objective.key)
    latency = measured.get(aim.latency.key)
    why = "; ".join(_missed(aim, measured))
    return SearchPoint(
        value=value,
        name=name,
        meets=not why,
        why=why,
        objective=float(objective),
        low=objective.low,
        high=objective.high,
        latency_ms=None if latency is None else float(latency),
        rounds=sum(len(cycle.rounds) for cycle in measured.cycles),
    )


def _missed(aim: Aim, measured: Measurement) -> list[str]:
    """The bounds that a measurement misses, each with how far. Raises Unavailable for one that it cannot judge."""
    found = []
    for key, bound in aim.slo.items():
        value, better = float(measured.quantity(key)), METRICS[key].better
        if value > bound if better == "lower" else value < bound:
            found.append(
                f"{key} {value:.4g} is {'over' if better == 'lower' else 'under'} {bound:g} {METRICS[key].unit}"
            )
    return found


def _values(given: Any) -> tuple[Setting, ...]:
    values = list(given) if isinstance(given, list | tuple | range) else []
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    if not values or not numbers:
        raise UsageError(f"{MARKER}: values: expected a list of numbers, got {given!r}")
    return tuple(sorted(set(values)))
