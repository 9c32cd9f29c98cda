"""Lists and ranges → points: every combination of what one set of layers names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pytest_lem.campaign.layers import PROTOCOL_FIELDS, Layer, Layers, check_keywords
from pytest_lem.campaign.ranges import numbers
from pytest_lem.campaign.values import as_list, normal
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

ENGINE_AXES = ("backend", "model", "precision", "device")
LOAD_AXES = (
    "prompt_tokens",
    "output_tokens",
    "data",
    "generator",
    "requests",
    "batching",
    "max_tokens_per_batch",
    "target_qps",
    "traffic",
    "decoding",
    "slo",
    "batch",
)
RESTRICTED = ("backend", "model", "precision", "batch")
WHOLE = {"batch": True, "prompt_tokens": True, "output_tokens": True, "requests": True, "target_qps": False}
DEFAULTS: Mapping[str, Any] = {"backend": "pytorch"} | {
    name: kind.model_fields[name].get_default(call_default_factory=True)
    for kind, names in (
        (EngineSpec, ("model", "precision", "device", "gpus")),
        (WorkloadSpec, (*LOAD_AXES, "prompts", "seed")),
    )
    for name in names
}


@dataclass(frozen=True)
class Point:
    """One experiment before it is made: its engine (`setup`, `options`), its workload (`load`), and who said so.

    Values are as `normal` writes them. `variant` is the path of its options: `pytorch`, or `pytorch[1]` of a list.
    """

    setup: Mapping[str, Any]
    options: Mapping[str, Any]
    variant: str
    load: Mapping[str, Any]
    layers: Layers

    @property
    def protocol(self) -> dict[str, Any]:
        """What its own experiment says of the protocol."""
        own = self.layers.experiment.values if self.layers.experiment else {}
        return {name: own[name] for name in PROTOCOL_FIELDS if name in own}


@dataclass(frozen=True)
class Emptied:
    """A restriction that left a test nothing, and why."""

    reason: str


def experiments(layers: Layers, known: frozenset[str]) -> list[Layers]:
    """`layers` once for each entry of a list of experiments, which then lies above the marker; else alone.

    `known` are the engines known here. Raises UsageError for an entry that is no mapping, or holds what it cannot.
    """
    source = layers.source("experiments")
    if source is None:
        return [layers]
    entries = as_list(source.values["experiments"])
    if not entries:
        raise UsageError(f"{source.blame('experiments')}: experiments is empty; name at least one, or leave it out")
    found = []
    below = layers.source("model")
    model = DEFAULTS["model"] if below is None else below.values["model"]
    models = {repr(entry.get("model", model)) for entry in entries if isinstance(entry, Mapping)}
    for index, entry in enumerate(entries):
        path = f"experiments[{index}]"
        if not isinstance(entry, Mapping):
            raise UsageError(f"{source.blame(path)}: {path}: expected keywords as a dictionary, got {entry!r}")
        own = Layer(entry, source.origins, source.place, f"{path}.")
        for name in ("unless", "experiments"):
            if name in entry:
                raise UsageError(f"{own.blame(name)}: {name} stands beside experiments, not in one of them")
        check_keywords(replace(layers, marker={}, project={}, experiment=own), known)
        found.append(replace(layers, experiment=own, models_differ=len(models) > 1))
    return found


def points(layers: Layers, *, loaded: bool) -> list[Point] | Emptied:
    """Every combination, in the order in which the lists name them, an engine's together.

    `loaded` is false for a test that takes no workload. Raises UsageError for a value that cannot be.
    """
    axes = {}
    for name in (*ENGINE_AXES, *LOAD_AXES):
        chosen = axis(name, layers)
        if isinstance(chosen, Emptied):
            return chosen
        axes[name] = chosen
    fixed = {name: _one(name, layers) for name in ("gpus", "prompts", "seed")}
    loads = list(_loads(axes, fixed)) if loaded else [{}]
    return [
        Point({**setup, "gpus": fixed["gpus"]}, options, variant, load, layers)
        for setup in _setups(axes)
        for variant, options in variants(layers, setup["backend"])
        for load in loads
    ]


def axis(name: str, layers: Layers) -> list[Any] | Emptied:
    """The values of one keyword: the test's own list as far as the command line keeps it, or the nearest word.

    Raises UsageError for an empty list or a value that cannot be.
    """
    own = layers.restricted(name)
    asked = expanded(name, layers.asked) if name in layers.asked.values else []
    if asked and own is not None and name in RESTRICTED:
        marked = expanded(name, own)
        kept = [value for value in marked if value in asked]
        shown = ",".join(str(value) for value in asked)
        return kept or Emptied(f"--lem-{name}={shown} leaves nothing of this test's {name}={marked}")
    if asked:
        return asked
    source = layers.source(name)
    return [DEFAULTS[name]] if source is None else expanded(name, source)


def expanded(name: str, source: Layer) -> list[Any]:
    """What a layer lists for a keyword, its ranges as their numbers, each value once."""
    given = source.values[name]
    found = []
    unset = given is None and name in LOAD_AXES and DEFAULTS[name] is None
    for index, value in enumerate([None] if unset else as_list(given)):
        place = source.blame(f"{name}[{index}]" if isinstance(given, list | tuple) else name)
        ranged = name in WHOLE and isinstance(value, Mapping) and not {"distribution", "histogram"} & set(value)
        values = numbers(value, whole=WHOLE[name], place=f"{place}: {name}") if ranged else [value]
        found += [normal(name, each, place) for each in values]
    if not found:
        raise UsageError(f"{source.blame(name)}: {name} is empty; name at least one, or leave it out")
    return list(dict.fromkeys(found))


def variants(layers: Layers, backend: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The options of an engine, one entry for each of its section's, with the path that leads to it."""
    source = layers.source(backend)
    if source is None:
        return [(backend, {})]
    given = source.values[backend]
    many = isinstance(given, list | tuple)
    found = []
    for index, options in enumerate(as_list(given) or [{}]):
        path = f"{backend}[{index}]" if many else backend
        if options is not None and not isinstance(options, Mapping):
            raise UsageError(
                f"{source.blame(path)}: {backend}: expected options as a dictionary, or a list of them, got {options!r}"
            )
        found.append((path, options or {}))
    return found


