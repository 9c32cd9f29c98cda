"""Late aggregation: what whoever writes a report computes from the rounds on disk."""

from __future__ import annotations

from pytest_lem.aggregate import metrics
from pytest_lem.device_joules import Context
from pytest_lem.model.measurement import Measurement, MetricValue


def late_metrics(measurement: Measurement) -> dict[str, MetricValue]:
    """The metrics of a measurement from its rounds alone."""
    device = "cuda" if any(cycle.gpus for cycle in measurement.cycles) else "cpu"
    context = Context(device=device, meters=measurement.meters, work=measurement.engine is not None)
    return metrics(measurement.cycles, context)
