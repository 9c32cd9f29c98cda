"""`lem results list`: runs, or their configurations, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_lem.cli.output import HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.store.selection import Selected, Wanted

SHOWN = 20
LIST = """\b
Examples:
  lem results list                                       the newest runs
  lem results list --configurations --model llama        what each setting cost
  lem results list --branch main --since 7d --limit 0    all of a week
  lem results list -c --sort joules_per_token            the cheapest first"""


def list_runs(
    model: Annotated[str, typer.Option(metavar="WORD", help="whose model's name holds WORD")] = "",
    engine: Annotated[str, typer.Option(metavar="NAME", help="of this engine")] = "",
    test: Annotated[str, typer.Option(metavar="WORD", help="whose test's id holds WORD")] = "",
    branch: Annotated[str, typer.Option(metavar="NAME", help="measured on this branch of git")] = "",
    since: Annotated[str, typer.Option(metavar="DATE|AGE", help="since 2026-01-31 (UTC), or 7d, 12h, 2w ago")] = "",
    each: Annotated[
        bool, typer.Option("--configurations", "-c", help="a line each configuration, not each run")
    ] = False,
    sort: Annotated[
        str, typer.Option(metavar="KEY", help="started, joules_per_token, tokens_per_second, ttft_ms or tpot_ms")
    ] = "started",
    reverse: Annotated[bool, typer.Option("--reverse", help="the oldest, or worst, first")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="at most N lines; 0: all")] = SHOWN,
    results: Results = HERE,
    json: AsJson = False,
) -> None:
    """List runs, the newest first, or the best by a metric.

    Outcomes: running, cut short (it has no report), failed, incomplete, inconclusive, passed, measured (nothing was
    judged), unreadable.
    """
    with refusing("results list"):
        from pytest_lem.store.selection import Wanted

        wanted = Wanted(model, engine, test, branch, _since(since), _sort(sort), reverse, limit)
        found = _found(wanted, results, each=each)
    if json:
        say_json(found.rows)
        return
    for line in _lines(found, results, each=each):
        say(line)


def _since(text: str) -> str:
    from pytest_lem.cli.results.times import moment

    return moment(text, "--since").isoformat(timespec="seconds") if text else ""


def _sort(key: str) -> str:
    from pytest_lem.model.errors import UsageError
    from pytest_lem.store.selection import SORTS

    if key not in SORTS:
        raise UsageError(f"--sort={key}: rows are sorted by {', '.join(SORTS)}")
    return key


def _found(wanted: Wanted, results: Path, *, each: bool) -> Selected:
    from pytest_lem.cli.results.index import opened
    from pytest_lem.store import selection

    with opened(results) as index:
        select = selection.configurations if each else selection.runs
        return select(index.connection, wanted, results)


def _lines(found: Selected, results: Path, *, each: bool) -> list[str]:
    from pytest_lem.cli.results.words import CONSTANT, of_configuration, of_run
    from pytest_lem.render.lines import columns, said_once

    what = "configuration" if each else "run"
    if not found.rows:
        return [f"no {what} in {results / 'runs'} is like that"]
    told = [(of_configuration if each else of_run)(row) for row in found.rows]
    once, heads, rows = said_once(list(told[0]), [list(row.values()) for row in told], CONSTANT)
    said = ["  ".join(once)] if once else []
    return [*said, *columns(heads, rows), *_below(found, what)]


def _below(found: Selected, what: str) -> list[str]:
    faults = [f"{row['folder']}: {row['fault']}" for row in found.rows if row.get("fault")]
    if len(found.rows) == found.total:
        return faults
    return [*faults, f"{len(found.rows)} of {count(found.total, what)}; --limit 0 shows all"]
