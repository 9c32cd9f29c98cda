"""A job: what is run, and when, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones

from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LENGTH = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_OURS = {
    "--lem-results": "lem schedule --results names the folder",
    "--lem-resume": "a schedule continues by itself what was cut short",
    "--lem-resume-run": "a schedule continues by itself what was cut short",
    "--lem-retry-failed": "a schedule continues by itself what was cut short",
}


class Job(Frozen):
    """`files` and `options` are pytest's, in `folder`; it runs each `every` seconds, or `at` a time of `days` in `tz`.

    `added` is when it was made: nothing before that was missed, and a job of the same name before it was another.
    """

    name: str
    files: tuple[str, ...]
    options: tuple[str, ...] = ()
    folder: str
    every: int | None = None
    at: str | None = None
    days: tuple[str, ...] = DAYS
    tz: str = "UTC"
    added: datetime

    @property
    def when(self) -> str:
        """`every 6h`, `at 02:00 on mon-fri, Europe/Berlin`."""
        if self.every is not None:
            return f"every {length(self.every)}"
        days = "" if self.days == DAYS else f" on {day_ranges(self.days)}"
        return f"at {self.at}{days}, {self.tz}"


def seconds_of(text: str) -> int:
    """`90m`, `6h`, `1d12h` as seconds. Raises UsageError."""
    match = _LENGTH.fullmatch(text.strip().lower())
    found = (
        [int(part or 0) * unit for part, unit in zip(match.groups(), (86400, 3600, 60, 1), strict=True)]
        if match
        else []
    )
    if not sum(found):
        raise UsageError(f"--every={text}: expected a time such as 30s, 90m, 6h, 1d or 1d12h")
    if sum(found) > timedelta(days=366).total_seconds():
        raise UsageError(f"--every={text}: at most a year (365d)")
    return sum(found)


def clock_of(text: str) -> str:
    """`2:00` as `02:00`. Raises UsageError."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--at={text}: expected a time of day from 00:00 to 23:59, such as 02:00")
    return f"{int(match[1]):02}:{match[2]}"


def days_of(text: str) -> tuple[str, ...]:
    """`mon-fri`, `sat,sun`, `fri-mon` as the names of days, Monday first. Raises UsageError."""
    found: set[str] = set()
    for part in text.lower().split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = [first, last] if dash else [first, first]
        for day in ends:
            if day not in DAYS:
                raise UsageError(f"--days={text}: {day!r} is no day; expected days such as mon-fri or sat,sun")
        start, end = map(DAYS.index, ends)
        found |= {DAYS[(start + step) % 7] for step in range((end - start) % 7 + 1)}
    return tuple(day for day in DAYS if day in found)


def zone_of(text: str) -> str:
    """A name of the tz database that is known here. Raises UsageError with the nearest."""
    # ZoneInfoNotFoundError is a KeyError; a folder of the database, or a path out of it, is one of the others.
    with suppress(KeyError, ValueError, OSError):
        ZoneInfo(text)
        return text
    near = get_close_matches(text, sorted(available_timezones()), 1, 0.0)
    known = f"; the nearest is {near[0]}" if near else " (pip install tzdata brings them)"
    raise UsageError(f"--tz={text}: there is no such time zone{known}")


def name_of(asked: str | None, files: Sequence[str], taken: Sequence[str]) -> str:
    """The job's name: the one asked for, else the first file's. Raises UsageError where it is taken or cannot be."""
    name = asked or _stem(files[0])
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name={name}: a name is made of letters, digits, '_', '.' and '-', at most 60")
    if name in taken:
        mend = "name another" if asked else "give this one a --name"
        raise UsageError(f"--name={name}: there is such a job already; {mend}, or lem schedule remove {name} first")
    return name


def check_options(options: Sequence[str]) -> None:
    """Raise UsageError for an option of pytest that the schedule sets itself."""
    for option in options:
        flag = option.partition("=")[0]
        if flag in _OURS:
            raise UsageError(f"{flag}: {_OURS[flag]}; leave the option out")


def length(seconds: int) -> str:
    """`6h`, `1d12h`: the way back from `seconds_of`."""
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, SECONDS[unit])
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts)


def day_ranges(days: Sequence[str], join: str = "-") -> str:
    """`mon-wed,sat`: runs of three days and more as a range."""
    runs: list[list[str]] = []
    for day in days:
        if runs and DAYS.index(day) == DAYS.index(runs[-1][-1]) + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(f"{run[0]}{join}{run[-1]}" if len(run) > 2 else ",".join(run) for run in runs)


def _stem(file: str) -> str:
    """`experiments/night.lem.yaml` as `night`, `test_decode.py::test_it` as `test_decode`."""
    last = file.partition("::")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last.removesuffix(".lem.yaml").removesuffix(".py")).strip("-._") or "job"
