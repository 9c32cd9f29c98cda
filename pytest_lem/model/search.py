"""What a search for the cheapest setting tried and found. Frozen data, nothing computed here."""

from __future__ import annotations

from typing import Literal

from pytest_lem.model.frozen import Frozen

Setting = int | float


class SearchPoint(Frozen):
    """One setting that was measured: the measurement's name in its test, the objective with its 95 % interval.

    `meets` is false where a bound of the service level was missed, with the reason in `why`; the objective is null
    where the engine could not run it. `rounds` counts the measured ones. `latency_ms` is the front's other axis.
    """

    value: Setting
    name: str
    meets: bool
    why: str = ""
    objective: float | None = None
    low: float | None = None
    high: float | None = None
    latency_ms: float | None = None
    rounds: int = 0


class Search(Frozen):
    """A search of one test: which setting of `over` has the best `objective` of those that keep the bounds `slo`.

    `points` are in the order in which they were measured, `candidates` all that might have been. `best` is null where
    nothing keeps the bounds. `ties` are settings whose interval overlaps that of the best. `front` holds the settings
    that no other beats in both the objective and `latency`, the metric named (energy–latency Pareto front).
    """

    test: str
    name: str = ""
    over: str
    objective: str
    unit: str
    better: Literal["lower", "higher"]
    slo: dict[str, float]
    candidates: tuple[Setting, ...]
    points: tuple[SearchPoint, ...]
    best: Setting | None
    ties: tuple[Setting, ...] = ()
    latency: str
    front: tuple[Setting, ...] = ()
    rounds: int = 0
