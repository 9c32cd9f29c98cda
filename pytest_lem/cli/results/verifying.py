"""`lem results verify`: whether a run's joules are all there, and counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import FOUND, HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_lem.store.verification import Verified

VERIFY = """\b
Examples:
  lem results verify             the newest run
  lem results verify RUN --json  with what its raw files come to"""


def verify(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="a run's id or its beginning, or its folder (default: newest)")
    ] = None,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Check a run's files against each other, and sum its raw readings anew.

    Every rank is there, no GPU twice, tokens and windows agree, energy is counted once. Exit status: 1 where something
    does not hold, a line each.
    """
    with refusing("results verify"):
        found = _checked(run, results)
    if json:
        say_json({"run": found.report.run.id, "faults": found.faults, "raw_metrics": found.raw_metrics})
    else:
        for line in found.faults or [_whole(found)]:
            say(line)
    raise typer.Exit(FOUND if found.faults else 0)


def _checked(run: str | None, results: Path) -> Verified:
    from pytest_lem.cli.results.index import late
    from pytest_lem.model.errors import UsageError
    from pytest_lem.store.alive import is_alive
    from pytest_lem.store.runs import run_place
    from pytest_lem.store.verification import verify as checked

    place = run_place(run, results, killed=True)
    if place.is_file():
        raise UsageError(f"{place}: a report alone has nothing to be checked against; name its run's folder")
    if is_alive(place):
        raise UsageError(f"run {place.name} is still running; wait for its end")
    return checked(place, late)


def _whole(found: Verified) -> str:
    measurements = found.report.measurements
    rounds = [
        round_ for each in measurements for cycle in each.cycles for round_ in (*cycle.warmup_rounds, *cycle.rounds)
    ]
    told = f"run {found.report.run.id}: {count(len(measurements), 'measurement')}, {count(len(rounds), 'round')}"
    if not any(round_.devices for round_ in rounds):
        return f"{told}; every rank is there, all files agree; no meter read a device: no joules, and nothing in raw/"
    return f"{told}; every rank is there, no GPU twice, all files agree, energy counted once"
