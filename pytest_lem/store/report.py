"""`report.json`: everything a run found, in the shape that other programs read."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.search import Search
from pytest_lem.model.specs import Frozen
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.environment import Environment
from pytest_lem.store.files import from_json, to_json, write_atomic

REPORT = "report.json"


class RunInfo(Frozen):
    """One pytest invocation: `complete` is false when something planned has no result. Times are UTC."""

    id: str
    started: datetime
    ended: datetime | None
    complete: bool
    quick: bool
    options: dict[str, Any] = Field(default_factory=dict)


class Report(Frozen):
    """The contract's report. `missing` holds one line for each thing that has no result: what, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.report/1"] = Field(default="lem.report/1", alias="schema")
    run: RunInfo
    environment: Environment
    measurements: tuple[Measurement, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    searches: tuple[Search, ...] = ()
    phases: tuple[Phases, ...] = ()
    missing: tuple[str, ...] = ()


def save_report(report: Report, path: Path) -> Path:
    """Write `report` to `path` atomically. Raises StoreError; an older report then still stands."""
    write_atomic(path, to_json(report, indent=1) + "\n")
    return path


def read_report(path: Path) -> Report:
    """The report at `path`, or in the run directory `path`. Raises StoreError that names the file."""
    return from_json(Report, path / REPORT if path.is_dir() else path)
