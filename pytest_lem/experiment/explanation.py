"""Every value of every experiment of a test, and where it comes from, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from pydantic import ValidationError

from pytest_lem.campaign.grid import origins
from pytest_lem.campaign.layers import Layers, protocol, protocol_sources
from pytest_lem.campaign.matrix import Cell
from pytest_lem.engines import registry

DEFAULT = "default"
LONGEST = 60


@dataclass(frozen=True)
class Row:
    """A value as it is shown, and where it comes from."""

    value: str
    origin: str


Rows = Mapping[str, Row]


def explained(name: str, experiments: Sequence[tuple[str, Rows]]) -> Iterator[str]:
    """The lines of one test: what its experiments, each with its id, have in common once, the rest for each."""
    rows = [found for _, found in experiments]
    yield f"{name}: {len(rows)} experiment{'s' if len(rows) > 1 else ''}"
    kinds = {name: {row.get(name) for row in rows} for name in dict.fromkeys(chain.from_iterable(rows))}
    yield from _aligned(list(_shared(kinds)))
    if len(rows) > 1:
        apart = {name: _apart(found) for name, found in kinds.items() if len(found) > 1}
        yield from _aligned([(f"[{own}]" if own else "", _own(row, apart)) for own, row in experiments])


def engine_rows(cell: Cell, python_origin: str) -> dict[str, Row]:
    """The engine as it was validated: an option that is not the default was given, if under another name."""
    said = origins(cell.point)
    engine, section = cell.engine, said.get(cell.engine.backend)
    found = {name: _row(getattr(engine, name), said.get(name)) for name in ("backend", "model", "precision", "device")}
    derived = None if engine.gpus == cell.point.setup["gpus"] else section
    found["gpus"] = _row(engine.gpus, said.get("gpus", derived))
    found["python"] = _row(engine.python or "pytest's own", python_origin if engine.python else None)
    defaults = _defaults(engine.backend)
    for name, value in engine.options.items():
        key = f"{engine.backend}.{name}"
        given = None if name in defaults and defaults[name] == value else section
        found[key] = _row(value, said.get(key, given))
    return found


def load_rows(cell: Cell) -> dict[str, Row]:
    """The workload."""
    said = origins(cell.point)
    return {name: _row(value, said.get(name)) for name, value in cell.workload.model_dump().items()}


def cycle_row(cell: Cell) -> dict[str, Row]:
    """Which launch of the engine it is."""
    return {"cycle": _row(cell.cycle, None)}


def protocol_rows(layers: Layers, *, quick: bool) -> dict[str, Row]:
    """How it is measured."""
    said = {name: layer.origin(name) for name, layer in protocol_sources(layers, quick=quick).items()}
    said |= {"quick": "--lem-quick"} if quick else {}
    # `precision` is the engine's: the protocol's own, which nothing sets, goes by another name here.
    return {
        "standard_error" if name == "precision" else name: _row(value, said.get(name))
        for name, value in protocol(layers, quick=quick)
    }


@cache
def _defaults(backend: str) -> Mapping[str, Any]:
    """An engine's options where nobody gave one; none for an engine that needs some, or that is not installed."""
    kind = registry.entry(backend).options if backend in registry.names() else None
    try:
        return kind.model_validate({}).model_dump() if kind is not None else {}
    except ValidationError:
        return {}


def _apart(found: set[Row | None]) -> bool:
    """Whether a value comes from several places, or not every experiment has it."""
    return None in found or len({row.origin for row in found if row}) > 1


def _shared(kinds: Mapping[str, set[Row | None]]) -> Iterator[tuple[str, ...]]:
    """What all experiments have in common; of what they differ in, the origin where they share that."""
    for name, found in kinds.items():
        if not _apart(found):
            values = [row.value for row in found if row]
            origin = next(row.origin for row in found if row)
            yield name, _short(values[0]) if len(values) == 1 else f"{len(values)} values, below", origin


def _own(rows: Rows, apart: Mapping[str, bool]) -> str:
    """What tells one experiment from the others, by origin where that differs too (`apart`)."""
    told: dict[str, list[str]] = {"": []}
    for name, row in rows.items():
        if name in apart:
            told.setdefault(row.origin if apart[name] else "", []).append(f"{name} {_short(row.value)}")
    return "; ".join(", ".join(names) + (f" ({origin})" if origin else "") for origin, names in told.items() if names)


def _aligned(lines: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  " + "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


def _row(value: object, origin: str | None) -> Row:
    return Row("none" if value is None else str(value), origin or DEFAULT)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
