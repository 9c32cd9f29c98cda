"""Where a schedule lives: `<results>/schedule/`, with its jobs, the log of what ran, each run's output, and locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import ConfigDict, Field

from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.schedule.job import Job
from pytest_lem.store.files import from_json, to_json, write_atomic

EDIT_SECONDS = 10.0
PROBE_SECONDS = 1.0  # who only asks whether a lock is held has it for an instant


class Jobs(Frozen):
    """`jobs.json`: all jobs of a folder of results, in the order in which they were added."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.schedule/1"] = Field(default="lem.schedule/1", alias="schema")
    jobs: tuple[Job, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(job.name for job in self.jobs)

    def named(self, name: str) -> Job:
        """The job of that name. Raises UsageError that tells the others."""
        for job in self.jobs:
            if job.name == name:
                return job
        known = f"there are {', '.join(self.names)}" if self.jobs else "there is none; lem schedule add makes one"
        raise UsageError(f"{name}: there is no such job; {known}")


@dataclass(frozen=True)
class Place:
    """The schedule of one folder of results; the path is absolute, since jobs run elsewhere."""

    results: Path

    @property
    def folder(self) -> Path:
        """All files of the schedule."""
        return self.results / "schedule"

    @property
    def log(self) -> Path:
        """What began and what ended."""
        return self.folder / "log.jsonl"

    def output(self, run: str) -> Path:
        """What pytest printed in a run."""
        return self.folder / "output" / f"{run}.txt"

    def read(self) -> Jobs:
        """The jobs; none where nothing was ever added. Raises StoreError."""
        path = self.folder / "jobs.json"
        return from_json(Jobs, path) if path.exists() else Jobs()

    def stamp(self) -> tuple[int, int]:
        """Changes with every edit: who keeps the jobs in memory looks at it."""
        try:
            found = (self.folder / "jobs.json").stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)

    def make(self) -> None:
        """Have the folder, out of git's sight. Raises StoreError."""
        try:
            (self.folder / "output").mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"--results={self.results}: a schedule cannot be kept there ({error.strerror}); name a writable folder"
            ) from None

    def write(self, jobs: Jobs) -> None:
        """Put the jobs on disk, whole. Raises StoreError."""
        write_atomic(self.folder / "jobs.json", to_json(jobs, indent=1) + "\n")

    @contextmanager
    def editing(self) -> Iterator[Jobs]:
        """The jobs, while nobody else changes them."""
        self.make()
        try:
            with FileLock(self.folder / "edit.lock", timeout=EDIT_SECONDS):
                yield self.read()
        except Timeout:
            raise StoreError(f"{self.folder}: another lem schedule is changing it; try again") from None

    @contextmanager
    def held(self, name: str, refusal: str, patience: float = PROBE_SECONDS) -> Iterator[None]:
        """A lock that the kernel takes back when this process dies. Raises UsageError where another process has it."""
        self.make()
        lock = FileLock(self.folder / f"{name}.lock")
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise UsageError(refusal) from None
        try:
            yield
        finally:
            lock.release()

    def is_held(self, name: str) -> bool:
        """Whether a living process has that lock."""
        if not self.folder.is_dir():
            return False
        lock = FileLock(self.folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False
