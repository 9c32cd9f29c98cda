"""The index, as every command opens it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_lem.model.measurement import Measurement, MetricValue
    from pytest_lem.store.index import Index


@contextmanager
def opened(results: Path, *, anew: bool = False) -> Iterator[Index]:
    """The index of `results`, brought up to date."""
    from pytest_lem.store.index import open_index

    with open_index(results, late, anew=anew) as index:
        yield index


def late(measurement: Measurement) -> Mapping[str, MetricValue]:
    """Metrics from rounds; what computes them is imported where a run was killed before it did."""
    from pytest_lem.reporting import late_metrics

    return late_metrics(measurement)
