"""When a job runs: pure functions of the job and the time.

APScheduler's triggers tell the times. For a time of day they are asked for the clock on the wall, as if there were no
time zones, and each of its times is put into the job's zone here: APScheduler 3 itself runs a job twice in the night in
which clocks go back, and leaves a day out where clocks skip midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from pytest_lem.model.errors import UsageError
from pytest_lem.schedule.job import DAYS, Job

_TICK = timedelta(microseconds=1)
_LONGEST_JUMP = timedelta(days=2)  # Samoa left out a whole day in 2011


class Trigger(Protocol):
    """What APScheduler's triggers do."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first time from `now` on."""
        ...


@dataclass(frozen=True)
class Due:
    """A run that has to begin: the time it was due, and how many earlier ones it stands for, too."""

    time: datetime
    missed: int = 0


def next_runs(job: Job, after: datetime, count: int) -> list[datetime]:
    """The first `count` times (UTC) at which the job runs later than `after`. Raises UsageError without APScheduler."""
    return list(islice(_times(job, after), count))


def due(job: Job, since: datetime, now: datetime) -> Due | None:
    """The run that has to begin at `now`, where the last one was due at `since`; None where there is none.

    All that was missed is one run, due when the last of them was.
    """
    if job.every is not None:  # years of seconds are not counted one by one
        step = timedelta(seconds=job.every)
        newest = next(_times(job, now - step))
        return Due(newest, (newest - since - _TICK) // step) if since < newest <= now else None
    last, missed = None, -1
    for time in _times(job, since):
        if time > now:
            break
        last, missed = time, missed + 1
    return None if last is None else Due(last, missed)


def _times(job: Job, after: datetime) -> Iterator[datetime]:
    """Every time of the job later than `after`, in order, UTC."""
    last = after.astimezone(UTC)
    if job.every is not None:
        yield from _fired(_interval(job), last + _TICK)
        return
    zone = ZoneInfo(job.tz)
    wall = last.astimezone(zone).replace(tzinfo=UTC) - _LONGEST_JUMP
    for time in _fired(_clock(job), wall):
        # A time that comes twice is the first of both; one that clocks skip is as long after the jump as it should be.
        found = time.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if found > last:
            last = found
            yield found


def _fired(trigger: Trigger, start: datetime) -> Iterator[datetime]:
    while (found := trigger.get_next_fire_time(None, start)) is not None:
        yield found
        start = found + _TICK


def _interval(job: Job) -> Trigger:
    from_ = job.added.astimezone(UTC) + timedelta(seconds=job.every or 0)
    trigger: Trigger = _triggers()[1](seconds=job.every, start_date=from_, timezone=UTC)
    return trigger


def _clock(job: Job) -> Trigger:
    hour, minute = (job.at or "").split(":")
    days = ",".join(job.days or DAYS)
    trigger: Trigger = _triggers()[0](hour=int(hour), minute=int(minute), day_of_week=days, timezone=UTC)
    return trigger


def check() -> None:
    """Raise UsageError where APScheduler is missing."""
    _triggers()


def _triggers() -> tuple[Any, Any]:
    try:
        from apscheduler.triggers.cron import CronTrigger
        from apscheduler.triggers.interval import IntervalTrigger
    except ImportError:
        raise UsageError("lem schedule needs APScheduler 3; pip install 'pytest-lem[schedule]'") from None
    return CronTrigger, IntervalTrigger
