"""`lem_energy.search`: as few settings measured as tell which is best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from pytest_lem.model.errors import EngineError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.search import Search, SearchPoint, Setting
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.plugin.aims import Aim, setting
from pytest_lem.search import Settings, cheapest, front, ties

Measure = Callable[[EngineSpec, WorkloadSpec, str], Measurement]


@dataclass(frozen=True)
class Found:
    """What a search found: `value` and its `measurement`; the whole `record` is in the report, with every point."""

    value: Setting
    measurement: Measurement
    record: Search


def search(
    item: pytest.Item, aim: Aim, engine: EngineSpec, workload: WorkloadSpec, measure: Measure, name: str
) -> tuple[Search, dict[Setting, Measurement]]:
    """Measure as few settings as tell which is best; the record, and what was measured of each."""
    kept: dict[Setting, Measurement] = {}
    bounds = aim.bounds(workload)

    def point(value: Setting) -> SearchPoint:
        own = f"{name}{'-' if name else ''}{aim.over}={value:g}"
        spec, work = setting(aim.over, value, engine, workload)
        try:
            kept[value] = measure(spec, work, own)
        except EngineError as error:
            if error.kind != "memory":
                raise
            return SearchPoint(value=value, name=own, meets=False, why=str(error).splitlines()[0])
        return _point(aim, bounds, value, own, kept[value])

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
        slo=dict(bounds),
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


def _point(aim: Aim, bounds: Mapping[str, float], value: Setting, name: str, measured: Measurement) -> SearchPoint:
    objective = measured.quantity(aim.objective.key)
    latency = measured.get(aim.latency.key)
    why = "; ".join([*_unserved(measured), *_missed(bounds, measured)])
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


def _unserved(measured: Measurement) -> list[str]:
    """That an open loop was over before it was steady: what is asked of it was not kept up, so nothing is known of it.

    A closed loop has all its requests under way from the start; its rate is no setting, but what comes of one.
    """
    traffic = measured.workload.arriving if measured.workload else None
    if traffic is None or traffic.arrivals == "closed":
        return []
    served = [round_.served for cycle in measured.cycles for round_ in cycle.rounds if round_.valid]
    short = sum(each is not None and not each.steady for each in served)
    why = f"{short} of {len(served)} rounds have no steady time, so that this rate was never kept up; give it seconds"
    return [f"{why}, and more of them"] if short else []


def _missed(bounds: Mapping[str, float], measured: Measurement) -> list[str]:
    """The bounds that a measurement misses, each with how far. Raises Unavailable for one that it cannot judge."""
    found = []
    for key, bound in bounds.items():
        value, better = float(measured.quantity(key)), METRICS[key].better
        missed = value > bound if better == "lower" else value < bound
        if missed and key == "slo_met":
            found.append(f"{100 * float(measured.quantity('good_share')):.4g} % of requests met the service level")
        elif missed:
            unit = "" if METRICS[key].unit == "1" else f" {METRICS[key].unit}"
            found.append(f"{key} {value:.4g} is {'over' if better == 'lower' else 'under'} {bound:g}{unit}")
    return found
