"""Whether what is asked can be asked: of the engine that would answer, and as far as can be seen before it counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pytest_lem.campaign.matrix import Cell, places
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.workloads.work import check_workload


def check_loads(cells: Sequence[Cell], refuse: Callable[[EngineSpec, WorkloadSpec], None]) -> None:
    """Raise UsageError for a workload that cannot be; `refuse` raises it for one that this engine cannot be asked."""
    for cell in {(id(cell.engine), id(cell.workload)): cell for cell in cells}.values():
        try:
            refuse(cell.engine, cell.workload)
        except UsageError as error:
            raise _placed(error, cell) from None
    for cell in {id(cell.workload): cell for cell in cells}.values():
        try:
            check_workload(cell.workload)
        except UsageError as error:
            raise _placed(error, cell) from None


def _placed(error: UsageError, cell: Cell) -> UsageError:
    """Led by the line that says the field which the error begins with, where that stands in a file."""
    field = re.match(r"\w*", str(error))
    place = places(cell.point).get(field[0]) if field else None
    return UsageError(f"{place}: {error}") if place else error
