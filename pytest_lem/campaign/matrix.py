"""Layers of configuration → the experiments of one test, in order.

From the lowest: defaults of the specs, ini, the project's `lem.yaml`, the marker, one of a list of experiments, the
command line, which restricts a test's own lists (backend, model, precision, batch) and replaces a single model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pytest_lem.campaign.exclusions import CheckOption, any_option, exclusion
from pytest_lem.campaign.grid import Emptied, Point, experiments, origins, points
from pytest_lem.campaign.ids import Names
from pytest_lem.campaign.layers import Layers, check_keywords, protocol
from pytest_lem.campaign.values import validated
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

__all__ = ["FIXTURES", "Cell", "Emptied", "Layers", "cells", "protocol", "validated"]

NO_WORKLOAD = WorkloadSpec()
FIXTURES = ("lem_backend", "lem_workload", "lem_cycle")


@dataclass(frozen=True)
class Cell:
    """One experiment: an engine, a workload, a cycle, and the id that names it: `pytorch-bf16-b8-c0`.

    `point` is what it was made of, and knows who said so.
    """

    engine: EngineSpec
    workload: WorkloadSpec
    cycle: int
    id: str
    point: Point


def unchanged(engine: EngineSpec) -> EngineSpec:
    """An engine as it was asked for."""
    return engine


def cells(
    layers: Layers,
    sections: Sequence[str],
    *,
    takes: Collection[str] = FIXTURES,
    checked: Callable[[EngineSpec], EngineSpec] = unchanged,
    check_option: CheckOption = any_option,
) -> list[Cell] | Emptied:
    """The experiments of one test, in the order in which its lists name them; each comes once a cycle.

    `sections` are the engines known here: a marker may hold a section of options for each. `takes` are the fixtures
    that the test takes: an id names only what reaches the test. `checked` is asked once for each engine, after
    exclusions, and may return a fuller spec; `check_option` for each option, by its name, that an exclusion speaks of.
    Raises UsageError for an unknown keyword or a value that cannot be.
    """
    known = frozenset(sections)
    check_keywords(layers, known)
    found: list[Point] = []
    reasons = []
    for one in experiments(layers, known):
        made = points(one, loaded="lem_workload" in takes)
        if isinstance(made, Emptied):
            reasons.append(made.reason)
        else:
            found += made
    if not found:
        return Emptied(reasons[0] + (" (nor of its other experiments)" if len(reasons) > 1 else ""))
    source = layers.source("unless")
    excluded = exclusion(source, known, check_option)
    kept = [point for point in found if not excluded(point)]
    if not kept and source is not None:
        return Emptied(f"unless ({source.origin('unless')}) leaves out all experiments of this test ({len(found)})")
    # Named before anything is left out: an exclusion renames no other experiment.
    return _Maker(Names(found, known), takes, checked).cells(kept)


class _Maker:
    """Makes cells of points: each engine, workload and protocol that they share is made once."""

    def __init__(self, names: Names, takes: Collection[str], checked: Callable[[EngineSpec], EngineSpec]) -> None:
        self._names = names
        self._takes = takes
        self._checked = checked
        self._engines: dict[tuple[str, ...], EngineSpec] = {}
        self._workloads: dict[tuple[str, ...], WorkloadSpec] = {}
        self._cycles: dict[int, int] = {}

    def cells(self, points: Sequence[Point]) -> list[Cell]:
        """One a point and cycle, each id once."""
        found: dict[str, Cell] = {}
        for point in points:
            engine, workload = self._engine(point), self._workload(point)
            stem = self._stem(point)
            for cycle in range(self._count(point)):
                name = "-".join([*stem, f"c{cycle}"] if "lem_cycle" in self._takes else stem)
                if name not in found:
                    found[name] = Cell(engine, workload, cycle, name, point)
        return list(found.values())

    def _stem(self, point: Point) -> list[str]:
        """The parts of its id before the cycle."""
        started, loaded = "lem_backend" in self._takes, "lem_workload" in self._takes
        words = [
            *(self._names.engine_words(point) if started else ()),
            *(self._names.load_words(point) if loaded else ()),
            *self._names.protocol_words(point),
        ]
        engine = self._names.engine(point) if started else ()
        return [*engine, *(["_".join(words)] if words else []), *([f"b{point.load['batch']}"] if loaded else [])]

    def _engine(self, point: Point) -> EngineSpec:
        name = (*self._names.engine(point), *self._names.engine_words(point))
        if name not in self._engines:
            python = point.layers.pythons.get(point.setup["backend"])
            fields = {**point.setup, "options": dict(point.options), "python": python}
            spec = validated(EngineSpec, fields, point.layers.place, places(point))
            try:
                self._engines[name] = self._checked(spec)
            except UsageError as error:
                raise UsageError(blamed(str(error), point)) from None
        return self._engines[name]

    def _workload(self, point: Point) -> WorkloadSpec:
        if not point.load:
            return NO_WORKLOAD
        name = (*self._names.load_words(point), str(point.load["batch"]))
        if name not in self._workloads:
            self._workloads[name] = validated(WorkloadSpec, point.load, point.layers.place, places(point))
        return self._workloads[name]

    def _count(self, point: Point) -> int:
        layers = point.layers
        if id(layers) not in self._cycles:
            self._cycles[id(layers)] = protocol(layers, quick=False).cycles
        return self._cycles[id(layers)]


def blamed(message: str, point: Point) -> str:
    """What is wrong with an engine, led by the place that asked for it."""
    backend = point.setup["backend"]
    for name in ("backend", "model", "precision", backend):
        option = f"{backend}:" if name == backend else f"--lem-{name}:"
        source = None if name in point.layers.asked.values else point.layers.source(name)
        if message.startswith(option) and source is not None:
            said = message if name == backend else message.removeprefix(option).lstrip()
            return f"{source.blame(point.variant if name == backend else name)}: {said}"
    if point.layers.written_down and message.startswith(f"{backend}:"):
        return f"{origins(point).get('gpus') or origins(point).get('backend') or point.layers.place}: {message}"
    return message


def places(point: Point) -> dict[str, str]:
    """Where each keyword is said that stands in a file, whose lines errors name: the project's, or a written marker."""
    said, lines = origins(point), set(point.layers.origins.get("project", {}).values())
    return said if point.layers.written_down else {name: place for name, place in said.items() if place in lines}
