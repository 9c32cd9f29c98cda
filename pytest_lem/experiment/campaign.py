"""A campaign file: several experiment files, run in one go, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.extends import Shown, load
from pytest_lem.experiment.kinds import fault
from pytest_lem.experiment.shape import said_at
from pytest_lem.experiment.words import CAMPAIGN
from pytest_lem.model.errors import UsageError

WORDS = {word.name.removeprefix("campaign."): word for word in CAMPAIGN}
SETTINGS = ("cycles", "order", "seed", "gap")
BESIDE = ("campaign", "config_name", "description", "extra_metadata")


@dataclass(frozen=True)
class Campaign:
    """The files, and what holds for all of them: `settings` by the names of their options; `origins` says where."""

    name: str
    files: tuple[Path, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


def read_campaign(path: Path, shown: Shown) -> Campaign | None:
    """The campaign in the file at `path`, None for a file of another kind. Raises UsageError with file and line."""
    document = load(path, shown)
    if "campaign" not in document.values:
        return None
    for name in document.values:
        if name not in BESIDE:
            at = said_at(document, name)
            raise UsageError(f"{at}: {name}: a campaign names other files, and says nothing of experiments itself")
    return _campaign(document, path, shown)


def _campaign(document: Document, path: Path, shown: Shown) -> Campaign:
    given = document.values["campaign"]
    if not isinstance(given, Mapping):
        raise UsageError(
            f"{said_at(document, 'campaign')}: campaign: expected `files: [a.lem.yaml]` in it; got {given!r}"
        )
    for name, value in given.items():
        at = said_at(document, f"campaign.{name}")
        if name not in WORDS:
            near = get_close_matches(str(name), WORDS, n=1, cutoff=0.0)[0]
            raise UsageError(f"{at}: unknown key 'campaign.{name}'; the nearest known one is 'campaign.{near}'")
        found = fault(WORDS[name].kind, value) if value is not None else None
        if found is not None:
            raise UsageError(f"{said_at(document, f'campaign.{name}{found[0]}')}: campaign.{name}: {found[1]}")
    settings = {name: given[name] for name in SETTINGS if given.get(name) is not None}
    return Campaign(
        name=str(given.get("name") or document.values.get("config_name") or path.name),
        files=_files(document, given.get("files") or [], path, shown),
        settings={name: str(value) if name == "gap" else value for name, value in settings.items()},
        origins={name: said_at(document, f"campaign.{name}") for name in settings},
    )


def _files(document: Document, names: list[str], path: Path, shown: Shown) -> tuple[Path, ...]:
    if not names:
        raise UsageError(f"{said_at(document, 'campaign.files')}: campaign: names no files; say `files: [a.lem.yaml]`")
    found: dict[Path, None] = {}
    for index, name in enumerate(names):
        at = said_at(document, f"campaign.files[{index}]")
        file = path.parent / Path(name).expanduser()
        if "\0" in name or not file.is_file():
            raise UsageError(f"{at}: campaign.files: there is no file {name!r}; paths start at the campaign's folder")
        if file.resolve() == path.resolve() or "campaign" in load(file, shown).values:
            raise UsageError(f"{at}: campaign.files: {name} is a campaign; name experiment files")
        found[file.resolve()] = None
    return tuple(found)
