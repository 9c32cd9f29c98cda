"""`lem results`: the runs in a folder of results, listed, compared, checked, cleared away."""

from __future__ import annotations

import typer

from pytest_lem.cli.export import add_to
from pytest_lem.cli.results.comparing import COMPARE, compare
from pytest_lem.cli.results.keeping import PRUNE, REBUILD, prune, rebuild
from pytest_lem.cli.results.listing import LIST, list_runs
from pytest_lem.cli.results.showing import SHOW, show
from pytest_lem.cli.results.verifying import VERIFY, verify

app = typer.Typer(
    help="Runs that were measured, and what other tools did.", no_args_is_help=True, rich_markup_mode=None
)
app.command("list", epilog=LIST)(list_runs)
app.command(epilog=SHOW)(show)
app.command(epilog=COMPARE)(compare)
app.command(epilog=VERIFY)(verify)
app.command(epilog=REBUILD)(rebuild)
app.command(epilog=PRUNE)(prune)
add_to(app)
