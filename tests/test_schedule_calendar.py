"""When jobs run: words of the command line, times on a clock that is given, nights in which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.model.errors import UsageError
from pytest_lem.schedule import job as words
from pytest_lem.schedule.calendar import Due, due, next_runs
from pytest_lem.schedule.job import Job

ADDED = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
BERLIN = ZoneInfo("Europe/Berlin")


def a_job(**changes):
    return Job(**{"name": "night", "files": ("a.lem.yaml",), "folder": "/there", "added": ADDED} | changes)


def told(times):
    return [f"{time:%a %d %H:%M}" for time in times]


def test_each_so_often_counts_from_when_the_job_was_added():
    every = a_job(every=6 * 3600)
    assert told(next_runs(every, ADDED, 3)) == ["Mon 02 18:00", "Tue 03 00:00", "Tue 03 06:00"]
    assert due(every, ADDED, ADDED + timedelta(hours=5, minutes=59)) is None
    assert due(every, ADDED, ADDED + timedelta(hours=6)) == Due(ADDED + timedelta(hours=6))


def test_a_time_of_day_on_working_days_leaves_the_weekend_out():
    job = a_job(at="02:00", days=words.days_of("mon-fri"))
    friday = datetime(2026, 3, 6, 1, 0, tzinfo=UTC)
    assert told(next_runs(job, friday, 3)) == ["Fri 06 02:00", "Mon 09 02:00", "Tue 10 02:00"]


def test_a_time_of_day_is_that_of_its_zone():
    assert told(next_runs(a_job(at="02:00", tz="Europe/Berlin"), ADDED, 1)) == ["Tue 03 01:00"]
    assert told(next_runs(a_job(at="02:00", tz="Asia/Kolkata"), ADDED, 1)) == ["Mon 02 20:30"]


def test_what_was_missed_is_one_run_that_stands_for_all():
    night = a_job(at="02:00")
    assert due(night, ADDED, ADDED + timedelta(days=3)) == Due(datetime(2026, 3, 5, 2, 0, tzinfo=UTC), missed=2)
    every = a_job(every=60)
    assert due(every, ADDED, ADDED + timedelta(hours=1, seconds=30)) == Due(ADDED + timedelta(hours=1), missed=59)


def test_years_of_missed_seconds_are_told_at_once():
    now = ADDED + timedelta(days=3 * 365)
    assert due(a_job(every=1), ADDED, now) == Due(now, missed=3 * 365 * 86400 - 1)


def test_in_the_night_with_two_half_past_twos_it_runs_once():
    """Clocks go back on 25 October 2026 at 03:00 in Berlin."""
    times = next_runs(a_job(at="02:30", tz="Europe/Berlin"), datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert told(time.astimezone(BERLIN) for time in times) == ["Sun 25 02:30", "Mon 26 02:30"]
    assert times[0] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_in_the_night_without_half_past_two_it_runs_all_the_same():
    """Clocks go forward on 29 March 2026 at 02:00 in Berlin."""
    times = next_runs(a_job(at="02:30", tz="Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert told(time.astimezone(BERLIN) for time in times) == ["Sun 29 03:30", "Mon 30 02:30"]


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 700),
)
def test_a_daily_job_runs_once_on_every_day_of_its_zone(zone, hour, minute, day):
    job = a_job(at=f"{hour:02}:{minute:02}", tz=zone)
    times = next_runs(job, ADDED + timedelta(days=day), 4)
    days = [time.astimezone(ZoneInfo(zone)).date() for time in times]
    assert [(later - earlier).days for earlier, later in pairwise(days)] == [1, 1, 1]


@given(st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_between_two_looks_no_run_is_lost_and_none_counted_twice(every, first, second):
    job = a_job(every=every)
    early, late = sorted((first, second))
    one = due(job, ADDED, ADDED + timedelta(seconds=early))
    two = due(job, one.time if one else ADDED, ADDED + timedelta(seconds=late))
    assert sum(found.missed + 1 for found in (one, two) if found) == late // every


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5400), ("6h", 21600), ("1d12h", 129600), ("2H", 7200)]
)
def test_lengths_of_time_are_read_and_told(text, seconds):
    assert words.seconds_of(text) == seconds
    assert words.seconds_of(words.length(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon-fri", "mon-fri"),
        ("sat,sun", "sat,sun"),
        ("FRI-mon", "mon,fri-sun"),
        ("mon, wed-thu", "mon,wed,thu"),
        ("sun-sat", "mon-sun"),
    ],
)
def test_days_are_read_and_told(text, days):
    assert words.day_ranges(words.days_of(text)) == days


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (words.seconds_of, "6", "--every=6: expected a time such as 30s, 90m, 6h, 1d or 1d12h"),
        (words.seconds_of, "0h", "--every=0h: expected a time such as 30s, 90m, 6h, 1d or 1d12h"),
        (words.seconds_of, "800d", "--every=800d: at most a year (365d)"),
        (words.clock_of, "25:00", "--at=25:00: expected a time of day from 00:00 to 23:59, such as 02:00"),
        (words.days_of, "mon-xyz", "--days=mon-xyz: 'xyz' is no day; expected days such as mon-fri or sat,sun"),
        (
            words.zone_of,
            "Europe/Berlyn",
            "--tz=Europe/Berlyn: there is no such time zone; the nearest is Europe/Berlin",
        ),
        (words.zone_of, "../etc", None),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_option(read, text, line):
    with pytest.raises(UsageError) as refused:
        read(text)
    assert str(refused.value) == line or line is None
    assert "\n" not in str(refused.value)
