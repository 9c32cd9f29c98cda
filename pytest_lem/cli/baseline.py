"""`lem baseline`: the runs that gates compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.model.baseline import BaselineMetric
    from pytest_lem.store.baselines import Baseline
    from pytest_lem.store.report import Report

Name = Annotated[str, typer.Argument(metavar="NAME", help="the baseline's name, such as main")]
Run = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="a run's id, folder or report.json (default: the newest run)")
]
_HEADLINES = ("joules_per_token", "tokens_per_second", "gpu_joules", "seconds")

ADD = """\b
Examples:
  lem baseline add main                   the newest run
  lem baseline add main path/to/artifact  a run that CI kept"""
ACCEPT = """\b
Examples:
  lem baseline accept main   it costs more from here on, and that is meant"""
SHOW = """\b
Examples:
  lem baseline show main
  lem baseline show main --json | jq .lacking"""
PRUNE = """\b
Examples:
  lem baseline prune main --keep 20"""

app = typer.Typer(help="The accepted runs that gates compare with.", rich_markup_mode=None, no_args_is_help=True)


@app.command(epilog=ADD)
def add(name: Name, run: Run = None, results: Results = HERE, as_json: AsJson = False) -> None:
    """Accept a run into a baseline: later runs are compared with it and those before it."""
    _accept(name, run, results, as_json, new_epoch=False)


@app.command(epilog=ACCEPT)
def accept(name: Name, run: Run = None, results: Results = HERE, as_json: AsJson = False) -> None:
    """Accept a change: a new epoch begins with this run, and later ones are compared with none before it."""
    _accept(name, run, results, as_json, new_epoch=True)


@app.command(epilog=SHOW)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE")], results: Results = HERE, as_json: AsJson = False
) -> None:
    """Show a baseline's runs, what they came to, and what its gates still lack."""
    with refusing("baseline show"):
        from pytest_lem.store.baselines import lacking, open_baseline

        found = open_baseline(results, name, option="NAME")
        if as_json:
            say_json(_told(name, found))
            return
        say(f"baseline {name}: {count(len(found.runs), 'run')}, epoch {found.epoch}")
        for run in found.runs:
            commit = f", commit {run.commit[:12]}" if run.commit else ""
            measured = count(len(run.entries), "measurement")
            say(f"  {run.id}: accepted {run.saved:%Y-%m-%d %H:%M} UTC{commit}, {measured}")
        for line in [*_measured(found), *lacking(found)]:
            say(line)


@app.command(epilog=PRUNE)
def prune(
    name: Name,
    keep: Annotated[int, typer.Option(metavar="N", help="how many of the newest runs stay")],
    results: Results = HERE,
    as_json: AsJson = False,
) -> None:
    """Delete old runs of a baseline; those that its epoch began with stay, since a slow creep shows against them."""
    with refusing("baseline prune"):
        from pytest_lem.store.baselines import all_runs
        from pytest_lem.store.baselines import prune as prune_runs

        gone = prune_runs(results, name, keep)
        kept = len(all_runs(results, name))
        if as_json:
            say_json({"baseline": name, "deleted": len(gone), "kept": kept})
        else:
            say(f"baseline {name}: {count(len(gone), 'run')} deleted, {kept} kept")


def _accept(name: str, run: str | None, results: Path, as_json: bool, *, new_epoch: bool) -> None:
    with refusing("baseline accept" if new_epoch else "baseline add"):
        from pytest_lem.store.baselines import entries_of, lacking, open_baseline, save_run

        report = _report(run, results)
        path = save_run(results, name, report, new_epoch=new_epoch)
        found = open_baseline(results, name, option="NAME")
        if as_json:
            say_json({"accepted": path.name, "left_out": entries_of(report).left_out, **_told(name, found)})
            return
        say(f"baseline {name}: accepted {path.name}; {count(len(found.runs), 'run')} in epoch {found.epoch}")
        for line in [*entries_of(report).left_out, *lacking(found)]:
            say(line)


def _told(name: str, found: Baseline) -> dict[str, Any]:
    from pytest_lem.store.baselines import lacking

    runs = [
        {"id": run.id, "saved": run.saved, "commit": run.commit, "measurements": len(run.entries)} for run in found.runs
    ]
    return {"baseline": name, "epoch": found.epoch, "runs": runs, "lacking": list(lacking(found))}


def _report(run: str | None, results: Path) -> Report:
    from pytest_lem.store.report import read_report
    from pytest_lem.store.runs import run_place

    return read_report(run_place(run, results))


def _measured(baseline: Baseline) -> Iterator[str]:
    for test, name in baseline.measured:
        keys = [key for entry in baseline.entries(test, name) for key in entry.metrics]
        key = next((key for key in (*_HEADLINES, *keys) if key in keys), None)
        if key is not None:
            yield f"{test}{f' {name!r}' if name else ''}: {_summary(key, baseline.history(test, name, key))}"


def _summary(key: str, history: list[BaselineMetric]) -> str:
    """`joules_per_token 0.412 J/tok, 0.405 J/tok to 0.419 J/tok over 3 runs`: medians of the runs' rounds."""
    from statistics import median

    from pytest_lem.render.numbers import with_unit

    middles = [median([value for launch in run.launches for value in launch]) for run in history]
    low, middle, high = (with_unit(value, history[-1].unit) for value in (min(middles), median(middles), max(middles)))
    return f"{key} {middle}" + (f", {low} to {high} over {len(middles)} runs" if len(middles) > 1 else "")
