"""The order of a run's items, and the shard of it that this machine takes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pytest

from pytest_lem.plugin import gates, options
from pytest_lem.plugin.collection import engine_key, is_lem


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an order or a shard that cannot be before anything is collected."""
    order, shard = options.value(config, "order"), options.value(config, "shard")
    if order is None and shard is None:
        return
    from pytest_lem.campaign.lanes import parse_shard
    from pytest_lem.campaign.order import ordered
    from pytest_lem.model.errors import UsageError

    try:
        ordered([], "grouped" if order is None else order)
        parse_shard("1/1" if shard is None else shard)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the shard's items and put the launches in order; the same in every process that collects the same tests.

    Runs after `-k` and `-m` have chosen, and before `--lf` and `--ff` do, which keep the order or mean to change it.
    """
    ours = [item for item in items if is_lem(item)]
    shard = options.value(config, "shard")
    if ours and shard:
        dropped = _outside(ours, shard)
        dropped += gates.orphaned(items, dropped)
        config.hook.pytest_deselected(items=dropped)
        gone = set(map(id, dropped))
        items[:] = [item for item in items if id(item) not in gone]
        ours = [item for item in ours if id(item) not in gone]
    if any(engine_key(item) for item in ours):
        items[:] = _arranged(config, items, ours)


def _arranged(config: pytest.Config, items: Sequence[pytest.Item], ours: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Ours as one block where the first of them stood: the launches, then those that need no engine.

    A plain test between two launches would stop the engine, and start one more.
    """
    from pytest_lem.campaign.order import ordered

    launched = [item for item in ours if engine_key(item)]
    order = ordered(
        _launches(launched), options.value(config, "order") or "grouped", options.value(config, "seed") or 0
    )
    block = [launched[position] for position in order] + [item for item in ours if not engine_key(item)]
    first = items.index(ours[0])
    return [*items[:first], *block, *(item for item in items[first:] if not is_lem(item))]


def _outside(ours: Sequence[pytest.Item], shard: str) -> list[pytest.Item]:
    """Those that other shards run. By their ids' order: shards agree even where something shuffled the tests."""
    from pytest_lem.campaign.lanes import parse_shard, spread
    from pytest_lem.campaign.order import ordered

    index, count = parse_shard(shard)
    known = sorted(ours, key=lambda item: item.nodeid)
    launched = [item for item in known if engine_key(item)]
    grouped = [launched[position] for position in ordered(_launches(launched))]
    grouped += [item for item in known if not engine_key(item)]
    chunks = spread([_unit(item) for item in grouped], count)
    return [item for item, chunk in zip(grouped, chunks, strict=True) if chunk != index - 1]


def engines(items: Iterable[pytest.Item]) -> list[int | None]:
    """Which engine each item needs, numbered as they first appear; a gate its experiment's. None for one without."""
    keys = [engine_key(item.cycles[-1] if isinstance(item, gates.GateItem) else item) for item in items]
    return [launch and launch[0] for launch in _numbered(keys)]


def _launches(items: Sequence[pytest.Item]) -> list[tuple[int, int]]:
    """Each item's (engine, cycle), engines as numbers; all of them need one."""
    return [launch for launch in _numbered([engine_key(item) for item in items]) if launch is not None]


def _numbered(keys: Sequence[tuple[Any, int] | None]) -> list[tuple[int, int] | None]:
    """Numbers for specs: a spec's own hash reads all of its fields, and thousands of items share one."""
    specs = {id(key[0]): key[0] for key in keys if key}
    numbers: dict[Any, int] = {}
    known = {name: numbers.setdefault(spec, len(numbers)) for name, spec in specs.items()}
    return [(known[id(key[0])], key[1]) if key else None for key in keys]


def _unit(item: pytest.Item) -> Hashable:
    """What stays in one shard: all cycles of an engine's workload; a test without an engine is alone."""
    key = engine_key(item)
    if key is None:
        return item.nodeid
    return key[0], item.callspec.params.get("lem_workload")  # type: ignore[attr-defined]  # engine_key has looked
