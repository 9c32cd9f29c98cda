"""One item an experiment: parametrisation from marker, command line and ini, and the ids that name it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lem.plugin.options import EXPERIMENT_FILES

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_lem.campaign.matrix import Cell
    from pytest_lem.experiment.experiment import Experiment
    from pytest_lem.model.errors import LemError
    from pytest_lem.model.specs import EngineSpec, WorkloadSpec

FIXTURES = ("lem_backend", "lem_workload", "lem_energy")
PARAMETERS = ("lem_backend", "lem_workload", "lem_cycle")
ID = "id"
"""The marker's keyword that names a test in baselines: it changes nothing of what is measured."""
FILE = "lem_experiment"
"""The attribute of a test that was made of an experiment file."""
NOTES: pytest.StashKey[list[str]] = pytest.StashKey()
"""What experiment files say that nobody should overlook, each with its line."""
COLLECTED: pytest.StashKey[dict[str, list[Cell] | str]] = pytest.StashKey()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect an experiment file as a module of tests."""
    if not file_path.name.endswith(EXPERIMENT_FILES) or file_path.name == EXPERIMENT_FILES:
        return None
    from pytest_lem.plugin.experiment_files import ExperimentFile

    found: pytest.Collector = ExperimentFile.from_parent(parent, path=file_path)
    return found


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `lem_backend` and `lem_workload`; last, so that the user's own parameters lead the id."""
    names = [name for name in PARAMETERS if name in metafunc.fixturenames]
    if not names:
        return
    from pytest_lem.model.errors import LemError

    try:
        found = _cells(metafunc, names)
    except LemError as error:
        raise pytest.Collector.CollectError(_told(error, metafunc.definition)) from None
    if metafunc.config.getoption("lem_explain"):
        metafunc.config.stash.setdefault(COLLECTED, {})[metafunc.definition.nodeid] = found
    if isinstance(found, str):
        skip = pytest.mark.skip(reason=found)
        metafunc.parametrize(
            names, [pytest.param(*[None] * len(names), marks=[skip, pytest.mark.lem_emptied])], ids=["none"]
        )
        return
    ids = [cell.id for cell in found]
    metafunc.parametrize(names, [_row(cell, names) for cell in found], indirect=True, ids=ids)


def _cells(metafunc: pytest.Metafunc, names: Sequence[str]) -> list[Cell] | str:
    from pytest_lem.campaign.loads import check_loads
    from pytest_lem.campaign.matrix import Emptied, cells
    from pytest_lem.engines import registry
    from pytest_lem.plugin.check import layers_of

    found = cells(
        layers_of(metafunc.config, metafunc.definition),
        registry.names(),
        takes=names,
        checked=registry.validate,
        check_option=registry.check_option,
    )
    if isinstance(found, Emptied):
        return found.reason
    refuse = partial(_refuse, metafunc.config)
    check_loads(found, refuse)
    if metafunc.definition.get_closest_marker("lem_search"):
        from pytest_lem.plugin.aims import check_aim

        asked = {(cell.engine.key, cell.workload.key): (cell.engine, cell.workload) for cell in found}
        check_aim(metafunc.definition, asked.values() if "lem_workload" in names else (), refuse)
    return found


def _refuse(config: pytest.Config, engine: EngineSpec, workload: WorkloadSpec) -> None:
    from pytest_lem.engines.positions import check_positions
    from pytest_lem.engines.registry import check_workload
    from pytest_lem.plugin.generators import check_generator

    check_workload(engine, workload)
    check_positions(engine, workload)
    check_generator(config, workload)


def _told(error: LemError, test: Any) -> str:
    """The error led by its test; one of a file that says its line needs no more."""
    file = experiment_file(test)
    return str(error) if file is not None and str(error).startswith(f"{file.file}:") else f"{test.nodeid}: {error}"


def _row(cell: Cell, names: Sequence[str]) -> Any:
    values = {"lem_backend": cell.engine, "lem_workload": cell.workload, "lem_cycle": cell.cycle}
    own = cell.point.protocol
    return pytest.param(*(values[name] for name in names), marks=[pytest.mark.lem_experiment(**own)] if own else [])


def marker_of(node: pytest.Item | pytest.Function | Any) -> dict[str, Any]:
    """The `lem` markers of a test merged, the closest one wins; above them what its experiment says of the protocol.

    Raises UsageError for a positional argument.
    """
    from pytest_lem.model.errors import UsageError

    merged: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("lem"))):
        if mark.args:
            raise UsageError(f"@pytest.mark.lem: takes keywords only, got {mark.args[0]!r}")
        merged |= mark.kwargs
    for mark in node.iter_markers("lem_experiment"):
        merged |= mark.kwargs
    merged.pop(ID, None)
    return merged


def known_as(item: pytest.Item | Any) -> str:
    """The name of the item's experiment in baselines, where `lem(id="decode")` gives it one that outlives a rename.

    Parameters stay behind it: `decode[pytorch-bf16-b8]`. Empty where there is none. Raises UsageError for no word.
    """
    from pytest_lem.model.errors import UsageError

    found = next((mark.kwargs[ID] for mark in item.iter_markers("lem") if ID in mark.kwargs), None)
    if found is None:
        return ""
    if not isinstance(found, str) or not found or "[" in found:
        raise UsageError(
            f"@pytest.mark.lem: id={found!r}: expected the name of the test in baselines, such as 'decode'"
        )
    name = getattr(item, "originalname", None) or item.name
    return found + _less_cycle(item, item.name).removeprefix(name)


def experiment_id(item: pytest.Item | Any) -> str:
    """The id of the experiment that the item is a cycle of; its own where it takes no cycle."""
    return _less_cycle(item, item.nodeid)


def _less_cycle(item: pytest.Item | Any, name: str) -> str:
    """`name` without the cycle at its end; where the item has none, what looks like one is the user's own."""
    from pytest_lem.store.experiments import experiment_of

    return experiment_of(name) if cycle_index(item) is not None else name


def cycle_index(item: pytest.Item | Any) -> int | None:
    """Which cycle of its experiment the item is; None for one that takes no cycle."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("lem_cycle") if callspec else None


def marker_origins(node: pytest.Item | pytest.Function | Any) -> dict[str, str]:
    """Which test, class or file each keyword of `marker_of` comes from: `marker test_x.py::test_decode`."""
    found: dict[str, str] = {}
    for holder, mark in reversed(list(node.iter_markers_with_node("lem"))):
        file = experiment_file(holder)
        if file is not None and mark.kwargs == file.keywords:
            found |= file.origins
            continue
        found |= dict.fromkeys([key for key in mark.kwargs if key != ID], f"marker {plain_name(holder)}")
    return found


def experiment_file(node: Any) -> Experiment | None:
    """What the file says that a test was made of; None for a test that is written in Python."""
    found: Experiment | None = getattr(getattr(node, "obj", None), FILE, None)
    return found


def plain_name(node: Any) -> str:
    """A node's id without the parameters of a test: `test_x.py::test_decode`."""
    name = getattr(node, "originalname", None)
    return f"{node.parent.nodeid}::{name}" if name and node.parent is not None else str(node.nodeid)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Tell what experiment files say that nobody should overlook."""
    found: list[str] = config.stash.get(NOTES, [])
    return [f"lem: {note}" for note in dict.fromkeys(found)]


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
