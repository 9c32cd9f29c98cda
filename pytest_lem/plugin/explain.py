"""`--lem-explain`: every value of every experiment, and where it comes from; nothing runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_lem.campaign.matrix import Cell
from pytest_lem.experiment.explanation import Row, cycle_row, engine_rows, explained, load_rows, protocol_rows
from pytest_lem.plugin import options
from pytest_lem.plugin.check import ini_origin, layers_of
from pytest_lem.plugin.collection import COLLECTED, is_lem, plain_name


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
    yield from explained(name, [(_id(item), _rows(item, _cell(item, cells))) for item in items])


def _cell(item: Any, cells: Mapping[str, Cell]) -> Cell | None:
    """The experiment of an item: its id is the end of the item's, behind the user's own parameters."""
    parts = _id(item).split("-")
    ends = ("-".join(parts[start:]) for start in range(len(parts)))
    return next((cells[end] for end in ends if end in cells), None)


def _id(item: Any) -> str:
    return item.callspec.id if hasattr(item, "callspec") else ""


def _rows(item: Any, cell: Cell | None) -> dict[str, Row]:
    """Keyword → value and origin, of one item."""
    found: dict[str, Row] = {}
    if cell is not None:
        asked = "--lem-python" if options.command(item.config, "python") else ini_origin(item.config, "lem_python")
        found |= engine_rows(cell, asked) if "lem_backend" in item.callspec.params else {}
        found |= load_rows(cell) if "lem_workload" in item.callspec.params else {}
        found |= cycle_row(cell) if "lem_cycle" in item.callspec.params else {}
    return found | (_protocol(item, cell) if "lem_energy" in item.fixturenames else {})


def _protocol(item: pytest.Item, cell: Cell | None) -> dict[str, Row]:
    layers = layers_of(item.config, item)
    if cell is not None:
        layers = replace(layers, experiment=cell.point.layers.experiment)
    return protocol_rows(layers, quick=options.quick(item.config))
