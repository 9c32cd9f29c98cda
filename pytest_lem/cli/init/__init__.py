"""`lem init`: a first test, a first experiment file and a workflow of CI, in a project that has none."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pytest_lem.cli.output import AsJson, refusing, say, say_json

INIT = """\b
Examples:
  lem init                           into benchmarks/, with a workflow for GitHub
  lem init perf/energy --ci gitlab
  lem init --ci none                 the test and the experiment file alone"""


class Forge(StrEnum):
    """Whose CI runs the gate."""

    github = "github"
    gitlab = "gitlab"
    none = "none"


def init(
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="where the benchmarks are")] = "benchmarks",
    ci: Annotated[Forge, typer.Option(help="whose CI runs the gate")] = Forge.github,
    as_json: AsJson = False,
) -> None:
    """Write a commented first test, an experiment file and a CI workflow. Files that are there stay as they are.

    Run it in the root of the repository. Where one file cannot be written, none is.
    """
    with refusing("init"):
        from pytest_lem.cli.init.files import files, steps
        from pytest_lem.cli.init.writing import write_new

        written, kept = write_new(files(folder, ci.value))
        then = steps(folder, ci.value, kept)
        if as_json:
            say_json({"written": written, "kept": kept, "next": then})
            return
        for path in written:
            say(f"written  {path}")
        for path in kept:
            say(f"kept     {path}: it was there already")
        for number, line in enumerate(then):
            say(f"{'next:' if number == 0 else 'then:'} {line}")
