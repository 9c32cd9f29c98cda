"""`lem report`: runs as a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, count, refusing, say, say_json

REPORT_EXAMPLES = """\b
Examples:
  lem report                           the newest run as report.html
  lem report --out public/index.html   somewhere else
  lem report RUN RUN RUN               the newest of three; the others are its history
  lem report .lem/runs/*Z-*            every run"""


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="runs by id, folder or report.json (default: the newest)"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the page goes")] = Path("report.html"),
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Write a run as one HTML file that opens without a network: tables, charts, verdicts, environment.

    Several runs: the newest is shown, the others are its history. Exit status: 0, or 2 where a run cannot be read.
    """
    with refusing("report"):
        found = _written(runs or [None], out, results)
    if json:
        say_json({"page": str(out), "run": found[-1], "earlier": found[:-1]})
        return
    earlier = f", with {count(len(found) - 1, 'earlier run')}" if len(found) > 1 else ""
    say(f"{out}: run {found[-1]}{earlier}")


def _written(runs: list[str] | list[None], out: Path, results: Path) -> list[str]:
    """Write the page; the runs' ids in the order of time. Raises LemError before it writes anything."""
    from pytest_lem.model.errors import UsageError
    from pytest_lem.render.html.page import report_page
    from pytest_lem.store.files import write_atomic
    from pytest_lem.store.report import read_report
    from pytest_lem.store.runs import run_place

    if out.is_dir():
        raise UsageError(f"--out={out}: that is a folder; name a file")
    if not out.parent.is_dir():
        raise UsageError(f"--out={out}: there is no folder {out.parent}; make it, or name another")
    # A run named twice is one run.
    reports = {found.run.id: found for run in runs for found in [read_report(run_place(run, results))]}
    write_atomic(out, report_page(list(reports.values())))
    return sorted(reports, key=lambda run: reports[run].run.started)
