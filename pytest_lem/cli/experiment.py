"""`lem experiment` and `lem campaign`: experiment files measured by pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pytest_lem.cli.output import AsJson, refusing
from pytest_lem.cli.underneath import passed, run_pytest

EXPERIMENT = """Examples:

  lem experiment llama.lem.yaml

  lem experiment --quick experiments/

  lem experiment llama.lem.yaml --baseline main -- -k b8 -x"""
CAMPAIGN = """Examples:

  lem campaign night.lem.yaml

  lem campaign night.lem.yaml --cycles 5 -- --lem-resume"""

ResultsDir = Annotated[
    Path | None, typer.Option("--results", metavar="DIR", help="where the run is kept (default: .lem)")
]
Baseline = Annotated[str | None, typer.Option(metavar="NAME", help="compare with the runs of this baseline")]
Cycles = Annotated[int | None, typer.Option(metavar="N", help="launches of each engine, over what the files say")]
Quick = Annotated[bool, typer.Option("--quick", help="a first look: few and short rounds, not for baselines")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show every value and where it is said; measure nothing")]


def experiment(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="experiment files, or folders of them")],
    results: ResultsDir = None,
    baseline: Baseline = None,
    cycles: Cycles = None,
    quick: Quick = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure experiment files; what stands behind -- is pytest's.

    Exit status: pytest's own (0: all well, 1: a budget or a gate is broken, 2: interrupted, 4 and 5: nothing to run).
    """
    with refusing("experiment"):
        for file in files:
            _check_name(file)
        _run(files, _options(results, baseline, cycles, quick=quick, dry_run=dry_run), passed(ctx), as_json, dry_run)


def campaign(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a file with campaign: in it")],
    results: ResultsDir = None,
    baseline: Baseline = None,
    cycles: Cycles = None,
    quick: Quick = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure the files of a campaign, in its order, with its cycles and gaps; what stands behind -- is pytest's.

    Exit status: pytest's own, as for lem experiment.
    """
    with refusing("campaign"):
        _check_name(file)
        _check_campaign(file)
        _run([file], _options(results, baseline, cycles, quick=quick, dry_run=dry_run), passed(ctx), as_json, dry_run)


def _options(
    results: Path | None, baseline: str | None, cycles: int | None, *, quick: bool, dry_run: bool
) -> list[str]:
    """The same in pytest's words."""
    given = {"--lem-results": results, "--lem-baseline": baseline, "--lem-cycles": cycles}
    flags = [name for name, on in (("--lem-quick", quick), ("--lem-explain", dry_run)) if on]
    return [f"{name}={value}" for name, value in given.items() if value is not None] + flags


def _run(files: list[Path], options: list[str], rest: list[str], as_json: bool, dry_run: bool) -> None:
    from tempfile import TemporaryDirectory

    from pytest_lem.model.errors import UsageError

    arguments = [*map(str, files), *options]
    if not as_json:
        raise typer.Exit(run_pytest([*arguments, *rest]))
    if dry_run:
        raise UsageError("--dry-run --json: nothing is measured, so there is no report; see lem config show --json")
    with TemporaryDirectory(prefix="lem-") as folder:
        report = Path(folder) / "report.json"
        status = run_pytest([*arguments, f"--lem-json={report}", *rest], to_stderr=True)
        typer.echo(report.read_text(encoding="utf-8") if report.is_file() else "null")
    raise typer.Exit(status)


def _check_name(file: Path) -> None:
    """Refuse at once what pytest would not know for an experiment."""
    from pytest_lem.experiment.experiment import SUFFIX, is_experiment
    from pytest_lem.model.errors import UsageError

    if not file.exists() and "::" not in str(file):
        raise UsageError(f"{file}: there is no such file")
    if file.is_file() and not is_experiment(file.name):
        raise UsageError(f"{file}: an experiment file is called NAME{SUFFIX}; rename it")


def _check_campaign(file: Path) -> None:
    from pytest_lem.experiment.campaign import read_campaign
    from pytest_lem.model.errors import UsageError

    if read_campaign(file, str) is None:
        raise UsageError(f"{file}: no campaign: names files in it; lem experiment {file} measures it")
