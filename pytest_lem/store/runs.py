"""The runs in a folder of results, and the one that a user means."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_lem.model.errors import UsageError
from pytest_lem.store.report import REPORT

RUNS = "runs"
RECORD = "run.json"  # as store.run has it
LATEST = "latest"
_SHOWN = 4


def reported(results: Path) -> list[Path]:
    """The folders of all runs that have a report, the oldest first: their names begin with the time."""
    return [folder for folder in _folders(results) if _is_run(folder, killed=False)]


def run_place(run: str | None, results: Path, *, killed: bool = False) -> Path:
    """The folder or report that `run` means: a run's id or how it begins, its folder, a report.json, `latest`.

    A folder may also be one that holds a run, as an artifact of CI does. None: the newest run. `killed` allows for runs
    that have no report. Raises UsageError where there is none, or where several begin so.
    """
    if run is None or run == LATEST:
        return _newest(results, killed=killed)
    folder = results / RUNS / run
    if _is_run(folder, killed=killed):
        return folder
    place = Path(run)
    if place.exists():
        return place if place.is_file() or (place / REPORT).is_file() else _inside(place)
    return _beginning(run, results, killed=killed)


def _newest(results: Path, *, killed: bool) -> Path:
    newest = next((folder for folder in reversed(_folders(results)) if _is_run(folder, killed=killed)), None)
    if newest is None:
        what = "run" if killed else "run with a report"
        raise UsageError(f"there is no {what} in {results / RUNS}; name one, or measure first")
    return newest


def _beginning(text: str, results: Path, *, killed: bool) -> Path:
    found = [each for each in _folders(results) if each.name.startswith(text) and _is_run(each, killed=True)]
    if not found:
        raise UsageError(f"{text}: there is no such run in {results / RUNS}, and no such file")
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
        raise UsageError(f"{text}: {len(found)} runs begin so ({names}); name more of it")
    if not _is_run(found[0], killed=killed):
        mend = f"`lem results rebuild {found[0].name}` makes one of what it measured"
        raise UsageError(f"run {found[0].name} has no report, as it was cut short or is still running; {mend}")
    return found[0]


def _folders(results: Path) -> list[Path]:
    """All folders that may be a run's, by name: of ten thousand few are asked for more than that."""
    try:
        names = os.listdir(results / RUNS)
    except OSError:
        return []
    return [results / RUNS / name for name in sorted(names) if not name.startswith(".")]


def _is_run(folder: Path, *, killed: bool) -> bool:
    return (folder / REPORT).is_file() or (killed and (folder / RECORD).is_file())


def _inside(place: Path) -> Path:
    from pytest_lem.store.parts import find_run

    return find_run(place)
