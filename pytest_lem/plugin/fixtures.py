"""The three fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_lem.plugin.budgets import one_line
from pytest_lem.plugin.state import open_session

if TYPE_CHECKING:
    from pytest_lem.model.specs import WorkloadSpec
    from pytest_lem.plugin.backend import Backend
    from pytest_lem.plugin.energy import Energy


@pytest.fixture
def lem_cycle(request: pytest.FixtureRequest) -> int:
    """Which launch of the engine this item is, from 0."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def lem_backend(request: pytest.FixtureRequest, lem_cycle: int) -> Backend:
    """A running engine: `.name`, `.spec`, `.observed` (what really runs), `.run(workload)`."""
    if not hasattr(request, "param"):
        pytest.fail("lem_backend: take it as an argument of the test; it is not to be had later", pytrace=False)
    with one_line():
        return open_session(request.config).backend(request.param, lem_cycle, request.node.nodeid)


@pytest.fixture
def lem_workload(request: pytest.FixtureRequest) -> WorkloadSpec:
    """The frozen WorkloadSpec of this parameter set; `.replace(...)` makes another."""
    workload: WorkloadSpec = request.param
    return workload


@pytest.fixture
def lem_energy(request: pytest.FixtureRequest) -> Energy:
    """Measures: `.measure(backend, workload)`, `.window(name)`, and the last measurement's metrics as attributes."""
    from pytest_lem.plugin.energy import Energy

    with one_line():
        return Energy(open_session(request.config), request.node)
