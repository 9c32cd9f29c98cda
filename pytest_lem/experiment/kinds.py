"""What may stand at a word: checked by pydantic, told in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import BaseModel, TypeAdapter, ValidationError

PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a mapping"}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def fault(kind: Any, value: object) -> tuple[str, str] | None:
    """Where in `value` something cannot be (`""`, `[2]`), and what was expected and found there; None where all is
    well.
    """
    if _fits(kind, value):
        return None
    parts = parts_of(kind)
    entries = [get_args(part)[0] for part in parts if get_origin(part) is list]
    if isinstance(value, list) and entries and value:
        index = next((n for n, each in enumerate(value) if not _fits(entries[0], each)), 0)
        return f"[{index}]", f"expected {told(entries[0])}; got {value[index]!r}"
    hint = "; a list of them goes under sweep" if isinstance(value, list) and not entries else ""
    return "", f"expected {told(kind)}; got {value!r}{hint}"


def told(kind: Any) -> str:
    """`COUNT | list[COUNT]` → "a whole number from 1, or a list of them"."""
    names = list(dict.fromkeys(_told(part) for part in parts_of(kind) if get_origin(part) is not list))
    if any(get_origin(part) is list for part in parts_of(kind)):
        names.append("a list of them" if names else "a list")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def parts_of(kind: Any) -> list[Any]:
    """The alternatives of a union, flat; None among them is no alternative: a null is not said at all."""
    if get_origin(kind) in (Union, UnionType):
        return [part for each in get_args(kind) for part in parts_of(each)]
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else None
    if inner is not None and get_origin(inner) in (Union, UnionType):
        return [part if part is type(None) else Annotated[part, *get_args(kind)[1:]] for part in parts_of(inner)]
    return [] if kind is type(None) else [kind]


def _fits(kind: Any, value: object) -> bool:
    # A truth value is no number here, though Python and pydantic would take it for one.
    if isinstance(value, bool) and not any(_plain(part) in (bool, Any) for part in parts_of(kind)):
        return False
    try:
        adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def adapter(kind: Any) -> TypeAdapter[Any]:
    """Pydantic's check of a kind, made once; kinds have no hash, and their names tell them apart."""
    name = repr(kind)
    if name not in _ADAPTERS:
        _ADAPTERS[name] = TypeAdapter(kind)
    return _ADAPTERS[name]


def _plain(kind: Any) -> Any:
    return _plain(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _told(kind: Any) -> str:
    plain = _plain(kind)
    if get_origin(plain) is Literal:
        return ", ".join(str(each) for each in get_args(plain))
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return f"a {plain.__name__.lower()}"
    low = next(iter(_bounds(kind)), "")
    return PLAIN.get(get_origin(plain) or plain, "anything") + low


def _bounds(kind: Any) -> Iterator[str]:
    for note in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        for bound in (note, *getattr(note, "metadata", ())):
            if isinstance(bound, Ge):
                yield f" from {bound.ge:g}"
            elif isinstance(bound, Gt):
                yield f" above {bound.gt:g}"
