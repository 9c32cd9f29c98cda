"""A schedule in the words of systemd or cron. Pure."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_lem.model.errors import UsageError
from pytest_lem.schedule.job import DAYS, Job, length

_KEPT = ("PATH", "CUDA_VISIBLE_DEVICES", "HF_HOME", "LEM_LOCKS")
_HOUR, _DAY = 3600, 86400


def unit(results: Path, folder: Path, environ: Mapping[str, str]) -> str:
    """A systemd service that is always at work; it keeps the variables that decide what is found, and on which GPUs."""
    kept = "".join(f"Environment={_quoted(f'{name}={environ[name]}')}\n" for name in _KEPT if name in environ)
    command = [sys.executable, "-m", "pytest_lem.cli", "schedule", "run", "--results", str(results)]
    return f"""[Unit]
Description=pytest-lem: energy of LLM inference, by the clock
After=network.target

[Service]
WorkingDirectory={_escaped(str(folder))}
{kept}ExecStart={" ".join(map(_quoted, command))}
# SIGTERM goes to the schedule alone: it lets the round end.
KillMode=mixed
TimeoutStopSec=15min
Restart=on-failure

[Install]
WantedBy=default.target"""


def cron(kind: str, jobs: Sequence[Job], results: Path) -> str:
    """A line of cron for each job. Raises UsageError for another `kind`, or a job that cron cannot tell."""
    if kind != "cron":
        raise UsageError(f"{kind}: expected systemd or cron")
    return "\n".join(line for job in jobs for line in _lines(job, results)) or "# no job"


def _lines(job: Job, results: Path) -> list[str]:
    command = [sys.executable, "-m", "pytest_lem.cli", "schedule", "run", "--once", job.name, "--results", str(results)]
    words = f"cd {shlex.quote(job.folder)} && {shlex.join(command)}".replace("%", r"\%")
    if job.every is not None:
        return [f"# {job.name}: {job.when}", f"{_every(job)} {words}"]
    hour, minute = (job.at or "").split(":")
    # By number: not every cron knows lists of names.
    days = "*" if job.days == DAYS else ",".join(str(DAYS.index(day) + 1) for day in job.days)
    return [f"# {job.name}: {job.when}", f"CRON_TZ={job.tz}", f"{int(minute)} {int(hour)} * * {days} {words}"]


def _every(job: Job) -> str:
    """Cron knows the clock only: what divides an hour or a day."""
    every = job.every or 0
    if every % 60 == 0 and every <= _HOUR and _HOUR % every == 0:
        return "0 * * * *" if every == _HOUR else f"*/{every // 60} * * * *"
    if every % _HOUR == 0 and _DAY % every == 0:
        return "0 0 * * *" if every == _DAY else f"0 */{every // _HOUR} * * *"
    raise UsageError(
        f"{job.name}: cron cannot run it every {length(every)}, only what divides an hour or a day; "
        "take lem schedule export systemd"
    )


def _quoted(word: str) -> str:
    """As systemd reads it: its specifiers and variables are none."""
    return '"' + _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
