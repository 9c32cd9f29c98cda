"""The marker `lem_search`: what is looked for, over which settings, and whether each of them can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pytest_lem.campaign.values import one_line, unknown
from pytest_lem.engines import registry
from pytest_lem.model.errors import UsageError
from pytest_lem.model.metrics import Metric, metric
from pytest_lem.model.search import Setting
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.workloads.work import check_workload

MARKER = "@pytest.mark.lem_search"
NAMES = ("over", "objective", "slo", "values", "latency")
POWERS = tuple(2**power for power in range(9))
"""The batches (or requests under way, or a second) that are looked among where the marker lists none: 1 to 256."""

Refuse = Callable[[EngineSpec, WorkloadSpec], None]


@dataclass(frozen=True)
class Aim:
    """What is looked for, as the marker says it; `slo` is None where it says nothing of it."""

    over: str
    values: tuple[Setting, ...]
    objective: Metric
    slo: Mapping[str, float] | None
    latency: Metric

    def bounds(self, workload: WorkloadSpec) -> Mapping[str, float]:
        """What a setting has to keep: the marker's, or that the workload's own service level is met."""
        if self.slo is not None:
            return self.slo
        return {} if workload.slo is None else {"slo_met": 1.0}


def aim_of(test: Any) -> Aim:
    """The words of a test's marker, checked. Raises UsageError that names what is wrong."""
    mark = test.get_closest_marker("lem_search")
    if mark is None:
        raise UsageError(f"lem_energy.search: over what? say it by {MARKER}(over='batch')")
    given = dict(zip(NAMES, mark.args, strict=False)) | dict(mark.kwargs)
    for name in given:
        if name not in NAMES:
            raise unknown("keyword", name, NAMES, MARKER)
    if len(mark.args) > len(NAMES) or not isinstance(given.get("over"), str):
        raise UsageError(f"{MARKER}: over names a field of the workload, such as 'batch' or 'traffic.qps'")
    return Aim(
        over=given["over"],
        values=_values(given.get("values", POWERS)),
        objective=_metric(given.get("objective", "joules_per_token"), "objective"),
        slo=_slo(given.get("slo")),
        latency=_milliseconds(_metric(given.get("latency", "tpot_p99_ms"), "latency")),
    )


def check_aim(test: Any, asked: Iterable[tuple[EngineSpec, WorkloadSpec]], refuse: Refuse) -> None:
    """Raise UsageError, one line, for a marker or a setting of it that cannot be, of what this test may search."""
    aim = aim_of(test)
    for engine, workload in asked:
        if aim.over.partition(".")[0] == "traffic" and workload.traffic is None:
            continue  # the test may give the traffic itself
        for value in aim.values:
            try:
                _check(*setting(aim.over, value, engine, workload), refuse)
            except UsageError as error:
                said = str(error)
                raise UsageError(
                    said if said.startswith(MARKER) else f"{MARKER}: {aim.over}={value:g}: {said}"
                ) from None


def setting(over: str, value: Setting, engine: EngineSpec, workload: WorkloadSpec) -> tuple[EngineSpec, WorkloadSpec]:
    """The engine and the workload with one field changed: the workload's, its traffic's, or an option of the engine.

    Raises UsageError for what cannot be.
    """
    head, _, field = over.partition(".")
    try:
        if not field and head in WorkloadSpec.model_fields:
            return engine, workload.replace(**{head: value})
        if head == "traffic" and workload.traffic is not None and field in TrafficSpec.model_fields:
            return engine, workload.replace(traffic=workload.traffic.replace(**{field: value}))
    except ValueError as error:  # pydantic's own is one
        raise UsageError(f"{MARKER}: over={over!r}: {one_line(error)}") from None  # type: ignore[arg-type]
    if head == "traffic" and workload.traffic is None:
        raise UsageError(f"{MARKER}: over={over!r}: the workload has no traffic; give it by lem(traffic={{...}})")
    if head == engine.backend and field:
        return registry.validate(engine.replace(options={**engine.options, field: value})), workload
    known = {*WorkloadSpec.model_fields, *(f"traffic.{name}" for name in TrafficSpec.model_fields)}
    options = {f"{engine.backend}.{name}" for name in registry.option_names(engine.backend) or ("OPTION",)}
    raise unknown("field", over, known | options, f"{MARKER}: over")


def _check(engine: EngineSpec, workload: WorkloadSpec, refuse: Refuse) -> None:
    """As any test is checked; files were read before, and are the same for each setting."""
    traced = workload.traffic is not None and workload.traffic.trace is not None
    if workload.data is None and not traced:
        refuse(engine, workload)
        check_workload(workload)


def _slo(given: Any) -> Mapping[str, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise UsageError(f"{MARKER}: slo: expected bounds on metrics, such as {{'tpot_p99_ms': 50}}, got {given!r}")
    for key, bound in given.items():
        _metric(key, "slo")
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound):
            raise UsageError(f"{MARKER}: slo: {key}: expected a number, got {bound!r}")
    return {key: float(bound) for key, bound in given.items()}


def _metric(given: Any, name: str) -> Metric:
    if not isinstance(given, str):
        raise UsageError(f"{MARKER}: {name}: expected the name of a metric, got {given!r}")
    return metric(given, place=f"{MARKER}: {name}")


def _milliseconds(found: Metric) -> Metric:
    if found.unit != "ms":
        raise UsageError(f"{MARKER}: latency: {found.key} is in {found.unit}; name a metric in ms, such as tpot_p99_ms")
    return found


def _values(given: Any) -> tuple[Setting, ...]:
    values = list(given) if isinstance(given, list | tuple | range) else []
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) and isfinite(each) for each in values)
    if not values or not numbers:
        raise UsageError(f"{MARKER}: values: expected a list of numbers, got {given!r}")
    return tuple(sorted(set(values)))
