"""One value of one keyword: checked, and written the one way that everything behind it can compare."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import ValidationError

from pytest_lem.model.errors import UsageError
from pytest_lem.model.precision import canonical_precision
from pytest_lem.model.specs import EngineSpec, Frozen, WorkloadSpec

T = TypeVar("T", bound=Frozen)
ELSEWHERE = {"batch_size": "batch", "max_new_tokens": "output_tokens", "max_tokens": "output_tokens"}
"""What experiment files and engines call a keyword, where another one is spelt more like it."""


def validated(kind: type[T], fields: Mapping[str, Any], place: str, places: Mapping[str, str] | None = None) -> T:
    """`kind` made of `fields`. Raises UsageError: one line that names the place (of the field, if known) and the field.

    A truth value is no number here, though Python and pydantic would take it for one.
    """
    places = places or {}
    for name, value in fields.items():
        if isinstance(value, bool) and name in kind.model_fields and kind.model_fields[name].annotation is not bool:
            raise UsageError(f"{places.get(name, place)}: {name}: expected no truth value (got {value!r})")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        said = _misspelt(error, kind) or one_line(error)  # what concerns several fields begins with one of them
        raise UsageError(f"{places.get(re.split(r'[^a-z_]', said, maxsplit=1)[0], place)}: {said}") from None


def one_line(error: ValidationError) -> str:
    """The first fault of a pydantic error, short."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {said} (got {first['input']!r})" if where else said


def _misspelt(error: ValidationError, kind: type[Frozen]) -> str | None:
    """The line about a field that `kind`, or a part of it, does not have; None where that is not the first fault."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return None
    *outer, name = first["loc"]
    for part in outer:
        parts = [kind.model_fields[str(part)].annotation] if str(part) in kind.model_fields else []
        kinds = [each for found in parts for each in (found, *get_args(found)) if _is_frozen(each)]
        if not kinds:
            return None
        kind = kinds[0]
    near = get_close_matches(str(name), kind.model_fields, n=1, cutoff=0.0)[0]
    return f"{'.'.join(map(str, [*outer, name]))}: there is no such field; the nearest one is {near!r}"


def _is_frozen(kind: Any) -> TypeGuard[type[Frozen]]:
    return isinstance(kind, type) and issubclass(kind, Frozen)


def unknown(what: str, name: object, known: Collection[str], place: str) -> UsageError:
    """The error for a name that means nothing, with the nearest one that does."""
    meant = ELSEWHERE.get(str(name))
    near = meant if meant in known else get_close_matches(str(name), sorted(known), n=1, cutoff=0.0)[0]
    return UsageError(f"{place}: unknown {what} {name!r}; the nearest known one is {near!r}")


def as_list(value: object) -> list[Any]:
    """A scalar as a list of one; None as none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | range) else [value]


def normal(name: str, value: object, place: str) -> Any:
    """`value` as keyword `name` compares it: `bf16` → `bfloat16`, `"8"` → 8. Raises UsageError that names `place`."""
    if name in ("backend", "model"):
        return _name(name, value, place)
    if name == "precision":
        return _precision(value, place)
    if name == "batch":
        return _batch(value, place)
    kind = EngineSpec if name in ("device", "gpus") else WorkloadSpec
    return getattr(validated(kind, {"backend": "", name: value} if kind is EngineSpec else {name: value}, place), name)


def _name(name: str, value: object, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place}: {name}: expected a name, got {value!r}")
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
