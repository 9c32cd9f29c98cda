"""Runs in a folder of results, as pytest leaves them: each with its report, nothing measured."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builders import a_measurement, an_environment

from pytest_lem.model.measurement import Measurement
from pytest_lem.store.report import Report, RunInfo, save_report

TEST = "test_it.py::test_decode[b8]"
STARTED = datetime(2026, 1, 5, 9, tzinfo=UTC)


def name_of(day: int) -> str:
    """The run that began at nine on that day of January."""
    return f"202601{day:02}T090000000Z-aaaaaa"


def a_run(results: Path, name: str = name_of(5), *measurements: Measurement, **changes: Any) -> Path:
    """The folder of a run with its report; `run` changes what the report says of the run itself."""
    info = {"id": name, "started": STARTED, "ended": STARTED, "complete": True, "quick": False}
    known = {"environment": an_environment(), "measurements": measurements or (a_measurement(TEST),)}
    folder = results / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(run=RunInfo(**info | changes.pop("run", {})), **known | changes)
    return save_report(report, folder / "report.json").parent


def on_day(results: Path, day: int, *measurements: Measurement, **changes: Any) -> Path:
    """A run of that day of January 2026."""
    started = STARTED.replace(day=day)
    about = {"started": started, "ended": started} | changes.pop("run", {})
    return a_run(results, name_of(day), *measurements, run=about, **changes)
