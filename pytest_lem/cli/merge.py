"""`lem merge`: the shards of a run as one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import FOUND, HERE, Results, refusing, say

if TYPE_CHECKING:
    from pytest_lem.store.report import Report

MERGE = """\b
Examples:
  lem merge shard-1/ shard-2/ --results merged   the artifacts of two shards
  lem merge RUN RUN --json report.json           and a copy of the report"""


def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="a run's folder, or one that holds one, as an artifact of CI does"),
    ],
    results: Results = HERE,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="write a copy of report.json to FILE")] = None,
) -> None:
    """Make one run out of several, such as the shards of --lem-shard.

    Exit status: 0, or 1 where something is missing or a budget is broken, 2 where the runs cannot be mixed.
    """
    with refusing("merge"):
        report, folder = _merged(runs, results, json)
    _show(report, folder)
    broken = any(verdict.status == "failed" for verdict in report.verdicts)
    raise typer.Exit(FOUND if broken or not report.run.complete else 0)


def _merged(runs: list[Path], results: Path, copy: Path | None) -> tuple[Report, Path]:
    from pytest_lem.model.errors import UsageError
    from pytest_lem.reporting import late_metrics
    from pytest_lem.store.parts import merge as merge_runs
    from pytest_lem.store.report import read_report, save_report

    if copy and not copy.parent.is_dir():
        raise UsageError(f"--json={copy}: there is no folder {copy.parent}; name a file in one that is there")
    folder = merge_runs(runs, results, aggregate=late_metrics)
    report = read_report(folder)
    if copy:
        save_report(report, copy)
    return report, folder


def _show(report: Report, folder: Path) -> None:
    from pytest_lem.render.cheapest import cheapest_line, has_configurations
    from pytest_lem.render.closing import closing
    from pytest_lem.render.terminal import console_for, print_table

    if report.measurements:
        width, colour = shutil.get_terminal_size().columns, sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print_table(report.measurements, console_for(sys.stdout, width=width, colour=colour))
    for line in [*closing(report.verdicts, report.missing), f"report: {folder / 'report.json'}"]:
        say(line)
    if has_configurations(report.measurements):
        say(cheapest_line(report.measurements))
