"""One run of a job: its command, whether it is to be continued, how it ended."""

from __future__ import annotations

import signal
from pathlib import Path

from pytest_lem.model.errors import StoreError
from pytest_lem.schedule.job import Job
from pytest_lem.schedule.log import Outcome
from pytest_lem.store.report import REPORT, read_report
from pytest_lem.store.run import RECORD

STATUS: dict[int, Outcome] = {0: "passed", 1: "failed", 2: "broken", 3: "broken", 4: "refused", 5: "empty"}
"""What pytest's exit status means."""
_WORDS = {
    "broken": "see its output",
    "refused": "pytest did not take these arguments",
    "empty": "there was nothing to run",
}


def arguments(job: Job, results: Path, *, continues: str | None = None) -> list[str]:
    """Pytest's arguments; `continues` names the run that is gone on with."""
    resume = [f"--lem-resume-run={continues}"] if continues else []
    return [*job.files, f"--lem-results={results}", *resume, *job.options]


def can_continue(results: Path, run: str) -> bool:
    """Whether the run measured anything: what has only been started begins anew."""
    return (results / "runs" / run / RECORD).is_file()


def whole(results: Path, run: str) -> Outcome | None:
    """How a run ended that nobody waited for; None where it has no report, or something is missing."""
    if not (results / "runs" / run / REPORT).is_file():
        return None
    try:
        report = read_report(results / "runs" / run)
    except StoreError:
        return None
    if not report.run.complete:
        return None
    return "failed" if any(verdict.status == "failed" for verdict in report.verdicts) else "ended"


def outcome(status: int, *, stopped: bool) -> tuple[Outcome, str]:
    """How a process of ours ended, and why in a few words; `stopped`: it was told to."""
    ends = (2, -signal.SIGTERM, -signal.SIGINT)  # −SIGTERM: it had not come to its tests
    if stopped and status in ends:
        return "interrupted", "the schedule was stopped, and will continue it"
    if status < 0:
        return "died", f"pytest was ended by {_signal_name(-status)}"
    found = STATUS.get(status, "broken")
    return found, _WORDS.get(found, "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
