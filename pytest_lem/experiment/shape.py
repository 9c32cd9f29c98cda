"""Whether a file holds words that mean something, each with what may stand there: the first look, with its line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.extends import KEY
from pytest_lem.experiment.kinds import fault
from pytest_lem.experiment.words import NEUTRAL, SHADOWED, WORDS, Word
from pytest_lem.model.errors import UsageError

STRUCTURE = (KEY, "sweep", "experiments", "unless", "budget", "gate", "campaign")
_NAMES = frozenset((*WORDS, *NEUTRAL, *SHADOWED))
SECTIONS = frozenset(name.rpartition(".")[0] for name in _NAMES if "." in name)
"""Words that hold others."""


def check_shape(document: Document, engines: Collection[str], words: Mapping[str, Word] = WORDS) -> None:
    """Raise UsageError, one line with its file and line, for an unknown word, or a value that cannot stand there.

    `engines` are those installed: each may have a section, which is the engine's own to check.
    """
    for section, name, value in _walk(document.values, "", engines):
        path = f"{section}.{name}" if section else name
        if "." in name:
            raise UsageError(f"{said_at(document, path)}: {_dotted(path, engines)}")
        word = words.get(path)
        if word is None or value is None:
            _check_section(document, path, value)
            continue
        if isinstance(value, Mapping) and path in SECTIONS and fault(word.kind, value):
            continue
        found = fault(word.kind, value)
        if found is not None:
            raise UsageError(f"{said_at(document, path + found[0])}: {path}: {found[1]}")


def said_at(document: Document, path: str) -> str:
    """Where `path` is said: its own line, or that of what holds it."""
    while path and path not in document.origins:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return document.origins.get(path, "")


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """What stands at `path`, None where nothing does: a null is not said."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def unknown_word(name: str, section: str, engines: Collection[str]) -> str:
    """What is told of a word that nobody knows: the nearest that means something."""
    if not section:
        whole = [known for known in _NAMES if known.endswith(f".{name}")]
        if whole:
            return f"unknown key {name!r}; say {min(whole, key=len)}"
    prefix = f"{section}." if section else ""
    known = {each.removeprefix(prefix).partition(".")[0] for each in _NAMES if each.startswith(prefix)}
    known |= set() if section else {*STRUCTURE, *engines}
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
    return f"unknown key {prefix + name!r}; the nearest known one is {prefix + near!r}"


def _walk(values: Mapping[str, Any], section: str, engines: Collection[str]) -> Iterator[tuple[str, str, Any]]:
    """Every word of the file: its section, its name, its value.

    What has a structure of its own, or is an engine's, is not looked into.
    """
    for name, value in values.items():
        path = f"{section}.{name}" if section else name
        if not section and name in (*STRUCTURE, *engines):
            continue
        yield section, name, value
        if isinstance(value, Mapping) and path in SECTIONS and path not in SHADOWED:
            yield from _walk(value, path, engines)


def _dotted(path: str, engines: Collection[str]) -> str:
    """What is told of a name with dots, which only a sweep reads."""
    section, _, name = path.rpartition(".")
    if path in _NAMES or section in engines:
        return f"{path}: names have dots under sweep only; write `{section}: {{{name}: …}}`"
    return unknown_word(path, "", engines)


def _check_section(document: Document, path: str, value: object) -> None:
    """What has no kind of its own: a section, a word that means nothing here, or nobody's."""
    at = said_at(document, path)
    if path in NEUTRAL or path in SHADOWED:
        deciding = SHADOWED.get(path, path)
        asked = value_at(document.values, deciding)
        neutral, answer = NEUTRAL[deciding]
        if asked is not None and not any(asked == each and type(asked) is type(each) for each in neutral):
            raise UsageError(f"{said_at(document, deciding)}: {deciding}: {asked!r} cannot be had: {answer}")
    elif path in SECTIONS:
        if value is not None and not isinstance(value, Mapping):
            raise UsageError(f"{at}: {path}: expected a mapping, such as {_example(path)}; got {value!r}")
    elif path not in _NAMES:
        section, _, name = path.rpartition(".")
        raise UsageError(f"{at}: {unknown_word(name, section, ())}")


def _example(section: str) -> str:
    """The first word of a section, as it may be written."""
    name = next(word for word in WORDS if word.startswith(f"{section}."))
    return f"`{section}: {{{name.rpartition('.')[2]}: …}}`"
