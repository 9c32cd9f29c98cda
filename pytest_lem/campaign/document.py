"""A YAML file as values, each with the line that says it.

The file is composed, not loaded: nodes know their lines, and an alias stays one node until it is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pytest_lem.model.errors import UsageError

MOST_VALUES = 100_000
MOST_BYTES = 256 * 1024
NUMBERED = "histogram"
"""The keyword below which keys are whole numbers: token counts and their weights."""
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True)
class Document:
    """What a file says: keyword → value; `origins` maps paths (`batch`, `experiments[0].batch`) to `lem.yaml:7`."""

    values: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


def read(path: Path, name: str) -> Document:
    """The file at `path`, which errors and origins call `name`; an empty one says nothing.

    Raises UsageError, one line with file and line: a file too large to be written by hand, no YAML, tabs, a keyword
    twice, a key that is no name, aliases that unfold without end.
    """
    text = _text(path, name)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return Document() if node is None else _Reader(loader, name).document(node)
    except yaml.MarkedYAMLError as error:
        raise UsageError(_marked(error, name)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{name}:{line}: a character that YAML does not allow: {error.character!r}") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply to be read") from None


def _text(path: Path, name: str) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UsageError(
                f"{name}: {size / 1024:.0f} KiB; at most {MOST_BYTES // 1024} are read: keep prompts in a file of data"
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}:{line}: not UTF-8 text; save it as such") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read: {getattr(error, 'strerror', error)}") from None


def _marked(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{name}:{mark.line + 1}" if mark else name
    if error.problem and "'\\t'" in error.problem:
        return f"{place}: a tab; YAML is indented by spaces"
    return f"{place}: {', '.join(part for part in (error.problem, error.context) if part)}"


class _Reader:
    """Turns nodes into values, and remembers their lines; `name` is the file's."""

    def __init__(self, loader: yaml.SafeLoader, name: str) -> None:
        self._loader = loader
        self._name = name
        self._origins: dict[str, str] = {}
        self._open: set[int] = set()
        self._read = 0

    def document(self, node: yaml.Node) -> Document:
        """The whole file."""
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{self._at(node)}: expected keywords such as `batch: [1, 8]`, got {_shown(node)}")
        return Document(self._value(node, ""), self._origins)

    def _value(self, node: yaml.Node, path: str) -> Any:
        self._read += 1
        if self._read > MOST_VALUES:
            raise UsageError(f"{self._at(node)}: more than {MOST_VALUES} values, with its aliases unfolded")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in _PLAIN:
            raise UsageError(f"{self._at(node)}: {node.tag} is not read here; write a plain list or mapping")
        if id(node) in self._open:
            raise UsageError(f"{self._at(node)}: an alias that holds itself")
        self._open.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._open.remove(id(node))
        return value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # `2024-13-45` has the shape of a date
            raise UsageError(f"{self._at(node)}: {node.value}: {error}") from None

    def _list(self, node: yaml.Node, path: str) -> list[Any]:
        found = []
        for index, entry in enumerate(node.value):
            inner = f"{path}[{index}]"
            self._origins[inner] = self._at(entry)
            found.append(self._value(entry, inner))
        return found

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, entry in node.value:
            key = self._key(key_node, path)
            if key in lines:
                raise UsageError(f"{self._at(key_node)}: {key!r} is given twice, first in line {lines[key]}; keep one")
            lines[key] = key_node.start_mark.line + 1
            inner = f"{path}.{key}" if path else key
            self._origins[inner] = self._at(key_node)
            found[key] = self._value(entry, inner)
        return found

    def _key(self, node: yaml.Node, path: str) -> str:
        if node.tag == "tag:yaml.org,2002:merge":
            raise UsageError(f"{self._at(node)}: '<<' is not read here; write the keywords out")
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if path.rpartition(".")[2] == NUMBERED and isinstance(key, int) and not isinstance(key, bool):
            return str(key)
        if not isinstance(key, str) or not key:
            raise UsageError(f"{self._at(node)}: a keyword is a name, got {_shown(node)}")
        return key

    def _at(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.CollectionNode):
        return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
    return repr(node.value)
