"""Layers of configuration → the experiments of one test, in order.

Three layers: what the marker says, what the command line says, what the project's settings say; whatever none of them
sets is the default of the spec. The command line restricts a marker's lists (backend, precision, batch) and replaces
its model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from typing import Any, TypeVar

from pydantic import ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.precision import canonical_precision
from pytest_lem.model.specs import EngineSpec, Frozen, ProtocolSpec, WorkloadSpec

ENGINE_FIELDS = ("model", "precision", "device", "gpus")
WORKLOAD_FIELDS = ("batch", "prompt_tokens", "output_tokens", "prompts", "seed", "target_qps")
PROTOCOL_FIELDS = (
    "cycles",
    "rounds",
    "min_rounds",
    "max_rounds",
    "round_seconds",
    "warmup_rounds",
    "warmup_seconds",
    "max_seconds",
    "latency",
)
T = TypeVar("T", bound=Frozen)
QUICK: Mapping[str, Any] = {"rounds": 4, "round_seconds": 1.05, "warmup_rounds": 2, "warmup_seconds": 2.0}
LISTS = ("backend", "model", "precision", "batch")
DEFAULTS: dict[str, list[Any]] = {"backend": ["pytorch"], "model": [], "precision": [], "batch": []}


@dataclass(frozen=True)
class Cell:
    """One experiment: an engine, a workload, a cycle, and the id that names it: `pytorch-bf16-b8-c0`."""

    engine: EngineSpec
    workload: WorkloadSpec
    cycle: int
    id: str


@dataclass(frozen=True)
class Layers:
    """What each layer says: keyword → value. `place` names the marker in messages."""

    marker: Mapping[str, Any]
    command: Mapping[str, Any]
    settings: Mapping[str, Any]
    pythons: Mapping[str, str]
    place: str = "@pytest.mark.lem"


@dataclass(frozen=True)
class Emptied:
    """A restriction that left a test nothing, and why."""

    reason: str


def cells(layers: Layers, sections: Sequence[str], *, with_batch: bool = True) -> list[Cell] | Emptied:
    """The experiments of one test, in the order in which its lists name them; each comes once a cycle.

    `sections` are the engines known here: a marker may hold a section of options for each. `with_batch` is false for a
    test that takes no workload. Raises UsageError for an unknown keyword or a value that cannot be.
    """
    check_keywords(layers, sections)
    chosen = {}
    for name in LISTS:
        values = _choose(name, layers)
        if isinstance(values, Emptied):
            return values
        chosen[name] = values
    found = []
    slugs = _slugs(chosen["model"])
    cycles = protocol(layers, quick=False).cycles
    for backend, model, precision in product(
        chosen["backend"], chosen["model"] or [None], chosen["precision"] or [None]
    ):
        for number, options in enumerate(_variants(layers.marker.get(backend), f"{layers.place}: {backend}")):
            engine = _engine(layers, backend, model, precision, options)
            parts = [backend, *([slugs[engine.model]] if len(slugs) > 1 else []), engine.precision_id]
            parts += [f"o{number}"] if len(_variants(layers.marker.get(backend))) > 1 else []
            for batch in (chosen["batch"] or [None]) if with_batch else [None]:
                workload = _workload(layers, batch)
                size = [f"b{workload.batch}"] if with_batch else []
                for cycle in range(cycles):
                    found.append(Cell(engine, workload, cycle, "-".join([*parts, *size, f"c{cycle}"])))
    return found


def check_keywords(layers: Layers, sections: Sequence[str]) -> None:
    """Raise UsageError for a keyword of the marker that means nothing, with the nearest one that does."""
    known = {"backend", *ENGINE_FIELDS, *WORKLOAD_FIELDS, *PROTOCOL_FIELDS, *sections}
    for name in layers.marker:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=1, cutoff=0.0)[0]
            raise UsageError(f"{layers.place}: unknown keyword {name!r}; the nearest known one is {near!r}")


def protocol(layers: Layers, *, quick: bool) -> ProtocolSpec:
    """How this test's rounds are measured: the command line over the marker over the settings over the defaults."""
    fields: dict[str, Any] = {"quick": quick}
    # A first look is short whatever the project says; only an option beside it may make it longer.
    for layer in (layers.settings, layers.marker, QUICK if quick else {}, layers.command):
        fields |= {name: layer[name] for name in PROTOCOL_FIELDS if layer.get(name) is not None}
    return validated(ProtocolSpec, fields, layers.place)


