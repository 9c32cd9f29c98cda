"""One item an experiment: parametrisation from marker, command line and ini, and the ids that name it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_lem.campaign.matrix import Cell

FIXTURES = ("lem_backend", "lem_workload", "lem_energy")


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `lem_backend` and `lem_workload`; last, so that the user's own parameters lead the id."""
    names = [name for name in ("lem_backend", "lem_workload", "lem_cycle") if name in metafunc.fixturenames]
    if not names:
        return
    from pytest_lem.model.errors import LemError

    try:
        found = _cells(metafunc, with_batch="lem_workload" in names)
    except LemError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None
    if isinstance(found, str):
        skip = pytest.mark.skip(reason=found)
        metafunc.parametrize(
            names, [pytest.param(*[None] * len(names), marks=[skip, pytest.mark.lem_emptied])], ids=["none"]
        )
        return
    rows = {cell.id if "lem_backend" in names else f"b{cell.workload.batch}": cell for cell in found}
    metafunc.parametrize(names, [_row(cell, names) for cell in rows.values()], indirect=True, ids=list(rows))


def _cells(metafunc: pytest.Metafunc, *, with_batch: bool) -> list[Cell] | str:
    from pytest_lem.campaign.matrix import Emptied, cells
    from pytest_lem.engines import registry
    from pytest_lem.plugin.check import layers_of

    layers = layers_of(metafunc.config, marker_of(metafunc.definition), place="@pytest.mark.lem")
    found = cells(layers, registry.names(), with_batch=with_batch)
    if isinstance(found, Emptied):
        return found.reason
    from dataclasses import replace

    valid = {cell.engine: registry.validate(cell.engine) for cell in found}
    for cell in found:
        registry.check_workload(valid[cell.engine], cell.workload)
    return [replace(cell, engine=valid[cell.engine]) for cell in found]


def _row(cell: Cell, names: Sequence[str]) -> tuple[Any, ...]:
    values = {"lem_backend": cell.engine, "lem_workload": cell.workload, "lem_cycle": cell.cycle}
    return tuple(values[name] for name in names)


def marker_of(node: pytest.Item | pytest.Function | Any) -> dict[str, Any]:
    """The `lem` markers of a test merged: the closest one wins. Raises UsageError for a positional argument."""
    from pytest_lem.model.errors import UsageError

    merged: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("lem"))):
        if mark.args:
            raise UsageError(f"@pytest.mark.lem: takes keywords only, got {mark.args[0]!r}")
        merged |= mark.kwargs
    return merged


def is_lem(item: pytest.Item) -> bool:
    """Whether the item uses a fixture of ours."""
    return any(name in getattr(item, "fixturenames", ()) for name in FIXTURES)


def engine_key(item: pytest.Item | None) -> tuple[Any, int] | None:
    """The engine that an item needs, as (spec, cycle), or None for one that needs none."""
    callspec = getattr(item, "callspec", None)
    spec = callspec.params.get("lem_backend") if callspec else None
    return (spec, callspec.params.get("lem_cycle", 0)) if callspec and spec is not None else None


def gpu_counts(items: Iterable[pytest.Item]) -> set[int]:
    """How many GPUs each engine of these items asks for; nothing from those that run on the CPU."""
    specs = [key[0] for key in map(engine_key, items) if key is not None]
    return {spec.gpus for spec in specs if spec.device != "cpu"}
