"""`lem results show`: one run, as it was told at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.cli.results.reading import Read
    from pytest_lem.model.cycle import Cycle
    from pytest_lem.model.measurement import Measurement
    from pytest_lem.store.report import Report

SHOW = """\b
Examples:
  lem results show                  the newest run
  lem results show 20260105T09      the one whose id begins so
  lem results show RUN --json       without its rounds, which report.json has"""


def show(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="a run's id or its beginning, `latest`, a folder or report.json"),
    ] = None,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Show what a run measured, where, and how it was judged; of one that was cut short, as far as it came."""
    with refusing("results show"):
        from pytest_lem.cli.results.reading import read

        found = read(run, results)
        if json:
            say_json(_plain(found))
            return
        for line in _about(found):
            say(line)
        _table(found.report)
        for line in _below(found.report):
            say(line)


def _about(found: Read) -> Iterator[str]:
    from pytest_lem.cli.results.words import machine

    run, host = found.report.run, found.report.environment
    yield f"run {run.id}: {found.outcome}{', quick' if run.quick else ''}"
    ended = f" to {run.ended:%H:%M}" if run.ended else ""
    yield f"measured: {run.started:%Y-%m-%d %H:%M}{ended} UTC"
    boards = [gpu.name for gpu in host.gpus]
    counted = ", ".join(f"{boards.count(name)} × {name}" for name in dict.fromkeys(boards))
    yield f"machine: {machine(host.host, counted, host.cpu)}"
    if host.git:
        branch = f" on {host.git.branch}" if host.git.branch else ""
        yield f"commit: {host.git.commit}{branch}{', with changes' if host.git.changed else ''}"
    yield f"files: {found.place}"


def _table(report: Report) -> None:
    import os
    import shutil
    import sys

    from pytest_lem.render.terminal import console_for, print_table

    if report.measurements:
        width, colour = shutil.get_terminal_size().columns, sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print_table(report.measurements, console_for(sys.stdout, width=width, colour=colour))


def _below(report: Report) -> list[str]:
    from pytest_lem.render.cheapest import cheapest_line, has_configurations
    from pytest_lem.render.closing import closing
    from pytest_lem.render.found import found_lines

    lines = [*found_lines(report.searches, report.phases), *closing(report.verdicts, report.missing)]
    return [*lines, cheapest_line(report.measurements)] if has_configurations(report.measurements) else lines


def _plain(found: Read) -> dict[str, Any]:
    report = found.report
    return {
        "run": report.run,
        "outcome": found.outcome,
        "place": str(found.place),
        "environment": report.environment,
        "measurements": [_measurement(each) for each in report.measurements],
        "verdicts": report.verdicts,
        "searches": report.searches,
        "phases": report.phases,
        "missing": report.missing,
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    told = measurement.model_dump(mode="json", exclude={"cycles"})
    return told | {"cycles": [_cycle(cycle) for cycle in measurement.cycles]}


def _cycle(cycle: Cycle) -> dict[str, Any]:
    told = cycle.model_dump(mode="json", exclude={"rounds", "warmup_rounds"})
    valid = sum(each.valid for each in cycle.rounds)
    return told | {"warmup_rounds": len(cycle.warmup_rounds), "rounds": len(cycle.rounds), "valid_rounds": valid}
