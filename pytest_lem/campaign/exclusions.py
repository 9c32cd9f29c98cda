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
CheckOption = Callable[[str, str], None]
FIELDS = tuple(name for name in EXPERIMENT_FIELDS if name != "prompts")
NESTED: Mapping[str, type[Frozen]] = {
    "data": DataSpec,
    "decoding": DecodingSpec,
    "slo": ServiceLevel,
    "traffic": TrafficSpec,
}
"""Keywords with fields of their own: a rule may name some of them."""


def any_option(backend: str, name: str) -> None:
    """Of engines that are not asked what options they take."""


def exclusion(source: Layer | None, known: Collection[str], check: CheckOption = any_option) -> Test:
    """Whether a point is left out by the `unless` of `source`: a mapping, or a list of them, each of pairs that must
    all match.

    `known` are the engines known here; `check` raises UsageError for an option (of an engine, by name) that cannot be.
    A value may be a list (any of its entries), or a range: its numbers, or with `min` and `max` alone all between.
    Raises UsageError for a rule that cannot be, or that would match everything.
    """
    rules = (
        []
        if source is None
        else [
            _rule(rule, source.blame(f"unless[{index}]"), known, check)
            for index, rule in enumerate(as_list(source.values["unless"]))
        ]
    )
    return lambda point: any(all(test(point) for test in rule) for rule in rules)


def _rule(rule: object, place: str, known: Collection[str], check: CheckOption) -> list[Test]:
    if not isinstance(rule, Mapping) or not rule:
        raise UsageError(f"{place}: unless: expected keywords with values to leave out, got {rule!r}")
    return [_test(name, value, f"{place}: unless", known, check) for name, value in rule.items()]


def _test(name: str, value: object, place: str, known: Collection[str], check: CheckOption) -> Test:
    if name in known:
        return _options(name, value, place, check)
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
    if name in (*WHOLE, "gpus", "seed") and isinstance(value, Mapping) and not _distributed(value):
        return _within(value, whole=name != "target_qps", place=f"{place}: {name}")
    wanted = normal(name, value, place)
    if name == "backend" and wanted not in known:
        raise unknown("backend", wanted, known, place)
    return lambda found: bool(found == wanted)


def _distributed(value: Mapping[str, Any]) -> bool:
    """Whether it is a length that differs from request to request, which has ends of its own."""
    return bool({"distribution", "histogram"} & set(value))


def _within(value: Mapping[str, Any], *, whole: bool, place: str) -> Callable[[Any], bool]:
    if set(value) & {"num", "log", "pow2"}:
        listed = set(numbers(value, whole=whole, place=place))
        return lambda found: _is_number(found) and found in listed
    low, high = ends(value, whole=whole, place=place)
    return lambda found: _is_number(found) and (low is None or found >= low) and (high is None or found <= high)


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


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
    given = _given(fields, f"{place}: {name}")

    def test(point: Point) -> bool:
        found = point.load.get(name)
        return found is not None and given(found.model_dump())

    return test


def _options(backend: str, value: object, place: str, check: CheckOption) -> Test:
    """Options of an engine's section, as its experiment gives them: one that is left to its default matches nothing."""
    sections = as_list(value)
    for section in sections:
        if not isinstance(section, Mapping) or not section:
            raise UsageError(f"{place}: {backend}: expected options as a dictionary, got {section!r}")
        for name in section:
            _check_name(backend, str(name), place, check)
    given = [_given(section, f"{place}: {backend}") for section in sections]
    return lambda point: point.setup["backend"] == backend and any(each(point.options) for each in given)


def _check_name(backend: str, name: str, place: str, check: CheckOption) -> None:
    try:
        check(backend, name)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _given(section: Mapping[str, Any], place: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether options, or fields, hold what `section` says of some of them."""
    accepts = {name: _accepted(value, f"{place}.{name}") for name, value in section.items()}
    return lambda options: all(name in options and accept(options[name]) for name, accept in accepts.items())


def _accepted(value: object, place: str) -> Callable[[Any], bool]:
    """The value itself, which may be a list or a mapping; any entry of a list; what lies in a range."""
    if isinstance(value, Mapping) and {"min", "max"} & set(value) and not _distributed(value):
        whole = not any(isinstance(value.get(end), float) for end in ("min", "max"))
        within = _within(value, whole=whole, place=place)
        return lambda found: bool(found == value) or within(found)
    entries = [_accepted(entry, place) for entry in value] if isinstance(value, list | tuple) else []
    return lambda found: bool(found == value) or any(accept(found) for accept in entries)
