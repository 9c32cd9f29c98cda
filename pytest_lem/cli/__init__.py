"""The command line `lem`: what is done with results outside of pytest. A command imports what it needs when it runs."""

from __future__ import annotations

import signal
import sys

import typer

from pytest_lem.cli import baseline, config, results, schedule
from pytest_lem.cli.badge import BADGE, badge
from pytest_lem.cli.comment import COMMENT, comment
from pytest_lem.cli.doctor import DOCTOR, doctor
from pytest_lem.cli.experiment import CAMPAIGN, EXPERIMENT, campaign, experiment
from pytest_lem.cli.init import INIT, init
from pytest_lem.cli.machine import ENGINES, METERS, engines, meters
from pytest_lem.cli.merge import MERGE, merge
from pytest_lem.cli.report import REPORT_EXAMPLES, report
from pytest_lem.cli.underneath import Passing

# Without rich's help, which would take as long to import as all the rest.
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
app.command(epilog=INIT)(init)
app.command(cls=Passing, epilog=EXPERIMENT)(experiment)
app.command(cls=Passing, epilog=CAMPAIGN)(campaign)
app.command(epilog=MERGE)(merge)
app.command(epilog=BADGE)(badge)
app.command(epilog=REPORT_EXAMPLES)(report)
app.command(epilog=COMMENT)(comment)
app.command(epilog=DOCTOR)(doctor)
app.command(epilog=ENGINES)(engines)
app.command(epilog=METERS)(meters)
app.add_typer(baseline.app, name="baseline")
app.add_typer(config.app, name="config")
app.add_typer(results.app, name="results")
app.add_typer(schedule.app, name="schedule")


@app.callback()
def lem() -> None:
    """What pytest-lem measured, outside of pytest."""


def main() -> None:
    """The console script."""
    # What a command has begun to write is cleared away, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app(prog_name="lem")
