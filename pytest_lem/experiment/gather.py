"""Many translated configurations → the keywords of one marker, whose lists make them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from pytest_lem.campaign.grid import ENGINE_AXES, LOAD_AXES
from pytest_lem.experiment.translate import Translated

_ABSENT = object()


def gathered(made: Sequence[Translated], engines: Sequence[str], *, listed: bool) -> Translated:
    """One set of keywords for all: what differs becomes lists, where every combination of them is meant.

    Else (and where the file `listed` its experiments itself) it becomes `experiments`, each with what is its own.
    """
    notes = tuple(dict.fromkeys(note for each in made for note in each.notes))
    if len(made) == 1 and not listed:
        return Translated(made[0].keywords, made[0].origins, notes)
    names = list(dict.fromkeys(name for each in made for name in each.keywords))
    apart = [name for name in names if len(_distinct(each.keywords.get(name, _ABSENT) for each in made)) > 1]
    alike = {name: value for name, value in made[0].keywords.items() if name not in apart}
    origins = {path: origin for path, origin in made[0].origins.items() if _holder(path) in alike}
    values = {name: _distinct(each.keywords.get(name, _ABSENT) for each in made) for name in apart}
    if not listed and _whole(made, values, engines):
        for name, found in values.items():
            alike[name] = [each for value in found for each in (value if isinstance(value, list) else [value])]
            origins |= _listed(name, found, made)
        return Translated({name: alike[name] for name in names}, origins, notes)
    own = [{name: each.keywords[name] for name in apart if name in each.keywords} for each in made]
    for index, each in enumerate(made):
        told = {path: origin for path, origin in each.origins.items() if _holder(path) in apart}
        origins |= {f"experiments[{index}].{path}": origin for path, origin in told.items()}
        if told:
            origins[f"experiments[{index}]"] = next(iter(told.values()))
    return Translated({**alike, "experiments": own}, origins, notes)


def _whole(made: Sequence[Translated], values: Mapping[str, list[Any]], engines: Sequence[str]) -> bool:
    """Whether the configurations are every combination of what their keywords take, in the order of the matrix."""
    axes = (*ENGINE_AXES, *engines, *LOAD_AXES)
    if any(name not in axes or _ABSENT in found for name, found in values.items()):
        return False
    if any(isinstance(value, list) and not value for found in values.values() for value in found):
        return False
    if prod(map(len, values.values())) != len(made):
        return False
    seen = [tuple(repr(each.keywords[name]) for name in values) for each in made]
    return set(seen) == set(product(*([repr(value) for value in found] for found in values.values())))


def _listed(name: str, found: Sequence[Any], made: Sequence[Translated]) -> dict[str, str]:
    """The origins of a keyword whose values became one list."""
    origins: dict[str, str] = {}
    index = 0
    for value in found:
        source = next(each for each in made if each.keywords.get(name, _ABSENT) == value)
        told = {path[len(name) :]: origin for path, origin in source.origins.items() if _holder(path) == name}
        origins.setdefault(name, told.get("", ""))
        for offset in range(len(value) if isinstance(value, list) else 1):
            at = f"[{offset}]" if isinstance(value, list) else ""
            origins[f"{name}[{index}]"] = told.get(at, told.get("", ""))
            own = {
                rest: origin for rest, origin in told.items() if rest.startswith((f"{at}.", f"{at}[") if at else (".",))
            }
            origins |= {f"{name}[{index}]{rest[len(at) :]}": origin for rest, origin in own.items()}
            index += 1
    return origins


def _distinct(values: Any) -> list[Any]:
    """Each once, in order; 1 and true are two."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault("" if value is _ABSENT else repr(value), value)
    return list(found.values())


def _holder(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]
