"""What every command shares: its options, how it speaks, how it refuses.

Exit status: 0; 1 where something was found (a broken budget, a difference that was asked for, a fault); 2 where the
command could not do what it was asked, which one line says on stderr.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

FOUND = 1
REFUSED = 2
HERE = Path(".lem")
Results = Annotated[Path, typer.Option(metavar="DIR", help="where runs and baselines are kept")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead, for other programs")]


@contextmanager
def refusing(command: str) -> Iterator[None]:
    """Say an error of ours in its line, `lem COMMAND: …`, and exit with 2."""
    from pytest_lem.model.errors import LemError

    try:
        yield
    except LemError as error:
        for line in str(error).splitlines():
            typer.echo(f"lem {command}: {line}", err=True)
        raise typer.Exit(REFUSED) from None


def say(line: str) -> None:
    """A line for people, or for the next program."""
    typer.echo(line)


def say_json(value: Any) -> None:
    """Frozen data, or plain lists and mappings of it, as JSON; what is not finite is written as null."""
    import json

    from pydantic_core import to_jsonable_python

    typer.echo(json.dumps(to_jsonable_python(value, by_alias=True, inf_nan_mode="null"), indent=1, ensure_ascii=False))


def count(number: int, word: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
