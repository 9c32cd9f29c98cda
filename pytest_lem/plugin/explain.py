"""`--lem-explain`: every value of every experiment, and where it comes from; nothing runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any

import pytest
from pydantic import ValidationError

from pytest_lem.campaign.grid import origins
from pytest_lem.campaign.layers import protocol, protocol_sources
from pytest_lem.campaign.matrix import Cell
from pytest_lem.engines import registry
from pytest_lem.plugin import options
from pytest_lem.plugin.check import ini_origin, layers_of
from pytest_lem.plugin.collection import COLLECTED, is_lem, plain_name

DEFAULT = "default"
LONGEST = 60


@dataclass(frozen=True)
class Row:
    """A value as it is shown, and where it comes from."""

    value: str
    origin: str


class Explain:
    """Registered only where it was asked for: makes of the run a collection, and of its tree an explanation."""

    def __init__(self, config: pytest.Config) -> None:
        # Everything that starts something, xdist's workers too, already stands back from a mere collection.
        config.option.collectonly = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the explanation in place of pytest's tree of items."""
        option = session.config.option
        option.collectonly = False
        try:
            result = yield
        finally:
            option.collectonly = True
        reporter: Any = session.config.pluginmanager.getplugin("terminalreporter")
        for line in explanation(session.items) if reporter is not None else ():
            reporter.write_line(line)
        return result


def explanation(items: Iterable[pytest.Item]) -> Iterator[str]:
    """The lines that explain the lem tests among `items`, test by test."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if is_lem(item):
            tests.setdefault(plain_name(item), []).append(item)
    if not tests:
        yield "lem: no test here takes a fixture of pytest-lem"
    for name, ours in tests.items():
        yield ""
        yield from _test(name, ours)


def _test(name: str, items: Sequence[pytest.Item]) -> Iterator[str]:
    found = items[0].config.stash.get(COLLECTED, {}).get(name, [])
    if isinstance(found, str):
        yield f"{name}: no experiment: {found}"
        return
    cells = {cell.id: cell for cell in found}
    rows = [_rows(item, _cell(item, cells)) for item in items]
    yield f"{name}: {len(items)} experiment{'s' if len(items) > 1 else ''}"
    kinds = {name: {row.get(name) for row in rows} for name in dict.fromkeys(chain.from_iterable(rows))}
    yield from _aligned(list(_shared(kinds)))
    if len(items) > 1:
        apart = {name: _apart(found) for name, found in kinds.items() if len(found) > 1}
        lines = [(_bracketed(item), _own(row, apart)) for item, row in zip(items, rows, strict=True)]
        yield from _aligned(lines)


def _cell(item: Any, cells: Mapping[str, Cell]) -> Cell | None:
    """The experiment of an item: its id is the end of the item's, behind the user's own parameters."""
    parts = item.callspec.id.split("-") if hasattr(item, "callspec") else []
    ends = ("-".join(parts[start:]) for start in range(len(parts)))
    return next((cells[end] for end in ends if end in cells), None)


def _bracketed(item: Any) -> str:
    return f"[{item.callspec.id}]" if hasattr(item, "callspec") else ""


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


def _own(rows: Mapping[str, Row], apart: Mapping[str, bool]) -> str:
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


def _rows(item: Any, cell: Cell | None) -> dict[str, Row]:
    """Keyword → value and origin, of one item."""
    found: dict[str, Row] = {}
    if cell is not None:
        said = origins(cell.point)
        found |= _engine(item, cell, said) if "lem_backend" in item.callspec.params else {}
        loaded = cell.workload.model_dump() if "lem_workload" in item.callspec.params else {}
        found |= {name: _row(value, said.get(name)) for name, value in loaded.items()}
        found |= {"cycle": _row(cell.cycle, None)} if "lem_cycle" in item.callspec.params else {}
    return found | (_protocol(item, cell) if "lem_energy" in item.fixturenames else {})


def _engine(item: pytest.Item, cell: Cell, said: Mapping[str, str]) -> dict[str, Row]:
    """The engine as it was validated: an option that is not the default was given, if under another name."""
    engine, section = cell.engine, said.get(cell.engine.backend)
    found = {name: _row(getattr(engine, name), said.get(name)) for name in ("backend", "model", "precision", "device")}
    derived = None if engine.gpus == cell.point.setup["gpus"] else section
    found["gpus"] = _row(engine.gpus, said.get("gpus", derived))
    asked = "--lem-python" if options.command(item.config, "python") else ini_origin(item.config, "lem_python")
    found["python"] = _row(engine.python or "pytest's own", asked if engine.python else None)
    defaults = _defaults(engine.backend)
    for name, value in engine.options.items():
        key = f"{engine.backend}.{name}"
        given = None if name in defaults and defaults[name] == value else section
        found[key] = _row(value, said.get(key, given))
    return found


@cache
def _defaults(backend: str) -> Mapping[str, Any]:
    """An engine's options where nobody gave one; none for an engine that needs some."""
    kind = registry.entry(backend).options
    try:
        return kind.model_validate({}).model_dump() if kind is not None else {}
    except ValidationError:
        return {}


def _protocol(item: pytest.Item, cell: Cell | None) -> dict[str, Row]:
    config, quick = item.config, options.quick(item.config)
    layers = layers_of(config, item)
    if cell is not None:
        layers = replace(layers, experiment=cell.point.layers.experiment)
    said = {name: layer.origin(name) for name, layer in protocol_sources(layers, quick=quick).items()}
    said |= {"quick": "--lem-quick"} if quick else {}
    # `precision` is the engine's: the protocol's own, which nothing sets, goes by another name here.
    return {
        "standard_error" if name == "precision" else name: _row(value, said.get(name))
        for name, value in protocol(layers, quick=quick)
    }


def _row(value: object, origin: str | None) -> Row:
    return Row("none" if value is None else str(value), origin or DEFAULT)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
