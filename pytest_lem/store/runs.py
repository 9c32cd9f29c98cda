"""The runs in a folder of results, and the one that a user means."""

from __future__ import annotations

from pathlib import Path

from pytest_lem.model.errors import UsageError
from pytest_lem.store.parts import find_run
from pytest_lem.store.report import REPORT

RUNS = "runs"


def reported(results: Path) -> list[Path]:
    """The folders of all runs that have a report, the oldest first: their names begin with the time."""
    return sorted(path.parent for path in (results / RUNS).glob(f"*/{REPORT}"))


def run_place(run: str | None, results: Path) -> Path:
    """The folder or report that `run` means: a run's id, its folder, a report.json, a folder that holds a run.

    None: the newest run. Raises UsageError where there is none.
    """
    if run is None:
        known = reported(results)
        if not known:
            raise UsageError(f"there is no run with a report in {results / RUNS}; name one, or measure first")
        return known[-1]
    if (results / RUNS / run / REPORT).is_file():
        return results / RUNS / run
    place = Path(run)
    if not place.exists():
        raise UsageError(f"{run}: there is no such run in {results / RUNS}, and no such file")
    return place if place.is_file() or (place / REPORT).is_file() else find_run(place)
