"""Which runs and configurations of an index are asked for, and in which order."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_lem.store.alive import is_alive

STARTED = "started"
HIGHER = ("tokens_per_second",)
SORTS = (STARTED, "joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms")
"""By what rows are sorted: the newest first, or the best."""


@dataclass(frozen=True)
class Wanted:
    """What a row has to be: `model` and `test` hold these words, `engine` and `branch` are these.

    `since` is UTC as the index writes it. `limit` 0 is all of them; `reverse` puts the oldest, or worst, first.
    """

    model: str = ""
    engine: str = ""
    test: str = ""
    branch: str = ""
    since: str = ""
    sort: str = STARTED
    reverse: bool = False
    limit: int = 0


@dataclass(frozen=True)
class Selected:
    """Rows by the names of their columns, and of how many they are the first."""

    rows: tuple[dict[str, Any], ...]
    total: int


def runs(index: sqlite3.Connection, wanted: Wanted, results: Path) -> Selected:
    """A row a run: those of which a configuration is wanted, with what its wanted ones come to.

    `joules_per_token` and its like are those of the best of them, `joules_per_token_most` of the dearest.
    """
    inner = _of_configuration(wanted)
    best = ", ".join(f"{'max' if key in HIGHER else 'min'}({key}) AS {key}" for key in SORTS[1:])
    asked = f"""
        SELECT runs.*, count(place) AS configurations, {best}, max(joules_per_token) AS joules_per_token_most,
               group_concat(DISTINCT engine) AS engines, group_concat(DISTINCT model) AS models
        FROM runs LEFT JOIN configurations USING (folder)
        WHERE {_all([*_of_run(wanted), *inner])} GROUP BY folder
    """
    return _selected(index, asked, wanted, results)


def configurations(index: sqlite3.Connection, wanted: Wanted, results: Path) -> Selected:
    """A row a configuration, with its run's columns; its own outcome is `verdict`, its run's boards are `boards`."""
    asked = f"""
        SELECT configurations.*, id, started, host, runs.gpus AS boards, cpu, git_commit, branch, changed, quick,
               moving, outcome
        FROM configurations JOIN runs USING (folder) WHERE {_all([*_of_run(wanted), *_of_configuration(wanted)])}
    """
    return _selected(index, asked, wanted, results, then=", place")


def _of_run(wanted: Wanted) -> list[str]:
    return ["runs.branch = :branch"] * bool(wanted.branch) + ["runs.started >= :since"] * bool(wanted.since)


def _of_configuration(wanted: Wanted) -> list[str]:
    holds = [f"instr(lower({name}), lower(:{name})) > 0" for name in ("model", "test") if getattr(wanted, name)]
    return holds + ["engine = :engine"] * bool(wanted.engine)


def _all(conditions: list[str]) -> str:
    return " AND ".join(conditions) or "1"


def _selected(index: sqlite3.Connection, asked: str, wanted: Wanted, results: Path, *, then: str = "") -> Selected:
    words = {name: getattr(wanted, name) for name in ("model", "engine", "test", "branch", "since")}
    down = (wanted.sort in (STARTED, *HIGHER)) != wanted.reverse
    order = f"{wanted.sort} {'DESC' if down else 'ASC'} NULLS LAST, folder {'ASC' if wanted.reverse else 'DESC'}{then}"
    limit = f" LIMIT {wanted.limit}" if wanted.limit else ""
    found = [_row(row, results) for row in index.execute(f"{asked} ORDER BY {order}{limit}", words)]
    more = wanted.limit and len(found) == wanted.limit
    total = index.execute(f"SELECT count(*) FROM ({asked})", words).fetchone()[0] if more else len(found)
    return Selected(tuple(found), total)


def _row(row: sqlite3.Row, results: Path) -> dict[str, Any]:
    """The row; whether a run goes on is not for any file to say."""
    found = dict(row)
    if found.pop("moving") and is_alive(results / "runs" / found["folder"]):
        found["outcome"] = "running"
    found.pop("stamp", None)
    for name in ("quick", "changed"):
        found[name] = None if found[name] is None else bool(found[name])
    return found
