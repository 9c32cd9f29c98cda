"""What was imported, in a folder of its own beside the runs: nothing that looks for runs or baselines finds it."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.model.foreign import Foreign
from pytest_lem.store.files import from_json, to_json, write_atomic

IMPORTS = "imports"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def shelved(results: Path) -> list[str]:
    """The names of all that was imported."""
    return sorted(path.stem for path in (results / IMPORTS).glob("*.json"))


def shelve(foreign: Foreign, name: str, results: Path) -> Path:
    """Keep `foreign` as `name`, in place of what had that name. Raises UsageError, or StoreError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name={name}: expected letters, digits, '.', '_' and '-', at most 100")
    place = results / IMPORTS / f"{name}.json"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror}") from error
    write_atomic(place, to_json(foreign, indent=1) + "\n")
    return place


def from_shelf(name: str, results: Path) -> Foreign | None:
    """What was imported as `name`, or None. Raises StoreError where it cannot be read."""
    place = results / IMPORTS / f"{name}.json"
    return from_json(Foreign, place) if _NAME.fullmatch(name) and place.is_file() else None


def fitting_name(tool: str, path: Path) -> str:
    """A name for a file that was given none: its folder's or its own, whichever tells more, after its tool's."""
    told = path.parent.resolve().name if path.stem.startswith("benchmark") else path.stem
    named = told if told.startswith(tool) else f"{tool}-{told}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", named).strip("-.")
    return plain[:100]
