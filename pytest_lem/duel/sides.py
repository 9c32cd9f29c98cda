"""What `--lem-duel` asks for: the other side of a duel, and the two engines that it comes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pytest_lem.campaign.layers import ENGINE_FIELDS, WORKLOAD_FIELDS
from pytest_lem.campaign.values import normal, unknown, validated
from pytest_lem.engines import registry
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec

OPTION = "--lem-duel"
FIELDS = ("backend", *ENGINE_FIELDS)
SHAPES = "git:REF, python:PATH or spec:KEY=VALUE,…"
_PAIRS = {"]": "[", "}": "{"}


@dataclass(frozen=True)
class GitSide:
    """The engine of a commit: `ref` is whatever git takes for one. It is the baseline."""

    ref: str

    @property
    def words(self) -> str:
        """As it was asked for."""
        return f"git:{self.ref}"


@dataclass(frozen=True)
class PythonSide:
    """The engine under another interpreter, `path` absolute. It is the baseline."""

    path: str

    @property
    def words(self) -> str:
        """As it was asked for."""
        return f"python:{self.path}"


@dataclass(frozen=True)
class SpecSide:
    """The test's engine with something changed. It is the candidate: the question is what the change does.

    `fields` are fields of the engine's spec, `options` the options of each engine; values as an experiment has them.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What is changed, in full names."""
        options = {f"{engine}.{name}": value for engine, own in self.options.items() for name, value in own.items()}
        return "spec:" + ",".join(f"{name}={_shown(value)}" for name, value in {**self.fields, **options}.items())


Side = GitSide | PythonSide | SpecSide


@dataclass(frozen=True)
class Contestant:
    """One side of a duel: what it is called, its engine, and the commit that its code is of, where that is known."""

    words: str
    spec: EngineSpec
    commit: str | None = None


def parse(text: str) -> Side:
    """The other side that `text` names. Raises UsageError, one line that names the option and the nearest word."""
    kind, colon, rest = text.partition(":")
    rest = rest.strip()
    if kind not in ("git", "python", "spec"):
        raise UsageError(f"{OPTION}={text}: expected {SHAPES}")
    if not colon or not rest:
        raise UsageError(f"{OPTION}={text}: nothing after {kind}:; expected {SHAPES}")
    if kind == "git":
        return _git(rest, text)
    return _python(rest, text) if kind == "python" else _spec(rest, text)


def why_not(side: Side, spec: EngineSpec) -> str | None:
    """Why `side` says nothing about the engine `spec`, in words; None where they can meet."""
    if not isinstance(side, SpecSide):
        return None
    backend = side.fields.get("backend", spec.backend)
    if not side.fields and backend not in side.options:
        return f"{OPTION}={side.words} is about {', '.join(side.options)}, not about {backend}"
    return f"{OPTION}={side.words} changes nothing of this engine" if _changed(side, spec) == spec else None


def contestants(
    side: Side,
    spec: EngineSpec,
    *,
    python: str | None = None,
    commit: str | None = None,
    pythons: Mapping[str, str] | None = None,
) -> tuple[Contestant, Contestant]:
    """The baseline and the candidate, in this order, for a test whose engine is `spec` (checked, device resolved).

    `python` and `commit` are those of a git side's environment; `pythons` says which interpreter holds which engine,
    for a side that takes another one. Raises UsageError for two engines that cannot meet.
    """
    here = Contestant("this checkout" if isinstance(side, GitSide) else "this test's engine", spec)
    if isinstance(side, SpecSide):
        return here, Contestant(side.words, _checked(_changed(side, spec, pythons or {}), spec, side))
    path = side.path if isinstance(side, PythonSide) else python
    if path is None:
        raise ValueError("a git side needs the interpreter of its environment")
    there = Contestant(side.words, _checked(spec.replace(python=path), spec, side), commit)
    return there, here


