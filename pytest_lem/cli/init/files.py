"""Which files `lem init` writes, and what is to be done with them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from pytest_lem.cli.init.texts import GITHUB, GITLAB, PIPELINE_TEXT, TEST
from pytest_lem.engines import registry
from pytest_lem.experiment import schema as schemas
from pytest_lem.experiment.starter import starter
from pytest_lem.model.errors import UsageError

NAME = "energy"
WORKFLOW = Path(".github", "workflows", f"{NAME}.yml")
JOB = Path(".gitlab", f"{NAME}.yml")
PIPELINE = Path(".gitlab-ci.yml")


def files(folder: str, ci: str) -> dict[Path, str]:
    """Path → text. Raises UsageError for a folder that CI could not name, or outside of the repository's root."""
    place = PurePosixPath(folder)
    if not re.fullmatch(r"[\w.][\w./-]*", folder) or ".." in place.parts:
        raise UsageError(f"{folder}: name a folder below this one, of letters, digits, '.', '_', '-' and '/'")
    _in_the_root(ci)
    experiment = Path(place, f"{NAME}.lem.yaml")
    return {
        Path(place, f"test_{NAME}.py"): _for(place, TEST),
        experiment: starter(NAME, str(experiment)),
        Path(place, "lem.schema.json"): schemas.text(schemas.schema(registry.names())),
        **{path: _for(place, text) for path, text in _ci(ci).items()},
    }


def steps(folder: str, ci: str, kept: Collection[Path]) -> list[str]:
    """What comes next, a command or a sentence each."""
    place = PurePosixPath(folder)
    found = [f"pytest {place} --lem-quick"]
    if PIPELINE in kept and JOB.as_posix() not in PIPELINE.read_text(encoding="utf-8", errors="replace"):
        found.append(f"{PIPELINE} was there: say in it   include: [{{local: {JOB.as_posix()}}}]")
    return found if ci == "none" else [*found, f"git add {' '.join(map(str, [place, *_ci(ci)]))}"]


def _ci(ci: str) -> dict[Path, str]:
    if ci == "github":
        return {WORKFLOW: GITHUB}
    return {JOB: GITLAB, PIPELINE: PIPELINE_TEXT} if ci == "gitlab" else {}


def _for(place: PurePosixPath, text: str) -> str:
    return text.replace("FOLDER", str(place))


def _in_the_root(ci: str) -> None:
    here = Path.cwd()
    root = next((each for each in (here, *here.parents) if (each / ".git").exists()), here)
    if ci != "none" and root != here:
        raise UsageError(f"CI looks in the root of the repository only: run it in {root}, or say --ci none")
