"""All that was measured of one experiment, and the metrics that it comes to."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.quantity import Quantity
from pytest_lem.model.reading import MeterRecord, Source
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec


class MetricValue(Frozen):
    """One metric of a measurement: `low` and `high` bound a 95 % interval, `n` counts what it rests on.

    `covers` says what the interval speaks for (`this session only`, `cycles`). A null `value` has a `reason`. `shared`
    is true for joules of a host on which other lanes of the run were measuring: they are those of all its engines.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int = 0
    source: Source | None = None
    covers: str | None = None
    reason: str | None = None
    shared: bool = False


class EngineRecord(Frozen):
    """The engine as asked for and as it really ran (read from live objects by the engine's adapter)."""

    requested: EngineSpec
    observed: dict[str, Any] = Field(default_factory=dict)


class Measurement(Frozen):
    """Everything one call of `lem_energy.measure` found; `engine` and `workload` are null for a plain window.

    Metrics are attributes too: `measurement.joules_per_token` is a Quantity, and raises Unavailable (with the reason)
    when it could not be measured; `.get(key)` gives None instead. `experiment` is the id of what `test` is a cycle of
    (empty where nobody said so). `known_as` is its name in baselines, where the test gives it one that outlives a
    rename.
    """

    id: str
    test: str
    name: str = ""
    experiment: str = ""
    known_as: str = ""
    engine: EngineRecord | None = None
    workload: WorkloadSpec | None = None
    protocol: ProtocolSpec
    meters: tuple[MeterRecord, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    metrics: dict[str, MetricValue] = Field(default_factory=dict)

    def quantity(self, key: str) -> Quantity:
        """The metric `key`. Raises Unavailable with the reason, or KeyError for a name that is no metric."""
        found = self.metrics.get(key)
        if found is None:
            if key not in METRICS:
                raise KeyError(key)
            raise Unavailable(key, "it was not part of this measurement")
        if found.value is None:
            raise Unavailable(key, found.reason or "no reason was recorded")
        return Quantity(
            found.value,
            key=key,
            unit=found.unit,
            low=found.low,
            high=found.high,
            n=found.n,
            source=found.source or "measured",
            covers=found.covers,
        )

    def get(self, key: str) -> Quantity | None:
        """The metric `key`, or None where it could not be measured. Raises KeyError for a name that is no metric."""
        try:
            return self.quantity(key)
        except Unavailable:
            return None

    def __getattr__(self, name: str) -> Quantity:
        if name in METRICS or name in self.metrics:
            return self.quantity(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
