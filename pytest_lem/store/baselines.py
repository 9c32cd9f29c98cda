"""Baselines on disk: `<results>/baselines/<NAME>/<run>.json`, a small file a run, committed beside the code.

Each run has a file of its own, so that branches which accept runs never conflict.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_lem.model.baseline import BaselineEntry, BaselineRun
from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.store.acceptance import Acceptance, entries_of, entry_of, refusal
from pytest_lem.store.checkout import checkout
from pytest_lem.store.files import from_json, slug, to_json, unique_slug, write_atomic
from pytest_lem.store.history import FIRST, Baseline, Matched, Warmup, lacking
from pytest_lem.store.report import REPORT, Report, read_report
from pytest_lem.store.run import ignore_runs, unwritable

__all__ = [
    "Acceptance",
    "Baseline",
    "Matched",
    "MissingBaseline",
    "Warmup",
    "all_runs",
    "check_name",
    "entries_of",
    "entry_of",
    "lacking",
    "names",
    "open_baseline",
    "prune",
    "refusal",
    "save_run",
]
FOLDER = "baselines"
_OPTION = "--lem-baseline"
_NAME = "take up to 60 letters, digits, `_`, `-` and `.`"


class MissingBaseline(UsageError):
    """There is no baseline of that name yet, and no file either."""


def open_baseline(results: Path, name_or_path: str, *, option: str = _OPTION) -> Baseline:
    """The baseline of that name under `results`, or the file or folder itself: a report is a baseline of one run.

    Raises MissingBaseline (a UsageError) where there is none, UsageError where nothing in it can be compared with,
    StoreError where a file of it cannot be read; each is one line that names `option`.
    """
    place = _place(results, name_or_path, option)
    try:
        runs = [_one_run(place)] if place.is_file() or (place / REPORT).is_file() else _runs(place)
    except (StoreError, UsageError) as error:
        raise type(error)(f"{option}={name_or_path}: {error}") from None
    if not runs:
        raise MissingBaseline(
            f"{option}={name_or_path}: there is no run in {place}; accept one by {_how(name_or_path)}"
        )
    newest = max(run.epoch for run in runs)
    return Baseline(name_or_path, place, tuple(run for run in runs if run.epoch == newest))


def all_runs(results: Path, name: str) -> list[BaselineRun]:
    """Every accepted run of a baseline, old epochs first; none where there is no such baseline. Raises StoreError."""
    return _runs(_folder(results, name))


def names(results: Path) -> list[str]:
    """The baselines under `results`."""
    return sorted(path.name for path in (results / FOLDER).glob("*/") if any(path.glob("*.json")))


def save_run(results: Path, name: str, report: Report, *, new_epoch: bool = False) -> Path:
    """Accept the run of `report` into the baseline `name`, and return its file; what is there of it is replaced.

    `new_epoch` leaves the runs before it out of all later comparisons. Raises UsageError where nothing of the run may
    enter, or an older epoch holds it; StoreError where the file cannot be written.
    """
    folder = _folder(results, name)
    accepted = entries_of(report)
    if not accepted.entries:
        raise UsageError(f"run {report.run.id} cannot enter baseline {name}: {_why(accepted)}")
    known = _files(folder)
    epoch = max((run.epoch for _, run in known), default=0 if new_epoch else 1) + new_epoch
    held = next(((path, run) for path, run in known if run.id == report.run.id), None)
    if held and held[1].epoch < epoch and not new_epoch:
        raise UsageError(f"run {report.run.id} is of epoch {held[1].epoch} of {name}, which is over; measure a new one")
    path = held[0] if held else folder / f"{_file_name(report.run.id)}.json"
    _make(folder, results)
    here = checkout()
    run = _run(report, accepted.entries, saved=datetime.now(UTC), commit=here.commit if here else None, epoch=epoch)
    write_atomic(path, to_json(run) + "\n")
    return path


def _make(folder: Path, results: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore_runs(results)
    except OSError as error:
        raise unwritable(results, error.strerror) from None


def _file_name(run: str) -> str:
    return run if _is_name(run) else unique_slug(run)


def prune(results: Path, name: str, keep: int) -> list[BaselineRun]:
    """Delete all but the newest `keep` runs of a baseline, and return those that are gone.

    The runs that the newest epoch began with stay too: a slow creep is measured against them. Raises UsageError where
    there is no such baseline or `keep` is no count, and StoreError.
    """
    if keep < 1:
        raise UsageError(f"--keep={keep}: keep one run at least")
    known = _files(_folder(results, name))
    if not known:
        raise _missing(results, name, "NAME")
    newest = max(run.epoch for _, run in known)
    begun = [path for path, run in known if run.epoch == newest][:FIRST]
    gone = [(path, run) for path, run in known[:-keep] if path not in begun]
    for path, _ in gone:
        try:
            path.unlink()
        except OSError as error:
            raise StoreError(f"cannot delete {path}: {error.strerror}") from None
    return [run for _, run in gone]


def _place(results: Path, name_or_path: str, option: str) -> Path:
    if _is_name(name_or_path) and any((results / FOLDER / name_or_path).glob("*.json")):
        return results / FOLDER / name_or_path
    if Path(name_or_path).exists():
        return Path(name_or_path)
    raise _missing(results, name_or_path, option)


def _missing(results: Path, name: str, option: str) -> MissingBaseline:
    known = ", ".join(names(results))
    there = f"there are {known}" if known else "there is none yet"
    return MissingBaseline(
        f"{option}={name}: no baseline of that name in {results / FOLDER} ({there}); make one by {_how(name)}"
    )


def _how(name: str) -> str:
    return f"`lem baseline add {name}`" if _is_name(name) else "`lem baseline add NAME`"


def _is_name(text: str) -> bool:
    return bool(text) and slug(text) == text


def check_name(name: str, option: str) -> None:
    """Raise UsageError, one line that names `option`, where no baseline can be called so."""
    if not _is_name(name):
        raise UsageError(f"{option}={name}: no baseline can have this name: {_NAME}")


def _folder(results: Path, name: str) -> Path:
    if not _is_name(name):
        raise UsageError(f"{name!r} cannot name a baseline: {_NAME}")
    return results / FOLDER / name


def _files(folder: Path) -> list[tuple[Path, BaselineRun]]:
    """The files of a baseline with their runs: by epoch, and in one by when they were accepted."""
    found = [(path, from_json(BaselineRun, path)) for path in folder.glob("*.json")]
    return sorted(found, key=lambda each: (each[1].epoch, each[1].saved, each[1].id))


def _runs(folder: Path) -> list[BaselineRun]:
    return [run for _, run in _files(folder)]


def _one_run(place: Path) -> BaselineRun:
    """A report, in a file or a run's folder, or the file of one accepted run."""
    if place.is_file() and _schema(place) == BaselineRun.model_fields["schema_id"].default:
        return from_json(BaselineRun, place)
    report = read_report(place)
    accepted = entries_of(report)
    if not accepted.entries:
        raise UsageError(f"nothing in it can be compared with: {_why(accepted)}")
    return _run(report, accepted.entries, saved=report.run.ended or report.run.started)


def _schema(place: Path) -> object:
    try:
        found = json.loads(place.read_bytes())
    except (OSError, ValueError):  # whoever reads it as a report says what is wrong with it
        return None
    return found.get("schema") if isinstance(found, dict) else None


def _run(report: Report, entries: Sequence[BaselineEntry], **more: Any) -> BaselineRun:
    return BaselineRun(**{"id": report.run.id, "entries": tuple(entries)} | more)


def _why(accepted: Acceptance) -> str:
    first, *others = accepted.left_out or ("it measured nothing",)
    return f"{first} (and {len(others)} more)" if others else first
