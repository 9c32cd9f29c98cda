"""A duel as it is kept: both sides as they really ran, every launch with its rounds, every pair, every look."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import StoreError
from pytest_lem.model.reading import MeterRecord
from pytest_lem.model.specs import EngineSpec, Frozen, ProtocolSpec, WorkloadSpec
from pytest_lem.stats.verdict import Direction, Status, Verdict
from pytest_lem.store.files import from_json, to_json, unique_slug, write_atomic

FOLDER = "duels"
Ended = Literal["verdict", "max-seconds", "invalid", "failed", "interrupted"]


class DuelSide(Frozen):
    """One side: what it is called, the engine as asked for and as it ran (its first launch), its commit if known.

    `launches` are its engine's processes in order, each with its warm-up and every one of its rounds.
    """

    words: str
    requested: EngineSpec
    observed: dict[str, Any] = Field(default_factory=dict)
    commit: str | None = None
    launches: tuple[Cycle, ...] = ()


class DuelPair(Frozen):
    """One pair: a round of each side, or (where the launch is the unit) a launch of each.

    `order` tells who came first: `AB` or `BA`. `launches` are the positions in A's and in B's launches, `rounds` those
    among the rounds of these launches (null where the launch is the unit). `a` and `b` are the metric's values, null
    where there is none; `reason` says why a pair does not count. `resting_cpu_s` is the CPU time that the other
    engine's processes took while it should have rested: beside A's round, and beside B's.
    """

    order: Literal["AB", "BA"]
    launches: tuple[int, int]
    rounds: tuple[int, int] | None = None
    a: float | None
    b: float | None
    reason: str | None = None
    resting_cpu_s: tuple[float, float] | None = None


class DuelLook(Frozen):
    """What was concluded after so many `pairs` and `launches` of each side; `status` is null where more were wanted."""

    pairs: int
    launches: int
    status: Status | None


class DuelRecord(Frozen):
    """One duel. `a` is the baseline, `b` the candidate; `threshold` and `direction` are the gate's.

    `unit` is what a pair consists of; with `launch`, `alternated` says why the engines could not both be loaded.
    `verdict` is null where `ended` says that there came none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.duel/1"] = Field(default="lem.duel/1", alias="schema")
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    test: str
    name: str = ""
    metric: str
    metric_unit: str
    threshold: float
    direction: Direction
    workload: WorkloadSpec
    protocol: ProtocolSpec
    meters: tuple[MeterRecord, ...] = ()
    unit: Literal["round", "launch"] = "round"
    alternated: str | None = None
    a: DuelSide
    b: DuelSide
    pairs: tuple[DuelPair, ...] = ()
    looks: tuple[DuelLook, ...] = ()
    ended: Ended
    verdict: Verdict | None = None


def write(run: Path, record: DuelRecord) -> Path:
    """Put `record` into the run's folder as `duels/<test and metric>.json`, over an earlier state of the same duel.

    Raises StoreError that names the path.
    """
    folder = run / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}") from error
    path = folder / f"{unique_slug('#'.join([record.test, record.name, record.metric]))}.json"
    write_atomic(path, to_json(record, indent=1) + "\n")
    return path


def read(path: Path) -> DuelRecord:
    """The duel kept at `path`. Raises StoreError that names it."""
    return from_json(DuelRecord, path)
