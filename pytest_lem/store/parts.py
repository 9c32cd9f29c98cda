"""Runs that become one: found where the user points, read, copied together, put in place at once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_lem.model.errors import UsageError
from pytest_lem.store.aggregation import Aggregate
from pytest_lem.store.experiments import joined
from pytest_lem.store.merging import Part, conflicts, in_order, labels, merged_record, still_missing
from pytest_lem.store.names import new_name
from pytest_lem.store.raw import free_path
from pytest_lem.store.rebuild import UNENDED, Gathered, gather, rebuild
from pytest_lem.store.report import REPORT, Report, read_report
from pytest_lem.store.run import RECORD, Run, ignore_runs, unwritable

_PLACES = (RECORD, f"runs/*/{RECORD}", f".lem/runs/*/{RECORD}")


def merge(folders: Iterable[Path], results: Path, *, aggregate: Aggregate) -> Path:
    """Make one run under `results` out of the runs in `folders`, and return its folder.

    Raises UsageError where they cannot be mixed, a line a reason, and StoreError where one cannot be read or the new
    one not be written. Nothing is under `results` before all of it is.
    """
    parts = in_order(read_part(folder) for folder in folders)
    refused = conflicts(parts)
    if refused:
        raise UsageError("\n".join(refused))
    record = merged_record(parts, new_name(min(part.record.started for part in parts)))
    try:
        with _draft(results.resolve()) as draft:
            run = Run(draft / record.id, record)
            for label, part in zip(labels(parts), parts, strict=True):
                _copy(part, label, run.directory)
            run.write_record()
            _write_report(run, parts, aggregate)
            return _put(run.directory, results)
    except OSError as error:
        raise unwritable(results, error.strerror, "--results") from error


def find_run(folder: Path) -> Path:
    """The one run in `folder`: itself, or under `runs/` as --lem-results and a downloaded artifact have it.

    Raises UsageError where there is none, or several.
    """
    found = sorted({path.parent for place in _PLACES for path in folder.glob(place)})
    if not found:
        raise UsageError(f"{folder}: there is no run here; name a run's folder, like .lem/runs/<time>-<id>")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{folder}: there are {len(found)} runs here ({names}); name one of them")
    return found[0]


def read_part(folder: Path) -> Part:
    """The run in `folder`, with all it measured. Raises UsageError where there is not one, StoreError."""
    place = find_run(folder)
    record = Run.open(place).record
    found = gather(place)
    report = _own_report(place, found) or rebuild(place)
    return Part(
        name=str(folder),
        folder=place,
        record=record,
        measurements=found.measurements,
        unended=found.unended,
        missing=tuple(
            f"run {record.id}: {line}" if line == UNENDED or line.startswith("samples-") else line
            for line in report.missing
        ),
        ended=report.run.ended,
        samples=frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in place.glob("samples-*.jsonl")),
    )


def _own_report(place: Path, found: Gathered) -> Report | None:
    """The report that the run wrote at its end; None where it was killed first, or continued and killed then."""
    if not (place / REPORT).exists():
        return None
    report = read_report(place / REPORT)
    old = found.last is not None and (report.run.ended is None or report.run.ended < found.last)
    return None if old else report


@contextmanager
def _draft(results: Path) -> Iterator[Path]:
    """A folder beside `results`, gone in the end; inside it where the one above is another disk or is not ours."""
    above = results.parent
    above.mkdir(parents=True, exist_ok=True)
    mounted = results.exists() and results.stat().st_dev != above.stat().st_dev
    place = results if mounted or not os.access(above, os.W_OK) else above
    folder = Path(tempfile.mkdtemp(prefix=f".{results.name.lstrip('.')}-merge-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _copy(part: Part, label: str, into: Path) -> None:
    """All files of a run but its record and its report, under names that no other run's files have."""
    for source in sorted(path for path in part.folder.rglob("*") if path.is_file()):
        inside = source.relative_to(part.folder)
        if inside.name in (RECORD, REPORT) or inside.name.startswith("."):
            continue
        target = _target(inside, label, into)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _target(inside: Path, label: str, into: Path) -> Path:
    folder = into / inside.parent
    if inside.parts[0] == "raw":
        return free_path(folder, inside.stem)
    if inside.name.startswith("samples-"):
        return folder / inside.name.replace("samples-", f"samples-{label}-", 1)
    return folder / f"{label}-{inside.name}"


def _write_report(run: Run, parts: Sequence[Part], aggregate: Aggregate) -> None:
    found = gather(run.directory, aggregate=aggregate)
    run.write_report(
        joined(found.measurements, aggregate, run.record.plan),
        found.verdicts,
        still_missing(parts),
        searches=found.searches,
        phases=found.phases,
        ended=max((part.ended for part in parts if part.ended), default=None),
    )


def _put(draft: Path, results: Path) -> Path:
    runs = results / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    ignore_runs(results)
    return draft.rename(runs / draft.name)
