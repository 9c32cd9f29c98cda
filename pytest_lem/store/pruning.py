"""Which runs may go: none that a baseline holds, none that still measures, none whose age nobody knows."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_lem.model.errors import StoreError
from pytest_lem.store.alive import is_alive
from pytest_lem.store.baselines import all_runs, names

_DELETED = ".deleted"


@dataclass(frozen=True)
class Pruned:
    """The folders that are to go, the oldest first, and those that stay though they were asked for, each with why."""

    gone: tuple[str, ...]
    stay: Mapping[str, str]


def chosen(rows: Sequence[Mapping[str, Any]], results: Path, *, keep: int | None, before: datetime | None) -> Pruned:
    """Of the index's `rows`, the newest first: all but the first `keep`, or those that began `before`; both: both.

    Raises StoreError where a baseline cannot be read: what it holds is not known then.
    """
    held = _held(results)
    gone, stay = [], {}
    for place, row in enumerate(rows):
        if keep is not None and place < keep:
            continue
        started = datetime.fromisoformat(row["started"]) if row["started"] else None
        if before is not None and started is not None and started >= before:
            continue
        reason = _reason(row, started, held, results)
        if reason:
            stay[row["folder"]] = reason
        else:
            gone.append(row["folder"])
    return Pruned(tuple(reversed(gone)), stay)


def delete(folders: Iterable[str], results: Path) -> list[str]:
    """Delete runs, and return those that are gone; one that has begun to measure again meanwhile stays.

    Raises StoreError where one cannot be deleted; those before it are gone.
    """
    for left in (results / "runs").glob(f".*{_DELETED}"):
        shutil.rmtree(left, ignore_errors=True)  # of a deletion that was killed
    gone = []
    for name in folders:
        folder = results / "runs" / name
        if is_alive(folder):
            continue
        # Out of sight first: nobody finds half of a run.
        hidden = folder.with_name(f".{name}.{secrets.token_hex(4)}{_DELETED}")
        try:
            folder.rename(hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise StoreError(f"cannot delete {folder}: {error.strerror}") from error
        gone.append(name)
    return gone


def _reason(row: Mapping[str, Any], started: datetime | None, held: Mapping[str, str], results: Path) -> str | None:
    if baseline := held.get(row["id"]) or held.get(row["folder"]):
        return f"baseline {baseline} holds it"
    if is_alive(results / "runs" / row["folder"]):
        return "it is still running"
    return "nobody knows how old it is" if started is None else None


def _held(results: Path) -> dict[str, str]:
    """Every run that a baseline accepted, and in which."""
    return {run.id: name for name in names(results) for run in all_runs(results, name)}
