"""`lem badge`: a picture of the newest run for a README."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REFUSED = 2


def badge(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="a run's folder or report.json (default: the newest)")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="where the picture goes")] = Path("energy.svg"),
    results: Annotated[Path, typer.Option(metavar="DIR", help="where runs are kept")] = Path(".lem"),
) -> None:
    """Draw what a token costs, coloured as the run's gates say."""
    from pytest_lem.model.errors import LemError

    try:
        place = _drawn(run, out, results)
    except LemError as error:
        typer.echo(f"lem badge: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    typer.echo(f"{out}: {place}")


def _drawn(run: Path | None, out: Path, results: Path) -> str:
    from pytest_lem.model.errors import UsageError
    from pytest_lem.render.badge import badge as draw
    from pytest_lem.store.files import write_atomic
    from pytest_lem.store.report import REPORT, read_report

    known = sorted(path.parent for path in (results / "runs").glob(f"*/{REPORT}"))
    if run is None and not known:
        raise UsageError(f"there is no run with a report in {results}; name one, or its --results")
    report = read_report(run or known[-1])
    write_atomic(out, draw(report.measurements, report.verdicts))
    return f"run {report.run.id}"
