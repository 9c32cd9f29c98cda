"""`lem doctor`: what keeps this machine from measuring well."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import FOUND, HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_lem.doctor.finding import Finding

DOCTOR = """\b
Examples:
  lem doctor                              look at everything
  lem doctor && pytest benchmarks/        measure only where it can be measured
  lem doctor --json | jq '.[] | select(.level != "ok")'"""


def doctor(
    python: Annotated[
        str, typer.Option(metavar="PATH", help="the engines' interpreter", show_default="this one")
    ] = sys.executable,
    results: Results = HERE,
    as_json: AsJson = False,
) -> None:
    """Look at drivers, counters, permissions, engines, leases and disks; each finding with its mend.

    Nothing is set and no engine is started. Exit status: 0 where it can be measured here (warnings may say that it
    could be done better), 1 where it cannot, 2 where the command is wrong.
    """
    with refusing("doctor"):
        found = _looked(python, results)
    if as_json:
        say_json(found)
    else:
        _tell(found)
    if any(each.level == "error" for each in found):
        raise typer.Exit(FOUND)


def _looked(python: str, results: Path) -> list[Finding]:
    import os

    from pytest_lem.doctor.boards import boards
    from pytest_lem.doctor.places import places
    from pytest_lem.doctor.software import engines, joules, packages

    here = os.environ
    return [*packages(), *engines(python), *boards(here), *joules(here), *places(results, here)]


def _tell(found: list[Finding]) -> None:
    width = max(len(each.about) for each in found)
    for each in found:
        say(f"{each.level:<7}  {each.about:<{width}}  {each.line}")
        if each.mend:
            say(f"{'':<7}  {'':<{width}}  → {each.mend}")
    levels = Counter(each.level for each in found)
    say(f"{count(levels['error'], 'error')}, {count(levels['warning'], 'warning')}")
