"""What a schedule has run: a line before a run begins, a line when it has ended; all else is told by them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pytest_lem.model.errors import StoreError
from pytest_lem.model.frozen import Frozen
from pytest_lem.schedule.job import Job
from pytest_lem.store.files import append_line, first_fault, to_json

Outcome = Literal["passed", "failed", "empty", "broken", "refused", "died", "interrupted", "ended"]
"""How a run ended.

`passed`, `failed`, `empty` (nothing to run), `broken` (a fault in collecting, or an interruption by hand) and `refused`
(pytest could not be started so) are its exit status; `died`: of a signal, or with its daemon, again and again;
`interrupted`: the schedule was told to stop, and continues it; `ended`: with a whole report, but nobody waited for it.
"""


class _Line(Frozen):
    """What both lines have. `due` is the time that the run stands for, `run` its name under the results."""

    time: datetime = Field(default_factory=lambda: datetime.now(UTC))
    job: str
    due: datetime
    run: str


class BeginLine(_Line):
    """A run is about to begin, or to be continued; `began` tells its process from another of that PID."""

    event: Literal["begin"] = "begin"
    pid: int
    began: float
    missed: int = 0
    continued: bool = False


class EndLine(_Line):
    """A run has ended; `status` is pytest's exit status, None where nobody waited for it; `reason` says more."""

    event: Literal["end"] = "end"
    outcome: Outcome
    status: int | None = None
    reason: str = ""


Line = Annotated[BeginLine | EndLine, Field(discriminator="event")]
_LINES: TypeAdapter[Line] = TypeAdapter(Line)


@dataclass(frozen=True)
class Standing:
    """Where a job stands. `since`: the last time that is dealt with, all later ones are due.

    `open`: the run that has begun and has no end yet. `unfinished`: the one to be continued. `deaths`: how often in a
    row it died with its daemon. `last`: how the last one ended.
    """

    since: datetime
    open: BeginLine | None = None
    unfinished: BeginLine | None = None
    deaths: int = 0
    last: EndLine | None = None


def append(path: Path, line: BeginLine | EndLine) -> None:
    """Put a line on the disk before anything else happens. Raises StoreError."""
    append_line(path, to_json(line))


def read_log(path: Path) -> list[BeginLine | EndLine]:
    """All lines; one that was cut short is left out. Raises StoreError for one that this version does not know."""
    try:
        rows = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(_LINES.validate_python(json.loads(row)))
        except ValidationError as error:
            raise StoreError(f"{path} line {number}: {first_fault(error)}") from error
        except ValueError:
            continue
    return found


def standing(job: Job, lines: Iterable[BeginLine | EndLine]) -> Standing:
    """What the log says of this job; lines of an earlier one of its name are none of its."""
    found = Standing(job.added)
    for line in lines:
        if line.job == job.name and line.time >= job.added:
            found = _after(found, line)
    return found


def _after(before: Standing, line: BeginLine | EndLine) -> Standing:
    since = max(before.since, line.due)
    if isinstance(line, BeginLine):
        same = before.unfinished is not None and before.unfinished.due == line.due
        return Standing(since, open=line, deaths=before.deaths if same else 0, last=before.last)
    if line.outcome != "interrupted":
        return Standing(since, last=line)
    died = line.status is None
    return Standing(since, unfinished=before.open, deaths=before.deaths + 1 if died else 0, last=line)
