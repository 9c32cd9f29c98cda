"""Every command tells what it does, with examples, and speaks JSON where it tells anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pytest_lem.cli import app

# They start something that goes on, write a file or stream, and tell nothing that a program would read.
WITHOUT_JSON = {
    "experiment",
    "campaign",
    "badge",
    "merge",
    "schedule run",
    "schedule export",
    "config schema",
    "config new",
}


def commands(group, *names: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join([*names, name]), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_tells_what_it_does_with_examples(name):
    found = CliRunner().invoke(app, [*name.split(), "--help"])
    assert found.exit_code == 0
    assert len(re.split("Examples?:", found.output)) == 2
    assert f"lem {name}" in re.split("Examples?:", found.output)[-1]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_JSON))
def test_a_command_speaks_json(name):
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_no_command_is_excused_that_is_gone():
    assert set(COMMANDS) >= WITHOUT_JSON
