"""The last line of a summary: which configuration costs least."""

from __future__ import annotations

from pytest_lem.model.measurement import Measurement
from pytest_lem.render.html.reported import Reported
from pytest_lem.render.numbers import with_unit
from pytest_lem.render.terminal import names_of

KEYS = ("joules_per_good_request", "joules_per_token")


def cheapest_line(report: Reported) -> str:
    """`cheapest that meets the service level: …`; says why where there is none."""
    named = list(zip(report.measurements, names_of(report.measurements), strict=True))
    for key in KEYS:
        kept = [
            (found.value, found.source, found.unit, name)
            for each, name in named
            if (found := each.metrics.get(key)) and found.value is not None and _keeps(each)
        ]
        if kept:
            cost, source, unit, name = min(kept, key=lambda each: each[0])
            return f"cheapest: {name} with {with_unit(cost, unit)}{' (estimated)' if source == 'estimated' else ''}"
    return "cheapest: none can be told, as no joules were measured per token or per good request"


def _keeps(measurement: Measurement) -> bool:
    """Whether it keeps its service level, or was promised none."""
    met = measurement.metrics.get("slo_met")
    return met is None or met.value is None or met.value == 1
