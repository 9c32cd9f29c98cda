"""The last line of every summary: which configuration costs least of those that meet the service level."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.render.numbers import with_unit
from pytest_lem.render.terminal import names_of

KEY = "joules_per_token"


def cheapest_line(measurements: Sequence[Measurement]) -> str:
    """`cheapest configuration that meets the service level: test_a[…] with 31.2 mJ/tok`; says why where none is.

    Where no measurement was promised a service level, the cheapest of all. A measured one goes before any estimate.
    """
    named = list(zip(measurements, names_of(measurements), strict=True))
    promised = any(_met(each) is not None for each in measurements)
    of_those = " that meets the service level" if promised else ""
    known = [
        (each, value, name) for each, name in named if (value := each.metrics.get(KEY)) and value.value is not None
    ]
    if not known:
        return f"cheapest configuration{of_those}: none can be told, as no joules per token are known"
    kept = [(value, name) for each, value, name in known if not promised or _met(each) == 1]
    if not kept:
        return f"cheapest configuration{of_those}: none meets it"
    value, name = min(_surest(kept), key=lambda pair: pair[0].value or 0)
    guess = " (estimated)" if value.source == "estimated" else ""
    return f"cheapest configuration{of_those}: {name} with {with_unit(value.value or 0, value.unit)}{guess}"


def has_configurations(measurements: Sequence[Measurement]) -> bool:
    """Whether any of them is an engine's: windows around a user's own code are nothing to choose from."""
    return any(each.engine is not None for each in measurements)


def _met(measurement: Measurement) -> float | None:
    """1 where the service level is met, 0 where not, None where none was promised."""
    found = measurement.metrics.get("slo_met")
    return found.value if found else None


def _surest(kept: Sequence[tuple[MetricValue, str]]) -> Sequence[tuple[MetricValue, str]]:
    measured = [pair for pair in kept if pair[0].source != "estimated"]
    return measured or kept
