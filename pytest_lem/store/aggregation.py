"""What the store is handed to compute metrics with: it keeps rounds, and knows no formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pytest_lem.model.measurement import Measurement, MetricValue

Aggregate: TypeAlias = Callable[[Measurement], Mapping[str, MetricValue]]
