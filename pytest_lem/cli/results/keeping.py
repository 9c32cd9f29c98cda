"""`lem results rebuild` and `lem results prune`: what is kept of runs, made anew or cleared away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.store.pruning import Pruned

REBUILD = """\b
Examples:
  lem results rebuild              the index of all runs, from their files
  lem results rebuild 20260105T09  the report of a run that was killed before it wrote one"""
PRUNE = """\b
Examples:
  lem results prune --keep 100 --dry-run     what would go
  lem results prune --older-than 30d
  lem results prune --keep 20 --older-than 8w"""


def rebuild(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="a run that has no report (default: the index)")
    ] = None,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Make the index anew from the files, which are the truth; or the report of a run that was cut short.

    The index is never needed: whatever happens to it, the next command that reads it makes it again.
    """
    with refusing("results rebuild"):
        told, line = _index(results) if run is None else _report(run, results)
    if json:
        say_json(told)
    else:
        say(line)


def _index(results: Path) -> tuple[dict[str, object], str]:
    from pytest_lem.cli.results.index import opened

    with opened(results, anew=True) as index:
        (configurations,) = index.connection.execute("SELECT count(*) FROM configurations").fetchone()
        place, saved = index.place, index.saved
        told = {"index": str(place), "saved": saved, "runs": index.read, "configurations": configurations}
    what = f"{count(index.read, 'run')}, {count(configurations, 'configuration')}"
    return told, f"{place}: {what}" if saved else f"{place}: cannot be written; {what} were read"


def _report(run: str, results: Path) -> tuple[dict[str, object], str]:
    from pytest_lem.cli.results.index import late
    from pytest_lem.model.errors import UsageError
    from pytest_lem.store.alive import is_alive
    from pytest_lem.store.indexed import current_report
    from pytest_lem.store.rebuild import rebuild as rebuilt
    from pytest_lem.store.report import REPORT, save_report
    from pytest_lem.store.runs import run_place
    from pytest_lem.store.timelines import pack_left

    place = run_place(run, results, killed=True)
    if is_alive(place):
        raise UsageError(f"run {place.name} is still running; it writes its report at its end")
    if place.is_file() or current_report(place) is not None:
        raise UsageError(f"{place}: the report of its end is there; nothing is to be made anew")
    report = rebuilt(place, aggregate=late)
    path = save_report(report, place / REPORT)
    pack_left(place)
    told = {"report": str(path), "measurements": len(report.measurements), "missing": report.missing}
    return told, f"{path}: {count(len(report.measurements), 'measurement')}, {len(report.missing)} missing"


def prune(
    keep: Annotated[int | None, typer.Option(metavar="N", min=1, help="keep the newest N")] = None,
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="delete those that began longer ago: 30d, 12h, 8w")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and delete nothing")] = False,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Delete old runs: all but the newest N, or those of an age; with both options what both say.

    A run that a baseline holds stays, and one that is still running.
    """
    with refusing("results prune"):
        found = _chosen(keep, older_than, results)
        if not dry_run:
            from pytest_lem.store.pruning import delete

            gone = delete(found.gone, results)
        else:
            gone = list(found.gone)
    if json:
        say_json({"deleted": [] if dry_run else gone, "would_delete": gone if dry_run else [], "stay": found.stay})
        return
    for line in _lines(gone, found, dry_run=dry_run):
        say(line)


def _chosen(keep: int | None, older_than: str, results: Path) -> Pruned:
    from datetime import UTC, datetime

    from pytest_lem.cli.results.index import opened
    from pytest_lem.cli.results.times import age
    from pytest_lem.model.errors import UsageError
    from pytest_lem.store.pruning import chosen
    from pytest_lem.store.selection import Wanted, runs

    if keep is None and not older_than:
        raise UsageError("name what goes: --keep N, or --older-than 30d")
    before = datetime.now(UTC) - age(older_than, "--older-than") if older_than else None
    with opened(results) as index:
        rows = runs(index.connection, Wanted(), results).rows
    return chosen(rows, results, keep=keep, before=before)


def _lines(gone: list[str], found: Pruned, *, dry_run: bool) -> Iterator[str]:
    yield from gone
    yield from (f"{run} stays: {reason}" for run, reason in found.stay.items())
    yield f"{count(len(gone), 'run')} {'would be deleted' if dry_run else 'deleted'}"
