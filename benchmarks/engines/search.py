"""A search beside the sweep of all its candidates, as evidence: the same best, and the rounds that each took.

The report is one of `pytest benchmarks/test_search.py`, kept by `benchmarks/engines/keep.py`.
"""

from __future__ import annotations

from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import table
from pytest_lem.model.metrics import METRICS
from pytest_lem.store.experiments import experiment_of

Json = dict[str, Any]
Sweep = dict[float, Json]


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    gpus = by_uuid(report["environment"]["gpus"])
    versions = report["measurements"][0]["engine"]["observed"]["versions"]
    head = f"- {gpus}; {', '.join(f'{name} {version}' for name, version in versions.items() if version)}."
    return "\n\n".join([head, *(_search(each, report["measurements"]) for each in report["searches"])])


def _search(search: Json, measurements: list[Json]) -> str:
    sweep = _sweep(search, measurements)
    bounds = ", ".join(f"{name} {value:g}" for name, value in search["slo"].items()) or "none"
    best, rounds = _best(search, sweep), sum(map(_rounds, sweep.values()))
    alike = ", ".join(f"{value:g}" for value in search["ties"])
    lines = [
        f"{str(search['test']).rpartition('::')[2]}, {search['objective']} over {search['over']}; bounds: {bounds}.",
        "",
        f"- Search: best {_number(search['best'])}{f' (too close to tell: {alike})' if alike else ''}; "
        f"{len(search['points'])} of {len(search['candidates'])} measured, {search['rounds']} rounds.",
        f"- Sweep: best {_number(best)}; {len(sweep)} of {len(search['candidates'])} measured, {rounds} rounds.",
        f"- {_agreement(search, best, rounds)}",
        "",
        table(_head(search), [_row(search, value, sweep) for value in search["candidates"]]),
    ]
    return "\n".join(lines)


def _agreement(search: Json, best: float | None, rounds: int) -> str:
    if not rounds:
        return "No sweep stands beside it."
    if best not in (search["best"], *search["ties"]) or best is None:
        return "They do not agree."
    same = "The same" if best == search["best"] else "One of those that the search calls alike"
    return f"{same}, with {search['rounds'] / rounds:.0%} of the rounds."


def _sweep(search: Json, measurements: list[Json]) -> Sweep:
    """What other tests measured of the search's candidates on the same engine, by the setting."""
    test = experiment_of(search["test"])
    own = next((each for each in measurements if each["test"] == test), None)
    found: Sweep = {}
    for each in measurements:
        setting = _setting(search["over"], each)
        alike = own is not None and _engine(search["over"], each) == _engine(search["over"], own)
        if alike and each["test"] != test and setting in search["candidates"]:
            found[setting] = each
    return found


def _setting(over: str, measurement: Json) -> Any:
    """The value of a field of the workload, of its traffic, or of an option of the engine."""
    head, _, field = over.partition(".")
    if not field:
        return measurement["workload"].get(head)
    of = measurement["workload"]["traffic"] if head == "traffic" else measurement["engine"]["requested"]["options"]
    return (of or {}).get(field)


def _engine(over: str, measurement: Json) -> Json:
    """The engine that was asked for, but for the option that is searched."""
    asked = measurement["engine"]["requested"]
    field = over.partition(".")[2]
    return {**asked, "options": {name: value for name, value in asked["options"].items() if name != field}}


def _best(search: Json, sweep: Sweep) -> float | None:
    kept = [value for value, each in sweep.items() if _keeps(search, each) and _value(each, search["objective"])]
    pick = max if search["better"] == "higher" else min
    return pick(kept, key=lambda value: _value(sweep[value], search["objective"]), default=None)


def _keeps(search: Json, measurement: Json) -> bool:
    """Whether every bound of the search is kept; one that was not measured is not."""
    values = {name: _value(measurement, name) for name in search["slo"]}
    return all(
        value is not None
        and (value <= search["slo"][name] if METRICS[name].better == "lower" else value >= search["slo"][name])
        for name, value in values.items()
    )


def _rounds(measurement: Json) -> int:
    return sum(len(cycle["rounds"]) for cycle in measurement["cycles"])


def _value(measurement: Json, key: str) -> Any:
    return measurement["metrics"][key]["value"]


def _head(search: Json) -> list[str]:
    cost, latency = f"{search['objective']} ({search['unit']})", search["latency"]
    return [
        search["over"],
        "tried as",
        f"search: {cost}",
        f"search: {latency}",
        f"sweep: {cost}",
        f"sweep: {latency}",
        "search: level",
        "sweep: level",
    ]


def _row(search: Json, value: float, sweep: Sweep) -> list[str]:
    points = {point["value"]: (place, point) for place, point in enumerate(search["points"], 1)}
    place, point = points.get(value, (None, None))
    swept = sweep.get(value)
    mark = " **best**" if value == search["best"] else ""
    return [
        f"{value:g}{mark}",
        _number(place),
        _with_interval(point, "objective"),
        _number(point and point["latency_ms"]),
        _with_interval(swept and swept["metrics"][search["objective"]], "value"),
        _number(swept and _value(swept, search["latency"])),
        "–" if point is None else "kept" if point["meets"] else f"missed: {point['why']}",
        "–" if swept is None else "kept" if _keeps(search, swept) else "missed",
    ]


def _with_interval(told: Json | None, key: str) -> str:
    """`0.063 (0.062 … 0.064)`."""
    if told is None or told[key] is None:
        return "–"
    interval = "" if told["low"] is None else f" ({told['low']:.4g} … {told['high']:.4g})"
    return f"{told[key]:.4g}{interval}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
