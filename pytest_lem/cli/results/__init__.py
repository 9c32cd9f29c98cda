"""`lem results`: the runs that are kept, listed, compared, checked, cleared away."""

from __future__ import annotations

import typer

from pytest_lem.cli import export
from pytest_lem.cli.results.listing import LIST, list_runs

app = typer.Typer(help="The runs that are kept.", rich_markup_mode=None, no_args_is_help=True)
app.command("list", epilog=LIST)(list_runs)
export.add_to(app)
