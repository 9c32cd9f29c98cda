"""The engines that can be asked for: those of this package, and those of other installed distributions."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any

from pydantic import AliasChoices, BaseModel, ValidationError

from pytest_lem.engines.entry import EngineEntry
from pytest_lem.engines.models import locate
from pytest_lem.engines.pytorch import ENTRY as PYTORCH
from pytest_lem.engines.tensorrt import ENTRY as TENSORRT
from pytest_lem.engines.vllm import ENTRY as VLLM
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

GROUP = "pytest_lem.engines"
_BUILT_IN = {engine.name: engine for engine in (PYTORCH, VLLM, TENSORRT)}


def names() -> tuple[str, ...]:
    """The names of all engines, those of this package first."""
    third_party = set(_third_party().names) - set(_BUILT_IN)
    return (*_BUILT_IN, *sorted(third_party))


def entry(name: str, *, place: str = "--lem-backend") -> EngineEntry:
    """The engine called `name`. Raises UsageError naming `place`, the installed ones and the nearest."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = _third_party().select(name=name)
    if not found:
        known = names()
        nearest = difflib.get_close_matches(name, known, 1, 0.0)[0]
        raise UsageError(
            f"{place}: unknown backend {name!r}; did you mean {nearest!r}? Installed backends: {', '.join(known)}"
        )
    point = next(iter(found))
    loaded = point.load()
    if not isinstance(loaded, EngineEntry):
        raise UsageError(f"{place}: backend {name!r}: entry point {point.value!r} is no EngineEntry")
    return loaded


def validate(spec: EngineSpec) -> EngineSpec:
    """`spec` with its options checked and their defaults filled in; options without a value are left out.

    Raises UsageError, one line, for a backend, precision, option, interpreter or model that cannot be.
    """
    known = entry(spec.backend)
    if spec.precision not in known.precisions:
        raise UsageError(
            f"--lem-precision: backend {spec.backend!r} does not run {spec.precision}; "
            f"it runs {', '.join(known.precisions)}"
        )
    if spec.python is not None and not (shutil.which(spec.python) and os.path.isfile(spec.python)):
        raise UsageError(f"--lem-python {spec.backend}={spec.python}: there is no interpreter at that path")
    options = _options(known, spec)
    locate(spec.model, gguf_file=options.get("gguf_file"))
    return spec.replace(options=options, gpus=_gpus(known, spec, options))


def check_workload(spec: EngineSpec, workload: WorkloadSpec) -> None:
    """Raise UsageError, one line, for a workload that no engine can be asked, or not this one."""
    undrawn = workload.decoding.undrawn
    if undrawn:
        raise UsageError(
            f"decoding.{undrawn[0]}: temperature 0 takes the likeliest token, and draws none; "
            f"give a temperature, or leave {undrawn[0]} out"
        )
    why_not = entry(spec.backend).refuses(spec.options, workload)
    if why_not:
        raise UsageError(f"{why_not[0]}: backend {spec.backend!r}: {why_not[1]}")


def _third_party() -> EntryPoints:
    return _registered(tuple(sys.path))


@cache
def _registered(_path: tuple[str, ...]) -> EntryPoints:
    """Engines of other distributions, on this sys.path: every one installed is read for it, so it is done once."""
    return entry_points(group=GROUP)


def _gpus(known: EngineEntry, spec: EngineSpec, options: dict[str, Any]) -> int:
    """How many GPUs the options need; a count that was asked for must be the same."""
    needed = known.gpus(options)
    if needed is None:
        return spec.gpus
    if spec.gpus not in (1, needed):
        raise UsageError(
            f"{spec.backend}: gpus={spec.gpus} was asked for, but its options take {needed}; give the same"
        )
    return needed


def option_names(backend: str) -> tuple[str, ...]:
    """The options of an engine that are known by name, as users write them; none where it takes none."""
    kind = entry(backend).options
    return () if kind is None else _names(kind)


def check_option(backend: str, name: str) -> None:
    """Raise UsageError, one line, for an option of a name that the engine refuses whatever its value."""
    kind = entry(backend).options
    if kind is None:
        raise UsageError(f"{backend}: this backend takes no options, got {name}")
    if kind.model_config.get("extra") == "forbid" and name not in (*_names(kind), *_other_names(kind)):
        raise UsageError(f"{backend}: {_unknown(name, kind)}")


def _names(options: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or key for key, field in options.model_fields.items())


def _other_names(options: type[BaseModel]) -> tuple[str, ...]:
    aliases = [field.validation_alias for field in options.model_fields.values()]
    return tuple(str(name) for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices)


def _options(known: EngineEntry, spec: EngineSpec) -> dict[str, Any]:
    if known.options is None:
        if spec.options:
            raise UsageError(f"{spec.backend}: this backend takes no options, got {', '.join(spec.options)}")
        return {}
    try:
        return known.options.model_validate(spec.options).model_dump(exclude_none=True)
    except ValidationError as fault:
        raise UsageError(f"{spec.backend}: {_first_fault(fault, known.options)}") from fault


def _first_fault(fault: ValidationError, options: type[BaseModel]) -> str:
    first = fault.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if not name:  # options that contradict each other
        return first["msg"].removeprefix("Value error, ")
    if first["type"] != "extra_forbidden":
        told = first["msg"].removeprefix("Value error, ")
        return f"option {name}={first['input']!r}: {told}" if name else told
    return _unknown(name, options)


def _unknown(name: str, options: type[BaseModel]) -> str:
    known = _names(options)
    nearest = difflib.get_close_matches(name, known, 1, 0.0)
    return f"unknown option {name!r}; did you mean {nearest[0]!r}? Known options: {', '.join(known)}"
