"""What the installed TensorRT-LLM's source says of its classes; nothing of it is imported.

TensorRT-LLM takes half a minute to import and claims a GPU. Names are followed from file to file as Python would: a
class, an alias of some (`SpeculativeConfig = Union[...]`), an import of either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "tensorrt_llm"
# A field of such a kind takes any names.
OPEN = ("dict", "Dict", "Mapping", "Any")


@dataclass(frozen=True)
class Found:
    """A piece of source, and the file in which its names mean something."""

    file: Path
    node: ast.AST


def find(file: Path, name: str, passed: frozenset[Path] = frozenset()) -> Found | None:
    """What `name` means in `file`: a class or the expression that it is another word for. None for anything else."""
    for node in _statements(_parsed(file).body):
        meant = _meant(node, name)
        if meant is not None:
            return Found(file, meant)
        if isinstance(node, ast.ImportFrom):
            original = next((each.name for each in node.names if (each.asname or each.name) == name), None)
            source = _imported(file, node)
            if original and source and source not in passed:
                return find(source, original, passed | {file})
    return None


def _meant(node: ast.stmt, name: str) -> ast.AST | None:
    """The class or the expression that a statement calls `name`; None where it calls nothing so."""
    if isinstance(node, ast.ClassDef):
        return node if node.name == name else None
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return None
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    called = [target.id for target in targets if isinstance(target, ast.Name)]
    return node.value if called == [name] else None


def fields(found: Found) -> dict[str, Found]:
    """What a class is made of: the name of each field, and its declaration. Its bases' come first.

    A class that declares none is made of its `__init__`'s parameters.
    """
    node = found.node
    assert isinstance(node, ast.ClassDef)
    own: dict[str, Found] = {}
    for base in node.bases:
        meant = find(found.file, base.id) if isinstance(base, ast.Name) else None
        if meant is not None and isinstance(meant.node, ast.ClassDef) and meant.node is not node:
            own |= fields(meant)
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and "ClassVar" not in _names(each.annotation):
            own |= {name: Found(found.file, each) for name in _called(each)}
    return own or {each.arg: Found(found.file, each) for each in _parameters(node)}


def section(declared: Found) -> dict[str, Found]:
    """The fields of the section that a field holds, of every class that it may be; empty where it takes any names.

    Some fields are annotated as `object` and say their class beside it, in what their documentation is made of.
    """
    node = declared.node
    assert isinstance(node, (ast.AnnAssign, ast.arg))
    told = [node.annotation, getattr(node, "value", None)]
    if node.annotation is None or any(name in OPEN for name in _names(node.annotation)):
        return {}
    for expression in filter(None, told):
        known: dict[str, Found] = {}
        for found in _classes(Found(declared.file, expression)):
            known |= fields(found)
        if known:
            return known
    return {}


def _classes(kind: Found) -> Iterator[Found]:
    """Every class that an expression names, by itself or through an alias."""
    for name in _names(kind.node):
        meant = find(kind.file, name)
        if meant is not None and isinstance(meant.node, ast.ClassDef):
            yield meant
        elif meant is not None and meant.node is not kind.node:
            yield from _classes(meant)


def _names(node: ast.AST) -> list[str]:
    """Names in an expression, those that it has as text too (`Optional["BuildConfig"]`)."""
    found = [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]
    texts = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return found + [text for text in texts if text.isidentifier()]


def _called(declaration: ast.AnnAssign) -> list[str]:
    """The names that a field goes by: its own, and another that pydantic takes for it."""
    if not isinstance(declaration.target, ast.Name) or declaration.target.id.startswith("_"):
        return []
    keywords = declaration.value.keywords if isinstance(declaration.value, ast.Call) else []
    others = [each.value for each in keywords if each.arg in ("alias", "validation_alias")]
    names = [each.value for other in others for each in ast.walk(other) if isinstance(each, ast.Constant)]
    return [declaration.target.id, *(name for name in names if isinstance(name, str) and not name.startswith("_"))]


def _parameters(node: ast.ClassDef) -> list[ast.arg]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return [*each.args.args[1:], *each.args.kwonlyargs]
    return []


def _imported(file: Path, node: ast.ImportFrom) -> Path | None:
    """The file of the package that a statement imports from; None for another package's."""
    steps = (node.module or "").split(".") if node.module else []
    if node.level:
        folder = file.parents[node.level - 1]
    elif steps[:1] == [PACKAGE]:
        folder, steps = next(each for each in file.parents if each.name == PACKAGE), steps[1:]
    else:
        return None
    place = folder.joinpath(*steps)
    return next((each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file()), None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` too."""
    for node in body:
        yield node
        for part in ("body", "orelse", "handlers"):
            if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler)):
                yield from _statements(getattr(node, part, []))


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
