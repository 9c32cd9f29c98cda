"""`lem results export` and `lem results import`: tables for programs and papers, other tools' files among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.model.foreign import Foreign
    from pytest_lem.render.entries import Entry
    from pytest_lem.store.report import Report

FORMATS = ("csv", "parquet", "json", "markdown", "latex")
ENDINGS = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".md": "markdown", ".tex": "latex"}
EXPORT_EXAMPLES = """\b
Examples:
  lem results export                                  the newest run as CSV
  lem results export RUN RUN --out table.tex          two runs as a table of LaTeX
  lem results export --metric power_w --format json   one metric, with its interval, source and reason
  lem results export RUN optimum --format markdown    beside what was imported as optimum"""
IMPORT_EXAMPLES = """\b
Examples:
  lem results import benchmark_report.json --name optimum   of optimum-benchmark
  lem results import speed.json                             of pytest --benchmark-json=speed.json"""


def add_to(app: typer.Typer) -> None:
    """Make both commands of `app`."""
    app.command(epilog=EXPORT_EXAMPLES)(export)
    app.command("import", epilog=IMPORT_EXAMPLES)(import_file)


def export(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="runs by id, folder or report.json, imports by name (default: newest run)"),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(FORMATS), help="default: as the file ends, else csv"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="where it goes (default: printed)")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="this metric, again for more; all (default: usual ones)")
    ] = None,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Write runs as one table, a row for each configuration.

    CSV, JSON and Parquet hold every digit, each metric with its interval, unit, source and the reason where it is
    absent; Markdown and LaTeX are for people. Exit status: 0, or 2 where a run cannot be read.
    """
    from pytest_lem.render.entries import entries
    from pytest_lem.store.files import write_atomic

    with refusing("results export"):
        form = _format(kind, out, json=json)
        reports, foreign = _named(runs or [None], results)
        found = entries(reports, list(foreign.values()))
        text = _rendered(found, form, metric or [])
        if out is not None:
            write_atomic(out, text)
    if out is None:
        typer.echo(text, nl=False)
    elif json:
        told = {"file": str(out), "format": form, "rows": len(found)}
        say_json(told | {"runs": [report.run.id for report in reports], "imports": list(foreign)})
    else:
        say(f"{out}: {count(len(found), 'row')} as {form}")


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="of optimum-benchmark or pytest-benchmark")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="what to call it (default: tool and file)")] = None,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """Keep another tool's report, to be exported beside runs. It is marked as foreign, and never a baseline.

    Exit status: 0, or 2 where the file is none that is known.
    """
    with refusing("results import"):
        found, called, place = _imported(file, name, results)
    if json:
        told = {"name": called, "file": str(place), "tool": found.tool, "version": found.version or None}
        say_json(told | {"rows": [row.name for row in found.rows], "means": found.means})
        return
    say(f"{place}: {count(len(found.rows), 'row')} of {found.tool} {found.version}".rstrip())
    for line in found.means:
        say(f"  {line}")
    say(f"beside a run: lem results export RUN {called} --format markdown")


def _format(kind: str | None, out: Path | None, *, json: bool) -> str:
    """One of FORMATS. Raises UsageError where what was asked for cannot be."""
    from pytest_lem.model.errors import UsageError

    if kind is not None and kind not in FORMATS:
        raise UsageError(f"--format={kind}: unknown format; known: {', '.join(FORMATS)}")
    if out is not None and out.is_dir():
        raise UsageError(f"--out={out}: that is a folder; name a file")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out={out}: there is no folder {out.parent}; make it, or name another")
    if out is None and json and kind not in (None, "json"):
        raise UsageError(f"--json: prints JSON, not {kind}; leave it out, or name a file with --out")
    found = kind or (ENDINGS.get(out.suffix.lower(), "csv") if out else "json" if json else "csv")
    if found == "parquet" and out is None:
        raise UsageError("--format=parquet: that is no text; name a file with --out")
    return found


def _named(names: list[str] | list[None], results: Path) -> tuple[list[Report], dict[str, Foreign]]:
    """The runs and imports that were named, each once. Raises UsageError and StoreError."""
    from pytest_lem.store.foreign.shelf import from_shelf
    from pytest_lem.store.report import REPORT, read_report
    from pytest_lem.store.runs import LATEST, RUNS, run_place

    reports: dict[str, Report] = {}
    foreign: dict[str, Foreign] = {}
    for name in names:
        is_run = name in (None, LATEST) or (results / RUNS / str(name) / REPORT).is_file()
        shelf = None if is_run or name is None else from_shelf(name, results)
        if shelf is not None and name is not None:
            foreign[name] = shelf
        else:
            report = read_report(run_place(name, results))
            reports[report.run.id] = report
    return list(reports.values()), foreign


def _rendered(found: list[Entry], form: str, metrics: list[str]) -> str | bytes:
    from pytest_lem.render import flat
    from pytest_lem.render.latex import as_latex
    from pytest_lem.render.markdown import as_markdown
    from pytest_lem.render.table import table

    if form == "markdown":
        return as_markdown(found, metrics)
    if form == "latex":
        return as_latex(found, metrics)
    rows = table(found, metrics)
    if form == "parquet":
        return flat.as_parquet(rows)
    return flat.as_json(rows) if form == "json" else flat.as_csv(rows)


def _imported(file: Path, name: str | None, results: Path) -> tuple[Foreign, str, Path]:
    from pytest_lem.store.foreign.reading import read_foreign
    from pytest_lem.store.foreign.shelf import fitting_name, shelve

    found = read_foreign(file)
    called = fitting_name(found.tool, file) if name is None else name
    return found, called, shelve(found, called, results)
