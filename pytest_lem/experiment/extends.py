"""`_extends`: a file says only what it changes; what it builds on lies in other files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_lem.campaign.document import Document, read
from pytest_lem.model.errors import UsageError

KEY = "_extends"
Shown = Callable[[Path], str]


def load(path: Path, shown: Shown) -> Document:
    """The file at `path` over the files that it extends, in order, and those over theirs; each value with its line.

    Mappings are merged, deeply; lists and scalars are replaced. `shown` is how errors and origins call a file. Raises
    UsageError: what `document.read` refuses, a file that is not there, a circle of files with its chain.
    """
    return _Family(shown).load(path.absolute(), ())


class _Family:
    """Files by where they lie, each read once however many extend it."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._loaded: dict[Path, Document] = {}

    def load(self, path: Path, children: tuple[Path, ...]) -> Document:
        """`children` are the files that led here, the first one first."""
        known = path.resolve()
        if known not in self._loaded:
            own = read(path, self._shown(path))
            merged = Document()
            for parent, place in _parents(own, path):
                self._refuse_circle(parent, (*children, path), place)
                merged = overlaid(merged, self._parent(parent, (*children, path), place))
            self._loaded[known] = overlaid(merged, own)
        return self._loaded[known]

    def _parent(self, parent: Path, children: tuple[Path, ...], place: str) -> Document:
        if not parent.is_file():
            raise UsageError(
                f"{place}: {KEY}: there is no file {self._shown(parent)}; paths start at the file's folder"
            )
        return self.load(parent, children)

    def _refuse_circle(self, parent: Path, children: tuple[Path, ...], place: str) -> None:
        resolved = [child.resolve() for child in children]
        if parent.resolve() in resolved:
            circle = [*children[resolved.index(parent.resolve()) :], parent]
            chain = " → ".join(self._shown(path) for path in circle)
            raise UsageError(f"{place}: {KEY}: the files extend each other in a circle: {chain}")


def overlaid(below: Document, above: Document) -> Document:
    """`above` over `below`: mappings are merged, all else is replaced, its origins too."""
    values, origins = dict(below.values), dict(below.origins)
    _overlay(values, origins, above.values, above.origins, "")
    values.pop(KEY, None)
    return Document(values, origins)


def _overlay(
    values: dict[str, Any], origins: dict[str, str], above: Mapping[str, Any], told: Mapping[str, str], path: str
) -> None:
    for key, value in above.items():
        inner = f"{path}.{key}" if path else key
        known = values.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            values[key] = dict(known)
            origins[inner] = told.get(inner, origins.get(inner, ""))
            _overlay(values[key], origins, value, told, inner)
            continue
        for gone in [each for each in origins if within(each, inner)]:
            del origins[gone]
        values[key] = value
        origins |= {each: origin for each, origin in told.items() if within(each, inner)}


def within(path: str, holder: str) -> bool:
    """Whether `path` is `holder`, or lies in it."""
    return path.startswith(holder) and path[len(holder) :][:1] in ("", ".", "[")


def _parents(own: Document, path: Path) -> list[tuple[Path, str]]:
    """The files that it extends, with the place that names each."""
    given = own.values.get(KEY)
    if given is None:
        return []
    named = [(KEY, given)] if isinstance(given, str) else [(f"{KEY}[{n}]", each) for n, each in enumerate(_list(given))]
    if not named or not all(isinstance(each, str) and each and "\0" not in each for _, each in named):
        raise UsageError(f"{own.origins[KEY]}: {KEY}: expected a file's name, or a list of them, got {given!r}")
    return [(path.parent / Path(each).expanduser(), own.origins.get(at, own.origins[KEY])) for at, each in named]


def _list(given: object) -> list[Any]:
    return given if isinstance(given, list) else [given]