def _changed(side: SpecSide, spec: EngineSpec, pythons: Mapping[str, str] | None = None) -> EngineSpec:
    backend = side.fields.get("backend", spec.backend)
    same = backend == spec.backend
    options = {**(spec.options if same else {}), **side.options.get(backend, {})}
    python = spec.python if same else (pythons or {}).get(backend)
    fields = {**spec.model_dump(), **side.fields, "options": options, "python": python}
    return validated(EngineSpec, fields, f"{OPTION}={side.words}")


def _checked(other: EngineSpec, spec: EngineSpec, side: Side) -> EngineSpec:
    try:
        checked = registry.validate(other)
    except UsageError as error:
        raise UsageError(f"{OPTION}={side.words}: {error}") from None
    if (checked.gpus, checked.device) != (spec.gpus, spec.device):
        raise UsageError(
            f"{OPTION}={side.words}: a duel has one GPU set: {checked.gpus} GPU(s) on {checked.device!r} cannot meet "
            f"{spec.gpus} on {spec.device!r}"
        )
    return checked


def _git(ref: str, text: str) -> GitSide:
    if ref.startswith("-") or any(letter.isspace() for letter in ref):
        raise UsageError(f"{OPTION}={text}: {ref!r} is no git ref; name a branch, a tag or a commit")
    return GitSide(ref)


def _python(place: str, text: str) -> PythonSide:
    """An interpreter, or the folder of a virtual environment."""
    path = Path(place).expanduser().absolute()  # links stay: an environment is known by its own path
    if path.is_dir():
        path = path / "bin" / "python"
    if not path.is_file() or not os.access(path, os.X_OK):
        found = shutil.which(place) if os.sep not in place else None
        hint = f"; did you mean {found}?" if found else "; give the path of a python interpreter"
        raise UsageError(f"{OPTION}={text}: there is no interpreter at {path}{hint}")
    return PythonSide(str(path))


def _spec(rest: str, text: str) -> SpecSide:
    place = f"{OPTION}={text}"
    fields: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    for part in _parts(rest):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise UsageError(f"{place}: {part.strip()!r} is no KEY=VALUE")
        engine, dot, option = key.partition(".")
        target, name = (options.setdefault(_engine(engine, place), {}), option) if dot else (fields, key)
        if name in target:
            raise UsageError(f"{place}: {key} is given twice")
        target[name] = _scalar(value, place) if dot else _field(name, value, place)
    for engine, own in options.items():
        _check_options(engine, own, place)
    return SpecSide(fields, options)


def _field(name: str, value: str, place: str) -> Any:
    if name in WORKLOAD_FIELDS:
        raise UsageError(f"{place}: {name} is the workload's, and both sides of a duel have the same work")
    if name not in FIELDS:
        raise unknown("key", name, (*FIELDS, *(f"{engine}.OPTION" for engine in registry.names())), place)
    found = normal(name, value, place)
    if name == "backend":
        registry.entry(found, place=place)
    return found


def _engine(name: str, place: str) -> str:
    if name not in registry.names():
        raise unknown("engine", name, registry.names(), place)
    return name


def _check_options(engine: str, options: Mapping[str, Any], place: str) -> None:
    """Names and values, as far as the engine's entry knows them. Raises UsageError."""
    try:
        registry.validate(EngineSpec(backend=engine, options=options, precision=registry.entry(engine).precisions[0]))
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _scalar(value: str, place: str) -> Any:
    """As the project's file would read it: true, 3, 0.5, a word, a list, a mapping."""
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"{place}: {value!r} is no value; quote it, or write it as YAML would") from None


def _parts(text: str) -> Iterator[str]:
    """`text` at its commas, but for those inside brackets or quotes."""
    opened: list[str] = []
    begin = 0
    for index, letter in enumerate(text):
        if opened and opened[-1] in "'\"":
            opened = opened[:-1] if letter == opened[-1] else opened
        elif letter in "[{'\"":
            opened.append(letter)
        elif opened and _PAIRS.get(letter) == opened[-1]:
            opened.pop()
        elif letter == "," and not opened:
            yield text[begin:index]
            begin = index + 1
    yield text[begin:]


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
