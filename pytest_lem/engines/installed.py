"""Which engines an interpreter has: asked of that interpreter, which imports none of them for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.errors import UsageError

_SECONDS = 60
# Its first place is the folder that the command was called in, whose files are no packages.
_ASK = """
import importlib.metadata, importlib.util, json, sys
sys.path[:] = [place for place in sys.path if place]
owners = importlib.metadata.packages_distributions()
def version(name):
    if importlib.util.find_spec(name) is None:
        return None
    return next((importlib.metadata.version(owner) for owner in owners.get(name, ())), "of unknown version")
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Installed:
    """An engine in an interpreter: the `versions` of the modules it runs on, null for those that are not there."""

    name: str
    versions: dict[str, str | None]
    precisions: tuple[str, ...]
    options: tuple[str, ...]
    needs: str

    @property
    def available(self) -> bool:
        """Whether all of its modules are there; one that names none is taken at its word."""
        return None not in self.versions.values()

    @property
    def line(self) -> str:
        """`torch 2.13.0, transformers 5.19.0`, or what is missing and how to get it."""
        missing = ", ".join(name for name, version in self.versions.items() if version is None)
        if missing:
            return f"{missing} not installed" + (f": {self.needs}" if self.needs else "")
        return ", ".join(f"{name} {version}" for name, version in self.versions.items()) or "it does not say on what"


def installed(entries: Sequence[EngineEntry], python: str, *, place: str) -> tuple[Installed, ...]:
    """The engines `entries` as the interpreter `python` has them. Raises UsageError naming `place` where it fails."""
    names = list(dict.fromkeys(package for entry in entries for package in entry.packages))
    versions = _versions(python, names, place)
    return tuple(
        Installed(
            name=entry.name,
            versions={package: versions[package] for package in entry.packages},
            precisions=entry.precisions,
            options=tuple(field.alias or key for key, field in entry.options.model_fields.items())
            if entry.options
            else (),
            needs=entry.needs,
        )
        for entry in entries
    )


def _versions(python: str, names: Sequence[str], place: str) -> dict[str, str | None]:
    try:
        told = subprocess.run(
            [python, "-c", _ASK, *names], capture_output=True, text=True, timeout=_SECONDS, check=True
        ).stdout
        return dict(json.loads(told))
    except subprocess.CalledProcessError as error:
        fault = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        fault = str(error)
    raise UsageError(f"{place}={python}: the interpreter does not answer ({fault}); name a Python >= 3.11")
