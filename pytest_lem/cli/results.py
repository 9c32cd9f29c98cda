"""`lem results`: the runs in a folder of results."""

from __future__ import annotations

import typer

from pytest_lem.cli.export import add_to

app = typer.Typer(
    help="Runs that were measured, and what other tools did.", no_args_is_help=True, rich_markup_mode=None
)
add_to(app)
