"""Keeps what JSON has no word for out of the files: NaN, infinities, objects of foreign types."""

from __future__ import annotations

import math
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pytest_lem.model.errors import StoreError

Model = TypeVar("Model", bound=BaseModel)


class _NotFinite(Exception):
    """A number that is not finite stands where null is not allowed; whoever holds it has to become null."""


def finite(model: Model) -> Model:
    """The same data without numbers that are not finite: absent, with the reason where the data has room for one.

    The smallest part that may be null becomes null, so an edge with a NaN disappears whole. Raises StoreError when no
    part around the number may be null.
    """
    try:
        return _model(model)
    except _NotFinite as fault:
        raise StoreError(f"{type(model).__name__} cannot be stored: {fault}") from None


def plain(value: Any) -> Any:
    """`value` in JSON's own types: float subclasses become floats, NaN and foreign objects become their text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="python"))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return str(value)


def _model(model: Model) -> Model:
    changes: dict[str, Any] = {}
    faults: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        try:
            clean = _value(value)
        except _NotFinite as fault:
            if not _nullable(field):
                raise _NotFinite(f"{name}: {fault}") from None
            clean = None
            faults.append(f"{name} was left out: {fault}")
        if clean is not value:
            changes[name] = clean
    if faults and "reason" in type(model).model_fields:
        known = getattr(model, "reason", None)
        changes["reason"] = "; ".join([known, *faults] if known else faults)
    return model.model_copy(update=changes) if changes else model


def _value(value: Any) -> Any:
    """`value`, itself where nothing had to change. Raises _NotFinite for a number that is not finite."""
    if isinstance(value, BaseModel):
        return _model(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotFinite(f"not a finite number ({float(value)})")
    if isinstance(value, tuple):
        clean = tuple(_value(item) for item in value)
        return value if all(new is old for new, old in zip(clean, value, strict=True)) else clean
    if isinstance(value, dict):
        return {key: _entry(item) for key, item in value.items()}
    return value


def _entry(item: Any) -> Any:
    if isinstance(item, BaseModel):
        return _model(item)
    return tuple(plain(item)) if isinstance(item, tuple) else plain(item)


def _nullable(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)