def origins(point: Point) -> dict[str, str]:
    """Where each keyword of a point was said, options too (`pytorch.use_cache`); no entry for what nobody said."""
    layers, backend = point.layers, point.setup["backend"]
    found = {name: _origin(name, layers) for name in (*point.setup, *point.load)}
    source = layers.source(backend)
    if source is not None:
        found |= {f"{backend}.{name}": source.origin(f"{point.variant}.{name}") for name in point.options}
        found[backend] = source.origin(point.variant)
    return {name: origin for name, origin in found.items() if origin}


def _origin(name: str, layers: Layers) -> str:
    own = layers.restricted(name) if name in RESTRICTED else None
    if name not in layers.asked.values:
        source = layers.source(name)
        return source.origin(name) if source else ""
    asked = layers.asked.origin(name)
    return f"{own.origin(name)}, kept by {asked}" if own else asked


def _setups(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*(axes[name] for name in ENGINE_AXES)):
        yield dict(zip(ENGINE_AXES, values, strict=True))


def _loads(axes: Mapping[str, list[Any]], fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rest = {"prompts": fixed["prompts"], "seed": fixed["seed"]}
    for values in product(*(axes[name] for name in LOAD_AXES)):
        yield {**dict(zip(LOAD_AXES, values, strict=True)), **rest}


def _one(name: str, layers: Layers) -> Any:
    source = layers.source(name)
    return DEFAULTS[name] if source is None else normal(name, source.values[name], source.blame(name))
