"""Starts what is due, one after the other, and writes down what began and ended. All it knows lies on the disk."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.schedule import runs
from pytest_lem.schedule.calendar import Due, due
from pytest_lem.schedule.job import Job
from pytest_lem.schedule.log import BeginLine, EndLine, Outcome, Standing, append, read_log, standing
from pytest_lem.schedule.place import Jobs, Place
from pytest_lem.schedule.process import Child, Orphan, Process
from pytest_lem.store.names import new_name

POLL_SECONDS = 0.5
MOST_DEATHS = 3
"""So often a run may begin and die with its daemon before it is given up."""
LOCK = "daemon"


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


@dataclass
class Running:
    """A pytest under way, its line in the log, and the lock of its job."""

    job: Job
    line: BeginLine
    process: Process
    lock: ExitStack


@dataclass
class Daemon:
    """The schedule at work in one process; at most `together` runs at one time. `tell` says a line to people."""

    place: Place
    tell: Callable[[str], object]
    together: int = 1
    now: Callable[[], datetime] = utc_now
    pause: Callable[[float], object] = time.sleep
    running: dict[str, Running] = field(default_factory=dict)
    stops: int = 0
    _sent: int = 0
    _jobs: Jobs = field(default_factory=Jobs)
    _read: object = None
    _standings: dict[str, Standing] = field(default_factory=dict)

    def forever(self) -> None:
        """Run what is due until SIGTERM or Ctrl-C, then let the round end. Raises UsageError where another runs."""
        refusal = f"another lem schedule run is at work in {self.place.folder}; one is enough"
        with self.place.held(LOCK, refusal), self._stopped_by_signals():
            while not self.stops or self.running:
                self.step()
                self.pause(POLL_SECONDS)

    def once(self, name: str) -> EndLine:
        """Run one job now, and wait; what was cut short is continued. Raises UsageError where it runs already."""
        job = self.place.read().named(name)
        with self._stopped_by_signals():
            self._refresh()
            found = self._standings[name]
            if found.open is not None:
                self._settle(job, found)
                self._refresh()
                found = self._standings[name]
            if name not in self.running and not self._begin(job, found, Due(self.now())):
                raise UsageError(f"{name} runs already; it never runs twice at one time")
            while self.running:
                self._reap()
                self._hand_on()
                self.pause(POLL_SECONDS)
        self._refresh()
        last = self._standings[name].last
        assert last is not None
        return last

    def step(self) -> None:
        """Note what ended, then begin what is due, or stop what runs."""
        self._reap()
        if self.stops:
            self._hand_on()
            return
        self._refresh()
        for job in self._jobs.jobs:
            if job.name not in self.running and self._standings[job.name].open is not None:
                self._settle(job, self._standings[job.name])
        waiting = self._due() if len(self.running) < self.together else []
        for job, time_due in waiting:
            if len(self.running) < self.together:
                self._begin(job, self._standings[job.name], time_due)

    def _due(self) -> list[tuple[Job, Due]]:
        """What has to begin, what was cut short and what has waited longest first."""
        found = []
        for job in self._jobs.jobs:
            stands = self._standings[job.name]
            if job.name in self.running or stands.open is not None:
                continue
            if stands.unfinished is not None:
                found.append((job, Due(stands.unfinished.due)))
            elif (one := due(job, stands.since, self.now())) is not None:
                found.append((job, one))
        return sorted(found, key=lambda pair: pair[1].time)

    def _refresh(self) -> None:
        """Read jobs and log again where anybody has changed them."""
        size = self.place.log.stat().st_size if self.place.log.exists() else 0
        stamp = (self.place.stamp(), size)
        if stamp == self._read:
            return
        try:
            self._jobs = self.place.read()
        except StoreError as error:
            if self._read is None:
                raise
            self.tell(f"{error}; going on with the jobs that were there")
        lines = read_log(self.place.log)
        self._standings = {job.name: standing(job, lines) for job in self._jobs.jobs}
        self._read = stamp

    def _begin(self, job: Job, stands: Standing, time_due: Due) -> bool:
        """Start pytest, or continue what was cut short; False where another process runs this job."""
        lock = self._lock(job)
        if lock is None:
            return False
        before = stands.unfinished
        goes_on = before is not None and runs.can_continue(self.place.results, before.run)
        run = before.run if before is not None and goes_on else new_name(utc_now())
        when = before.due if before is not None else time_due.time
        given = runs.arguments(job, self.place.results, continues=run if goes_on else None)
        try:
            child = Child(given, Path(job.folder), self.place.output(run), None if goes_on else run)
        except OSError as error:
            self._end(job, when, run, "refused", None, f"{error.filename or job.folder}: {error.strerror}")
            lock.close()
            return True
        line = BeginLine(
            time=self.now(), job=job.name, due=when, run=run, pid=child.pid, began=child.began,
            missed=time_due.missed, continued=goes_on,
        )  # fmt: skip
        append(self.place.log, line)
        child.go()
        self.running[job.name] = Running(job, line, child, lock)
        word = "goes on with" if goes_on else "begins"
        missed = f", for {time_due.missed} that were missed too" if time_due.missed else ""
        self.tell(f"{job.name} {word} run {run}{missed}")
        return True

    def _settle(self, job: Job, stands: Standing) -> None:
        """A run whose daemon died: wait for it where it lives, else note its end, or have it continued."""
        line, lock = stands.open, self._lock(job)
        if line is None or lock is None:
            return
        orphan = Orphan(line.pid, line.began)
        if not orphan.ended():
            self.running[job.name] = Running(job, line, orphan, lock)
            self.tell(f"{job.name}: run {line.run} is still at work (PID {line.pid}), and is waited for")
            return
        self._end_unseen(job, line, stands.deaths + 1)
        lock.close()

    def _end_unseen(self, job: Job, line: BeginLine, deaths: int) -> None:
        """Write how a run ended that nobody waited for."""
        found = runs.whole(self.place.results, line.run)
        if found is not None:
            reason = "nobody waited for its end; its report is whole"
        elif deaths >= MOST_DEATHS:
            found, reason = "died", f"it died {deaths} times; --lem-resume-run={line.run} tries it again"
        else:
            found, reason = "interrupted", "it died with its daemon, and will be continued"
        self._end(job, line.due, line.run, found, None, reason)

    def _reap(self) -> None:
        for name, one in list(self.running.items()):
            if not one.process.ended():
                continue
            del self.running[name]
            status = one.process.status
            if status is None:
                stands = self._standings.get(name)  # None where the job was removed meanwhile
                self._end_unseen(one.job, one.line, stands.deaths + 1 if stands else 1)
            else:
                found, reason = runs.outcome(status, stopped=bool(self._sent))
                self._end(one.job, one.line.due, one.line.run, found, status, reason)
            one.lock.close()

    def _end(self, job: Job, when: datetime, run: str, found: Outcome, status: int | None, reason: str) -> None:
        line = EndLine(time=self.now(), job=job.name, due=when, run=run, outcome=found, status=status, reason=reason)
        append(self.place.log, line)
        self.tell(f"{job.name}: {found}{f' ({reason})' if reason else ''}, run {run}")

    def _hand_on(self) -> None:
        """The first stop lets a round end (SIGTERM), a further one does not (SIGINT)."""
        while self._sent < self.stops:
            self._sent += 1
            for one in self.running.values():
                one.process.stop(signal.SIGTERM if self._sent == 1 else signal.SIGINT)

    def _lock(self, job: Job) -> ExitStack | None:
        """The job's lock, None where another process has it: one that was started by `once`."""
        lock = ExitStack()
        try:
            lock.enter_context(self.place.held(f"job-{job.name}", "", patience=0))
        except UsageError:
            return None
        return lock

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stops += 1

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
