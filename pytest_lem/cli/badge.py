"""`lem badge`: a picture of the newest run for a README."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_lem.cli.output import HERE, Results, refusing, say

BADGE = """\b
Examples:
  lem badge                      the newest run, as energy.svg
  lem badge --out docs/energy.svg"""


def badge(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="a run's id, folder or report.json (default: the newest)")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the picture goes")] = Path("energy.svg"),
    results: Results = HERE,
) -> None:
    """Draw what a token costs, coloured as the run's gates say."""
    with refusing("badge"):
        say(f"{out}: {_drawn(run, out, results)}")


def _drawn(run: str | None, out: Path, results: Path) -> str:
    from pytest_lem.render.badge import badge as draw
    from pytest_lem.store.files import write_atomic
    from pytest_lem.store.report import read_report
    from pytest_lem.store.runs import run_place

    report = read_report(run_place(run, results))
    write_atomic(out, draw(report.measurements, report.verdicts))
    return f"run {report.run.id}"