def validated(kind: type[T], fields: Mapping[str, Any], place: str) -> T:
    """`kind` made of `fields`. Raises UsageError: one line that names the place and the field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise UsageError(f"{place}: {one_line(error)}") from None


def one_line(error: ValidationError) -> str:
    """The first fault of a pydantic error, short."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'].removeprefix('Value error, ')} (got {first['input']!r})" if where else first["msg"]


def slug(model: str) -> str:
    """A model's name as an id part: `synthetic:llama-3.2-1b` → `llama_3.2_1b`."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", model.removeprefix("synthetic:").rstrip("/").rsplit("/", 1)[-1])


def _slugs(models: Sequence[str]) -> dict[str, str]:
    """Each model's id part; models that only differ in their folders, or their kind, are told apart by a number."""
    found: dict[str, str] = {}
    for model in models:
        short = slug(model)
        taken = sum(1 for other in found.values() if other == short or other.startswith(f"{short}_no"))
        found.setdefault(model, f"{short}_no{taken + 1}" if taken else short)
    return found


def as_list(value: object) -> list[Any]:
    """A scalar as a list of one; None as none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _choose(name: str, layers: Layers) -> list[Any] | Emptied:
    normal = _NORMAL.get(name, str)
    marked = [normal(value, layers.place) for value in as_list(layers.marker.get(name))]
    if name in layers.marker and not marked:
        raise UsageError(f"{layers.place}: {name} is empty; name at least one, or leave it out")
    asked = [normal(value, f"--lem-{name}") for value in as_list(layers.command.get(name))]
    if asked and marked and name != "model":
        kept = [value for value in marked if value in asked]
        if not kept:
            shown = ",".join(str(value) for value in asked)
            return Emptied(f"--lem-{name}={shown} leaves nothing of this test's {name}={marked}")
        return kept
    return asked or marked or [normal(v, f"lem_{name}") for v in as_list(layers.settings.get(name))] or DEFAULTS[name]


def _name(value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place}: expected a name, got {value!r}")
    return value


def _precision(value: object, place: str) -> str:
    try:
        return canonical_precision(str(value))
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None


def _batch(value: object, place: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"{place}: a batch is a whole number from 1, got {value!r}")
    return number


_NORMAL = {"backend": _name, "model": _name, "precision": _precision, "batch": _batch}


def _variants(section: object, place: str = "") -> list[Mapping[str, Any]]:
    variants = [variant or {} for variant in (as_list(section) or [{}])]
    for variant in variants:
        if not isinstance(variant, Mapping):
            raise UsageError(f"{place}: expected options as a dictionary, or a list of them, got {variant!r}")
    return variants


def _engine(
    layers: Layers, backend: str, model: str | None, precision: str | None, options: Mapping[str, Any]
) -> EngineSpec:
    fields: dict[str, Any] = {"backend": backend, "options": dict(options), "python": layers.pythons.get(backend)}
    fields |= {name: layers.marker[name] for name in ("device", "gpus") if name in layers.marker}
    fields |= {"model": model} if model is not None else {}
    fields |= {"precision": precision} if precision is not None else {}
    return validated(EngineSpec, fields, layers.place)


def _workload(layers: Layers, batch: int | None) -> WorkloadSpec:
    fields = {name: layers.marker[name] for name in WORKLOAD_FIELDS if name in layers.marker}
    fields.pop("batch", None)
    return validated(WorkloadSpec, {**fields, **({"batch": batch} if batch is not None else {})}, layers.place)
