"""`unless`: experiments that are left out, because somebody knows that they cannot or need not be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pytest_lem.campaign.grid import WHOLE, Point
from pytest_lem.campaign.layers import EXPERIMENT_FIELDS, Layer
from pytest_lem.campaign.ranges import ends, numbers
from pytest_lem.campaign.values import as_list, normal, unknown
from pytest_lem.model.data import DataSpec
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.model.frozen import Frozen
from pytest_lem.model.presets import PRESETS
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.traffic import TrafficSpec

Test = Callable[[Point], bool]
FIELDS = tuple(name for name in EXPERIMENT_FIELDS if name != "prompts")
NESTED: Mapping[str, type[Frozen]] = {
    "data": DataSpec,
    "decoding": DecodingSpec,
    "slo": ServiceLevel,
    "traffic": TrafficSpec,
}
"""Keywords with fields of their own: a rule may name some of them."""


def exclusion(source: Layer | None, known: Collection[str]) -> Test:
    """Whether a point is left out by the `unless` of `source`: a mapping, or a list of them, each of pairs that must
    all match.

    `known` are the engines known here. A value may be a list (any of its entries), or a range: its numbers, or with
    `min` and `max` alone all between. Raises UsageError for a rule that cannot be, or that would match everything.
    """
    rules = (
        []
        if source is None
        else [
            _rule(rule, source.blame(f"unless[{index}]"), known)
            for index, rule in enumerate(as_list(source.values["unless"]))
        ]
    )
    return lambda point: any(all(test(point) for test in rule) for rule in rules)


def _rule(rule: object, place: str, known: Collection[str]) -> list[Test]:
    if not isinstance(rule, Mapping) or not rule:
        raise UsageError(f"{place}: unless: expected keywords with values to leave out, got {rule!r}")
    return [_test(name, value, f"{place}: unless", known) for name, value in rule.items()]


def _test(name: str, value: object, place: str, known: Collection[str]) -> Test:
    if name in known:
        return _options(name, value, place)
    if name not in FIELDS:
        raise unknown("keyword", name, {*FIELDS, *known}, place)
    if name in NESTED and isinstance(value, Mapping):
        return _fields(name, value, place)
    accepts = [_accepts(name, each, place, known) for each in ([None] if value is None else as_list(value))]
    if not accepts:
        raise UsageError(f"{place}: {name} is empty; name at least one, or leave it out")
    engines = name in ("backend", "model", "precision", "device", "gpus")

    def test(point: Point) -> bool:
        values = point.setup if engines else point.load
        return name in values and any(accept(values[name]) for accept in accepts)

    return test


def _accepts(name: str, value: object, place: str, known: Collection[str]) -> Callable[[Any], bool]:
    distributed = isinstance(value, Mapping) and {"distribution", "histogram"} & set(value)
    if name in (*WHOLE, "gpus", "seed") and isinstance(value, Mapping) and not distributed:
        return _within(value, whole=name != "target_qps", place=f"{place}: {name}")
    wanted = normal(name, value, place)
    if name == "backend" and wanted not in known:
        raise unknown("backend", wanted, known, place)
    return lambda found: bool(found == wanted)


def _within(value: Mapping[str, Any], *, whole: bool, place: str) -> Callable[[Any], bool]:
    if set(value) & {"num", "log", "pow2"}:
        listed = set(numbers(value, whole=whole, place=place))
        return lambda found: found in listed
    low, high = ends(value, whole=whole, place=place)
    return lambda found: (
        isinstance(found, int | float) and (low is None or found >= low) and (high is None or found <= high)
    )


def _fields(name: str, value: Mapping[str, Any], place: str) -> Test:
    """Some fields of a keyword that has its own; a preset stands for those of its name."""
    fields = {
        **PRESETS.get(str(value.get("preset")), {}),
        **{key: each for key, each in value.items() if key != "preset"},
    }
    if "preset" in value and value["preset"] not in PRESETS:
        raise unknown("preset", value["preset"], PRESETS, place)
    for key in fields:
        if key not in NESTED[name].model_fields:
            raise unknown(f"field of {name}", key, NESTED[name].model_fields, place)

    def test(point: Point) -> bool:
        found = point.load.get(name)
        return found is not None and _given(fields, found.model_dump())

    return test


def _options(backend: str, value: object, place: str) -> Test:
    """Options of an engine's section, as its experiment gives them: one that is left to its default matches nothing."""
    sections = as_list(value)
    for section in sections:
        if not isinstance(section, Mapping) or not section:
            raise UsageError(f"{place}: {backend}: expected options as a dictionary, got {section!r}")

    def test(point: Point) -> bool:
        return point.setup["backend"] == backend and any(_given(section, point.options) for section in sections)

    return test


def _given(section: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    return all(
        name in options and (options[name] == value or (isinstance(value, list | tuple) and options[name] in value))
        for name, value in section.items()
    )
