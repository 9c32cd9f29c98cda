"""The user's own metrics: what `lem_energy.record` takes, and what it refuses."""

from __future__ import annotations

from math import isfinite
from typing import Any

from pytest_lem.aggregate import recorded
from pytest_lem.model.cycle import Recorded
from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS


def checked(metric: str, value: Any, better: str, unit: str, *, taken: type) -> Recorded:
    """The value as it is kept. Raises UsageError for what cannot be compared between runs.

    `taken` is the class whose attributes a name may not hide: a metric is read like one.
    """
    place = f"lem_energy.record({metric!r}, ...)"
    if metric in METRICS:
        raise UsageError(f"{place}: {metric} is measured by pytest-lem; record yours under another name")
    if not isinstance(metric, str) or not metric.isidentifier() or metric.startswith("_") or hasattr(taken, metric):
        raise UsageError(f"{place}: a metric's name is a word like `quality`, and no attribute of lem_energy")
    if metric in Measurement.model_fields or hasattr(Measurement, metric):
        raise UsageError(f"{place}: a measurement has something else of that name; take another")
    if better not in ("lower", "higher"):
        raise UsageError(f"{place}: better={better!r}; say better='lower' or better='higher'")
    return Recorded(metric=metric, value=_finite(value, place), unit=str(unit), better=better)


def _finite(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{place}: {value!r} is no number") from None
    if not isfinite(number):
        raise UsageError(f"{place}: {number} cannot be compared with anything; record finite numbers")
    return number


def added(measurement: Measurement, new: Recorded) -> Measurement:
    """The measurement with one more recorded value, in its last launch. Raises UsageError for another unit."""
    known = (each for cycle in measurement.cycles for each in cycle.recorded if each.metric == new.metric)
    before = next(known, new)
    if (before.unit, before.better) != (new.unit, new.better):
        raise UsageError(
            f"lem_energy.record({new.metric!r}, ...): it was recorded with unit={before.unit!r}, "
            f"better={before.better!r} before; keep to one"
        )
    *others, last = measurement.cycles
    cycles = (*others, last.model_copy(update={"recorded": (*last.recorded, new)}))
    return measurement.model_copy(update={"cycles": cycles, "metrics": measurement.metrics | recorded(cycles)})
