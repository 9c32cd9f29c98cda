"""Late aggregation: what whoever writes a report computes from the rounds on disk."""

from __future__ import annotations

from pytest_lem.aggregate import metrics
from pytest_lem.launches import context_of
from pytest_lem.model.measurement import Measurement, MetricValue


def late_metrics(measurement: Measurement) -> dict[str, MetricValue]:
    """The metrics of a measurement from its rounds alone."""
    return metrics(measurement.cycles, context_of(measurement))
