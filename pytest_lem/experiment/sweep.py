"""`sweep` and `experiments`: many configurations out of one file, each a document of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, get_args

from pytest_lem.campaign.document import Document
from pytest_lem.campaign.ranges import KEYS, numbers
from pytest_lem.engines import registry
from pytest_lem.experiment.extends import overlaid
from pytest_lem.experiment.kinds import parts_of
from pytest_lem.experiment.shape import said_at
from pytest_lem.experiment.words import WORDS
from pytest_lem.model.errors import UsageError

MOST = 10_000
EXCLUDE = "exclude"


@dataclass(frozen=True)
class Axis:
    """What a sweep varies: a word, with dots, its values, and where each is said."""

    word: str
    values: tuple[Any, ...]
    origins: tuple[str, ...]


def configurations(document: Document) -> list[Document]:
    """The file once for each combination of what `sweep` varies, within each entry of `experiments`; else alone.

    Raises UsageError, one line with file and line, for a sweep that cannot be, or of more than 10,000 combinations.
    """
    base = _without(document, "sweep", "experiments")
    starts = [overlaid(base, entry) for entry in _entries(document)] or [base]
    axes = axes_of(document)
    count = len(starts) * prod(len(axis.values) for axis in axes)
    if count > MOST:
        at = said_at(document, "sweep")
        raise UsageError(f"{at}: sweep: {count} configurations; at most {MOST} are run from one file")
    return [_at(start, axes, picked) for start in starts for picked in product(*(range(len(a.values)) for a in axes))]


def axes_of(document: Document) -> list[Axis]:
    """What `sweep` varies, in its order."""
    given = document.values.get("sweep")
    if given is None:
        return []
    if not isinstance(given, Mapping):
        at = said_at(document, "sweep")
        raise UsageError(f"{at}: sweep: expected words with lists, such as `batch_size: [1, 8]`; got {given!r}")
    found = list(_axes(document, {name: value for name, value in given.items() if name != EXCLUDE}, "", "sweep"))
    words = [axis.word for axis in found]
    for axis in found:
        if words.count(axis.word) > 1:
            raise UsageError(f"{axis.origins[0]}: sweep: {axis.word} is varied twice; keep one of them")
    return found


def _axes(document: Document, given: Mapping[str, Any], section: str, path: str) -> Iterator[Axis]:
    for name, value in given.items():
        word, inner = (f"{section}.{name}" if section else name), f"{path}.{name}"
        if isinstance(value, Mapping) and not _ranged(value):
            yield from _axes(document, value, word, inner)
            continue
        place = said_at(document, inner)
        if word.partition(".")[0] in (
            "_extends",
            "sweep",
            "experiments",
            "campaign",
            "budget",
            "gate",
            "config_name",
            "id",
        ):
            raise UsageError(f"{place}: sweep: {word} cannot be varied; it is about the whole file")
        if not isinstance(value, list | Mapping):
            raise UsageError(f"{place}: sweep: {word}: expected a list or a range; got {value!r}")
        entries = value if isinstance(value, list) else [value]
        values = [_numbers(word, each, place) if _ranged(each) else [each] for each in entries]
        if not any(values):
            raise UsageError(f"{place}: sweep: {word} is empty; name at least one value, or leave it out")
        origins = [
            said_at(document, f"{inner}[{n}]" if isinstance(value, list) else inner) for n in range(len(entries))
        ]
        yield Axis(
            word,
            tuple(each for made in values for each in made),
            tuple(origin for origin, made in zip(origins, values, strict=True) for _ in made),
        )


def _ranged(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and set(value) <= set(KEYS)


def _numbers(word: str, given: Mapping[str, Any], place: str) -> list[Any]:
    whole = _whole(word)
    found = numbers(given, whole=whole, place=f"{place}: sweep: {word}")
    return [int(each) for each in found] if whole else found


def _whole(word: str) -> bool:
    """Whether the word takes whole numbers, as far as the table, or the engine that has the option, knows."""
    engine, _, option = word.partition(".")
    kind: Any = WORDS[word].kind if word in WORDS else None
    if kind is None and engine in registry.names():
        options = registry.entry(engine).options
        field = options.model_fields.get(option) if options else None
        kind = field.annotation if field else None
    plain = {get_args(part)[0] if get_args(part) else part for part in parts_of(kind)} if kind is not None else set()
    return int in plain and float not in plain


def _entries(document: Document) -> list[Document]:
    given = document.values.get("experiments")
    if given is None:
        return []
    at = said_at(document, "experiments")
    if not isinstance(given, list) or not given:
        raise UsageError(f"{at}: experiments: expected a list of configurations; got {given!r}")
    found = []
    for index, entry in enumerate(given):
        path = f"experiments[{index}]"
        if not isinstance(entry, Mapping):
            raise UsageError(f"{said_at(document, path)}: {path}: expected words as a mapping; got {entry!r}")
        for name in ("sweep", "experiments", "unless", "budget", "gate", "campaign", "config_name", "id", "_extends"):
            if name in entry:
                raise UsageError(f"{said_at(document, f'{path}.{name}')}: {name} stands beside experiments, not in one")
        origins = {at.removeprefix(f"{path}."): o for at, o in document.origins.items() if at.startswith(f"{path}.")}
        found.append(Document(dict(entry), origins))
    return found


def _at(start: Document, axes: list[Axis], picked: tuple[int, ...]) -> Document:
    for axis, index in zip(axes, picked, strict=True):
        start = overlaid(start, _only(axis.word, axis.values[index], axis.origins[index], start))
    return start


def _only(word: str, value: Any, origin: str, below: Document) -> Document:
    """A file that says one thing; its sections are said there too, where `below` has none."""
    parts = word.split(".")
    origins = {word: origin}
    for depth in range(len(parts) - 1, 0, -1):
        section = ".".join(parts[:depth])
        origins[section] = below.origins.get(section, origin)
    values = value
    for name in reversed(parts):
        values = {name: values}
    return Document(values, origins)


def _without(document: Document, *names: str) -> Document:
    values = {name: value for name, value in document.values.items() if name not in names}
    origins = {
        path: origin for path, origin in document.origins.items() if path.partition(".")[0].partition("[")[0] in values
    }
    return Document(values, origins)
