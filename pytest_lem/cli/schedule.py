"""`lem schedule`: experiments that run by the clock."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_lem.cli.output import FOUND, HERE, AsJson, Results, count, refusing, say, say_json

if TYPE_CHECKING:
    from pytest_lem.schedule.job import Job
    from pytest_lem.schedule.log import Standing

app = typer.Typer(
    help="Run experiments by the clock: no overlap, what was missed once, what was cut short continued.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ADD = """\b
Examples:
  lem schedule add experiments/night.lem.yaml --at 02:00 --days mon-fri --tz Europe/Berlin
  lem schedule add benchmarks/ --every 6h --name benchmarks -- --lem-backend=vllm --lem-baseline=main"""
RUN = """\b
Examples:
  lem schedule run                at work until SIGTERM or Ctrl-C
  lem schedule run --once night   one job, now"""
LIST = """\b
Examples:
  lem schedule list
  lem schedule list --json | jq '.[].next'"""
REMOVE = """\b
Examples:
  lem schedule remove night"""
EXPORT = """\b
Examples:
  lem schedule export systemd > ~/.config/systemd/user/pytest-lem.service
  lem schedule export cron | crontab -"""


@app.command(epilog=ADD)
def add(
    file: Annotated[str, typer.Argument(metavar="FILE", help="what pytest collects: a file, a folder, a test's id")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="what is pytest's")] = None,
    every: Annotated[str | None, typer.Option(metavar="TIME", help="30s, 90m, 6h, 1d12h")] = None,
    at: Annotated[str | None, typer.Option(metavar="HH:MM", help="a time of day")] = None,
    days: Annotated[str | None, typer.Option(metavar="DAYS", help="with --at: mon-fri, sat,sun (default: all)")] = None,
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="with --at: Europe/Berlin (default: UTC)")] = None,
    name: Annotated[str | None, typer.Option(help="what it is called (default: as the file)")] = None,
    results: Results = HERE,
    as_json: AsJson = False,
) -> None:
    """Have FILE run each so often, or at a time of day. It runs while `lem schedule run` does.

    Exit status: 0, or 2 where it cannot be.
    """
    with refusing("schedule add"):
        from pytest_lem.schedule.place import Place

        place = Place(results.absolute())
        with place.editing() as jobs:
            job = _job(file, options or [], every, at, days, tz, name, jobs.names)
            place.write(jobs.replace(jobs=(*jobs.jobs, job)))
        told = _told(job, None)
    if as_json:
        say_json(told)
    else:
        first = f"{told['next']:%Y-%m-%d %H:%M:%S} UTC"
        say(f"{job.name}: {job.when}; first at {first}, while `lem schedule run` is at work")


def _job(
    file: str,
    options: list[str],
    every: str | None,
    at: str | None,
    days: str | None,
    tz: str | None,
    name: str | None,
    taken: tuple[str, ...],
) -> Job:
    from pytest_lem.model.errors import UsageError
    from pytest_lem.schedule import job

    if (every is None) == (at is None):
        raise UsageError("say either --every TIME or --at HH:MM")
    if every is not None and (days or tz):
        raise UsageError(f"{'--days' if days else '--tz'}: goes with --at HH:MM, not with --every")
    if not Path(file.partition("::")[0]).exists():
        raise UsageError(f"{file}: there is no such file or folder in {Path.cwd()}")
    job.check_options(options)
    return job.Job(
        name=job.name_of(name, [file], taken),
        files=(file,),
        options=tuple(options),
        folder=str(Path.cwd()),
        every=job.seconds_of(every) if every is not None else None,
        at=job.clock_of(at) if at is not None else None,
        days=job.days_of(days) if days else job.DAYS,
        tz=job.zone_of(tz) if tz else "UTC",
        added=datetime.now(UTC),
    )


@app.command("list", epilog=LIST)
def list_(results: Results = HERE, as_json: AsJson = False) -> None:
    """Tell all jobs: when each runs next, how its last run ended, and whether the schedule is at work.

    Exit status: 0, or 2 where the schedule cannot be read.
    """
    with refusing("schedule list"):
        from pytest_lem.schedule.daemon import LOCK
        from pytest_lem.schedule.log import read_log, standing
        from pytest_lem.schedule.place import Place

        place = Place(results.absolute())
        lines = read_log(place.log)
        told = [_told(job, standing(job, lines)) for job in place.read().jobs]
        works = place.is_held(LOCK)
    if as_json:
        say_json(told)
        return
    for each in told:
        say(_line(each))
    say(f"{count(len(told), 'job')}; " + ("the schedule is at work" if works else "nothing runs: lem schedule run"))


def _told(job: Job, stands: Standing | None) -> dict[str, Any]:
    from pytest_lem.schedule.calendar import next_runs

    running = stands.open if stands else None
    last = stands.last if stands else None
    return {
        **job.model_dump(exclude={"every", "at", "days", "tz"}),
        "when": job.when,
        "next": next_runs(job, datetime.now(UTC), 1)[0],
        "running": running.run if running else None,
        "last": last.model_dump(include={"due", "run", "outcome", "reason", "time"}) if last else None,
    }


def _line(told: dict[str, Any]) -> str:
    last = told["last"]
    ended = f"last {last['outcome']} ({last['run']})" if last else "has not run yet"
    now = f"; now at {told['running']}" if told["running"] else ""
    return f"{told['name']}  {told['when']}, next {told['next']:%Y-%m-%d %H:%M:%S} UTC; {ended}{now}"


@app.command(epilog=REMOVE)
def remove(
    name: Annotated[str, typer.Argument(help="the job's name")], results: Results = HERE, as_json: AsJson = False
) -> None:
    """Take a job out. Its runs and its log stay; a run that is under way ends as it would have.

    Exit status: 0, or 2 where there is no such job.
    """
    with refusing("schedule remove"):
        from pytest_lem.schedule.place import Place

        place = Place(results.absolute())
        place.read().named(name)
        with place.editing() as jobs:
            gone = jobs.named(name)
            place.write(jobs.replace(jobs=tuple(job for job in jobs.jobs if job.name != name)))
    if as_json:
        say_json({"removed": gone.name})
    else:
        say(f"{gone.name} is taken out")


@app.command(epilog=RUN)
def run(
    once: Annotated[str | None, typer.Option(metavar="NAME", help="only this job, now, then end")] = None,
    together: Annotated[int, typer.Option(min=1, help="so many runs at one time; each has GPUs of its own")] = 1,
    results: Results = HERE,
) -> None:
    """Be at work: start what is due, continue what was cut short, until SIGTERM or Ctrl-C, which let the round end.

    A second signal cuts the round short. Exit status: 0; with --once 1 where the run did not pass; 2 where another
    schedule is at work.
    """
    with refusing("schedule run"):
        from pytest_lem.schedule.calendar import check
        from pytest_lem.schedule.daemon import Daemon
        from pytest_lem.schedule.place import Place

        check()
        daemon = Daemon(Place(results.absolute()), lambda line: say(f"{datetime.now(UTC):%H:%M:%S} {line}"), together)
        if once is None:
            say(f"at work on {results}; SIGTERM or Ctrl-C ends it after the round")
            daemon.forever()
            return
        passed = daemon.once(once).outcome == "passed"
    if not passed:
        raise typer.Exit(FOUND)


@app.command(epilog=EXPORT)
def export(
    kind: Annotated[str, typer.Argument(metavar="systemd|cron", help="what it is for")],
    results: Results = HERE,
) -> None:
    """Print the schedule for the machine's own: a systemd unit that is always at work, or a line of cron for each job.

    Exit status: 0, or 2 where a job cannot be said in cron's words.
    """
    with refusing("schedule export"):
        from pytest_lem.schedule.exports import cron, unit
        from pytest_lem.schedule.place import Place

        place = Place(results.absolute())
        if kind == "systemd":
            text = unit(place.results, Path.cwd(), os.environ)
        else:
            text = cron(kind, place.read().jobs, place.results)
    say(text)
