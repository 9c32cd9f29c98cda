"""A run as the page's charts read it: small, pure, the same for the same report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.search import Search
from pytest_lem.render.configuration import asked_work, built_work, provenance, words
from pytest_lem.render.html.history import packed_history
from pytest_lem.render.html.packing import Texts, packed_value, short
from pytest_lem.render.html.rounds import fine_points, packed_cycles
from pytest_lem.render.reported import Reported

VERSION = 1


def page_data(reports: Sequence[Reported], names: Sequence[str]) -> dict[str, Any]:
    """What the page's script draws: the last of `reports` (in the order of time), with the others as its history.

    `names` are those of the last one's measurements. Texts are places in `texts`.
    """
    report, texts = reports[-1], Texts()
    fine = fine_points(report.measurements)
    rows = [_row(each, name, texts, fine) for each, name in zip(report.measurements, names, strict=True)]
    if len(reports) > 1:
        for row, history in zip(rows, packed_history(reports, report.measurements, texts), strict=True):
            row["history"] = history
    used = dict.fromkeys(key for each in report.measurements for key in each.metrics)
    return {
        "version": VERSION,
        "metrics": {key: _metric(key, report.measurements) for key in used},
        "rows": rows,
        "runs": [{"id": each.run.id, "started": each.run.started.isoformat()} for each in reports],
        "phases": [_phases(each) for each in report.phases],
        "searches": [_search(each) for each in report.searches],
        "texts": texts.all(),
    }


def _row(measurement: Measurement, name: str, texts: Texts, fine: int) -> dict[str, Any]:
    told = words(measurement)
    return {
        "name": name,
        "test": measurement.test,
        "model": told.model,
        "engine": told.engine,
        "line": told.line,
        "m": {key: packed_value(value, texts) for key, value in measurement.metrics.items()},
        "cycles": packed_cycles(measurement, texts, fine),
        "engines": [
            [texts.place(word) for word in field]
            for field in (*provenance(measurement.engine), *built_work(measurement))
        ],
        "asked": [[texts.place(word) for word in field] for field in asked_work(measurement)],
    }


def _metric(key: str, measurements: Sequence[Measurement]) -> list[str]:
    """Unit, better way, definition; of the user's own metric, as far as it was recorded."""
    if key in METRICS:
        known = METRICS[key]
        return [known.unit, known.better, known.definition]
    recorded = (each for one in measurements for cycle in one.cycles for each in cycle.recorded)
    own = next((each for each in recorded if each.metric == key), None)
    unit = next((each.metrics[key].unit for each in measurements if key in each.metrics), "")
    return [unit, own.better if own else "", "recorded by the test" if own else "not one of pytest-lem's own"]


def _phases(split: Phases) -> dict[str, Any]:
    return {
        "test": split.test,
        "name": split.name,
        "prefill": _part(split.prefill),
        "decode": _part(split.decode),
        "base": _base(split.base) if split.base else None,
        "method": split.method,
        "whole": short(split.whole_joules),
        "error": short(split.sum_error),
        "rounds": split.rounds,
        "guess": split.source == "estimated",
        "notes": list(split.notes),
    }


def _part(part: PhasePart) -> list[Any]:
    """`[tokens, joules, J/token, low, high, seconds, reason]`."""
    numbers = (part.joules, part.joules_per_token, part.low, part.high, part.seconds)
    return [part.tokens, *map(short, numbers), part.reason]


def _base(base: BasePart) -> list[Any]:
    """`[seconds, joules, W, low, high, reason]`."""
    return [*map(short, (base.seconds, base.joules, base.watts, base.low, base.high)), base.reason]


def _search(search: Search) -> dict[str, Any]:
    return {
        "test": search.test,
        "name": search.name,
        "over": search.over,
        "objective": search.objective,
        "unit": search.unit,
        "latency": search.latency,
        "best": search.best,
        "ties": list(search.ties),
        "front": list(search.front),
        "points": [
            [each.value, short(each.objective), short(each.low), short(each.high), short(each.latency_ms), each.meets]
            + ([each.why] if each.why else [])
            for each in sorted(search.points, key=lambda point: point.value)
        ],
    }
