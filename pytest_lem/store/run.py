"""A run's directory: `<results>/runs/<UTC time>-<id>/`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.search import Search
from pytest_lem.model.specs import Frozen
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.alive import ALIVE, is_alive
from pytest_lem.store.environment import Environment
from pytest_lem.store.files import from_json, slug, to_json, write_atomic
from pytest_lem.store.finite import plain
from pytest_lem.store.names import new_name
from pytest_lem.store.raw import write_raw
from pytest_lem.store.report import REPORT, Report, RunInfo, save_report
from pytest_lem.store.samples import Samples

__all__ = ["DEFAULT_RESULTS", "RECORD", "Run", "RunRecord", "ignore_runs", "is_alive", "unwritable"]
DEFAULT_RESULTS = Path(".lem")
RECORD = "run.json"


class RunRecord(Frozen):
    """`run.json`: what is known before anything ran. `plan` holds the ids of the tests that will measure."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.run/1"] = Field(default="lem.run/1", alias="schema")
    id: str
    started: datetime
    quick: bool
    options: dict[str, Any] = Field(default_factory=dict)
    environment: Environment
    plan: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """The lem options that held: the ini's, below those of the command line."""
        return {**self.options.get("settings", {}), **self.options.get("command", {})}


@dataclass(frozen=True)
class Run:
    """One pytest invocation on disk. The process that starts it creates it, workers open it by its directory."""

    directory: Path
    record: RunRecord

    @classmethod
    def create(
        cls,
        results: Path,
        *,
        options: Mapping[str, Any],
        environment: Environment,
        quick: bool,
        plan: Iterable[str] = (),
        name: str | None = None,
    ) -> Run:
        """A new run under `results`. Raises StoreError in one line that names --lem-results.

        `name` is given where several processes share the run; whoever comes first creates it.
        """
        started = datetime.now(UTC)
        name = name or new_name(started)
        record = RunRecord(
            id=name,
            started=started,
            quick=quick,
            options=plain(dict(options)),
            environment=environment,
            plan=tuple(plan),
        )
        run = cls(results / "runs" / name, record)
        try:
            run.directory.mkdir(parents=True)
            ignore_runs(results)
            run.write_record()
        except OSError as error:
            raise unwritable(results, error.strerror) from error
        except StoreError as error:
            raise unwritable(results, str(error)) from error
        return run

    @classmethod
    def open(cls, directory: Path) -> Run:
        """The run in `directory`. Raises StoreError where there is none."""
        return cls(directory, from_json(RunRecord, directory / RECORD))

    @property
    def id(self) -> str:
        """The directory's own name: sorts by time."""
        return self.record.id

    def with_plan(self, plan: Iterable[str]) -> Run:
        """The same run, its planned tests known now, so that a rebuilt report can name those never measured."""
        run = Run(self.directory, self.record.replace(plan=tuple(plan)))
        run.write_record()
        return run

    def hold(self) -> int:
        """Mark the run as alive; gives the descriptor that does until it is closed, or its process ends.

        Raises StoreError where the run cannot be written. A file system without locks cannot tell: nothing is marked.
        """
        try:
            held = os.open(self.directory / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"cannot write {self.directory / ALIVE}: {error.strerror}") from error
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH)
        with suppress(OSError):
            os.utime(self.directory)  # to whoever keeps an index, a run that is continued has changed
        return held

    def samples(self, worker: str = "main") -> Samples:
        """The event log of one process; `worker` is xdist's name for it, or `main`."""
        return Samples(self.directory / f"samples-{slug(worker)}.jsonl")

    def write_raw(self, measurement: Measurement) -> list[Path]:
        """Each device's own readings, before any aggregation: one file a cycle and device."""
        return write_raw(self.directory / "raw", measurement)

    def write_report(
        self,
        measurements: Iterable[Measurement],
        verdicts: Iterable[Verdict] = (),
        missing: Iterable[str] = (),
        *,
        searches: Iterable[Search] = (),
        phases: Iterable[Phases] = (),
        ended: datetime | None = None,
    ) -> Path:
        """Write `report.json`; the run counts as complete when nothing is missing. Raises StoreError.

        It ended now, unless `ended` says when.
        """
        missing = tuple(missing)
        info = self.info(ended=ended or datetime.now(UTC), complete=not missing)
        report = Report(
            run=info,
            environment=self.record.environment,
            measurements=tuple(measurements),
            verdicts=tuple(verdicts),
            searches=tuple(searches),
            phases=tuple(phases),
            missing=missing,
        )
        return save_report(report, self.directory / REPORT)

    def info(self, *, ended: datetime | None, complete: bool) -> RunInfo:
        """The run as the report names it."""
        record = self.record
        return RunInfo(
            id=record.id,
            started=record.started,
            ended=ended,
            complete=complete,
            quick=record.quick,
            options=record.options,
        )

    def write_record(self) -> None:
        """Write `run.json`. Raises StoreError."""
        write_atomic(self.directory / RECORD, to_json(self.record, indent=1) + "\n")


def ignore_runs(results: Path) -> None:
    """Keep runs out of git; a file that is there already is the user's."""
    ignore = results / ".gitignore"
    if not ignore.exists():
        ignore.write_text("runs/\n", encoding="utf-8")


def unwritable(results: Path, reason: str | None, option: str = "--lem-results") -> StoreError:
    """What to raise where `results` refuses: one line that names the option."""
    return StoreError(f"{option}={results}: results cannot be written there ({reason}); name a writable directory")
