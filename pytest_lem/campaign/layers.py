"""Who says what: the layers of configuration above one test, and where each value came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pytest_lem.campaign.values import as_list, unknown, validated
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec

ENGINE_FIELDS = ("model", "precision", "device", "gpus")
WORKLOAD_FIELDS = tuple(WorkloadSpec.model_fields)
PROTOCOL_FIELDS = (
    "cycles",
    "rounds",
    "min_rounds",
    "max_rounds",
    "round_seconds",
    "warmup_rounds",
    "warmup_seconds",
    "warmup_prompts",
    "max_seconds",
    "latency",
)
EXPERIMENT_FIELDS = ("backend", *ENGINE_FIELDS, *WORKLOAD_FIELDS)
QUICK: Mapping[str, Any] = {"rounds": 4, "round_seconds": 1.05, "warmup_rounds": 2, "warmup_seconds": 2.0}


@dataclass(frozen=True)
class Layer:
    """What one place says: keyword → value.

    `origins` maps a path (`batch`, `batch[2]`, `experiments[0].batch`) to where it is said; a path without an entry
    lies where what holds it lies. `place` names the layer in errors; None: errors name the origin. A layer that is one
    of a list of experiments finds its own under `prefix`.
    """

    values: Mapping[str, Any]
    origins: Mapping[str, str]
    place: str | None = None
    prefix: str = ""

    def origin(self, path: str) -> str:
        """Where `path` is said, for whoever asks."""
        path = self.prefix + path
        while path and path not in self.origins:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        listed = f", {self.prefix.rstrip('.')}" if self.prefix and self.place else ""
        return self.origins.get(path, self.place or "") + listed

    def blame(self, path: str) -> str:
        """The place of `path` in an error."""
        listed = f": {self.prefix.rstrip('.')}" if self.prefix else ""
        return f"{self.place}{listed}" if self.place else self.origin(path)


@dataclass(frozen=True)
class Layers:
    """What each layer says: keyword → value; None where the command line or the settings are silent.

    `project` is the project's own file, `place` names the marker in errors, `origins` maps `marker`, `command`,
    `project` and `settings` to the origins of their paths. `experiment` lies above the marker where one of a list of
    experiments is meant; `models_differ` tells that the experiments of that list name several models. A marker that is
    `written_down` stands in a file, whose lines its errors name.
    """

    marker: Mapping[str, Any]
    command: Mapping[str, Any]
    settings: Mapping[str, Any]
    pythons: Mapping[str, str]
    place: str = "@pytest.mark.lem"
    project: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    experiment: Layer | None = None
    models_differ: bool = False
    written_down: bool = False

    @cached_property
    def asked(self) -> Layer:
        """The command line."""
        said = _said(self.command)
        options = {name: f"--lem-{name.replace('_', '-')}" for name in said}
        return Layer(said, options | dict(self.origins.get("command", {})))

    @cached_property
    def written(self) -> tuple[Layer, ...]:
        """The layers below the command line, the highest first."""
        said = _said(self.settings)
        marker = Layer(self.marker, self.origins.get("marker", {}), None if self.written_down else self.place)
        project = Layer(self.project, self.origins.get("project", {}), None)
        settings = Layer(said, {**{name: f"lem_{name}" for name in said}, **self.origins.get("settings", {})})
        return (*([self.experiment] if self.experiment else []), marker, project, settings)

    def source(self, name: str) -> Layer | None:
        """The highest layer below the command line that says `name`, None where it is left to the defaults."""
        return next((layer for layer in self.written if name in layer.values), None)

    def restricted(self, name: str) -> Layer | None:
        """The layer whose list of `name` the command line may only restrict: the test's own.

        None where it says nothing, and for a model that is the test's only one: another takes its place.
        """
        own = next((layer for layer in self.written[:-2] if name in layer.values), None)
        if name == "model" and own is not None and len(as_list(own.values[name])) < 2 and not self.models_differ:
            return None
        return own


def check_keywords(layers: Layers, sections: Collection[str]) -> None:
    """Raise UsageError for a keyword of a marker or of the project that means nothing, with the nearest that does."""
    known = {*EXPERIMENT_FIELDS, *PROTOCOL_FIELDS, *sections, "unless", "experiments"}
    for layer in layers.written:
        for name in layer.values:
            if name not in known:
                raise unknown("keyword", name, known, layer.blame(name))


def protocol(layers: Layers, *, quick: bool) -> ProtocolSpec:
    """How this test's rounds are measured: the command line over the marker over the settings over the defaults."""
    sources = protocol_sources(layers, quick=quick)
    fields = {name: layer.values[name] for name, layer in sources.items()}
    places = {name: layer.blame(name) for name, layer in sources.items()}
    return validated(ProtocolSpec, {"quick": quick, **fields}, layers.place, places)


def protocol_sources(layers: Layers, *, quick: bool) -> dict[str, Layer]:
    """Which layer decides each field of the protocol; the defaults decide the others."""
    # A first look is short whatever the project says; only an option beside it may make it longer.
    first_look = [Layer(QUICK, dict.fromkeys(QUICK, "--lem-quick"))] if quick else []
    found = {}
    for layer in (*reversed(layers.written), *first_look, layers.asked):
        found.update({name: layer for name in PROTOCOL_FIELDS if layer.values.get(name) is not None})
    return found


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
