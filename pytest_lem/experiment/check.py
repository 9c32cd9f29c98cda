"""A file as a run would read it, without pytest: its experiments, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_lem.campaign.document import Document
from pytest_lem.campaign.layers import Layers, protocol
from pytest_lem.campaign.loads import check_loads
from pytest_lem.campaign.matrix import Cell, Emptied, cells
from pytest_lem.engines import registry
from pytest_lem.engines.positions import check_positions
from pytest_lem.experiment.campaign import Campaign, read_campaign
from pytest_lem.experiment.experiment import Experiment, read_experiment
from pytest_lem.experiment.explanation import Row, cycle_row, engine_rows, explained, load_rows, protocol_rows
from pytest_lem.experiment.extends import Shown
from pytest_lem.model.specs import EngineSpec, WorkloadSpec


@dataclass(frozen=True)
class Checked:
    """A file that can be run: its cells, or why the test has none; `notes` are what nobody should overlook."""

    experiment: Experiment
    layers: Layers
    cells: Sequence[Cell]
    emptied: str | None
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many experiments: cycles of one are not counted apart."""
        return len({cell.id.rpartition("-c")[0] for cell in self.cells})

    def lines(self) -> Iterator[str]:
        """Every value and where it comes from, as `--lem-explain` shows them."""
        name = f"{self.experiment.file}::{self.experiment.name}"
        if self.emptied is not None:
            yield f"{name}: no experiment: {self.emptied}"
        else:
            yield from explained(name, [(cell.id, self.rows(cell)) for cell in self.cells])

    def rows(self, cell: Cell) -> dict[str, Row]:
        """Keyword → value and origin of one experiment."""
        layers = replace(self.layers, experiment=cell.point.layers.experiment)
        return {
            **engine_rows(cell, ""),
            **load_rows(cell),
            **cycle_row(cell),
            **protocol_rows(layers, quick=False),
        }

    def resolved(self) -> dict[str, list[Row]]:
        """Keyword → its different values over all experiments, in their order."""
        found: dict[str, dict[str, Row]] = {}
        for cell in self.cells:
            for name, row in self.rows(cell).items():
                found.setdefault(name, {}).setdefault(row.value, row)
        told = {name: list(rows.values()) for name, rows in found.items() if name != "cycle"}
        budgets = {
            f"budget.{name}": [Row(f"{limit:g}", self.experiment.file)] for name, limit in self._budgets().items()
        }
        gates = {
            f"gate.{gate['metric']}": [Row(f"{gate.get('threshold', 0.05):g}", self.experiment.file)]
            for gate in self.experiment.gates
        }
        return told | budgets | gates

    def _budgets(self) -> Mapping[str, float]:
        return self.experiment.budgets


def checked(path: Path, shown: Shown, project: Document | None = None) -> Checked:
    """What the file at `path` comes to over the `project`'s own file.

    Raises UsageError, one line with file and line.
    """
    experiment = read_experiment(path, shown)
    below = project or Document()
    layers = Layers(
        marker={name: value for name, value in experiment.keywords.items() if name != "id"},
        command={},
        settings={},
        pythons={},
        place=experiment.file,
        project=below.values,
        origins={"marker": experiment.origins, "project": below.origins},
        written_down=True,
    )
    found = cells(layers, registry.names(), checked=registry.validate, check_option=registry.check_option)
    protocol(layers, quick=False)
    if isinstance(found, Emptied):
        return Checked(experiment, layers, (), found.reason, experiment.notes)
    check_loads(found, _answered)
    return Checked(experiment, layers, found, None, experiment.notes)


def campaign_or_files(path: Path, shown: Shown) -> tuple[Campaign | None, tuple[Path, ...]]:
    """The experiment files that a file stands for: itself, or those of the campaign."""
    campaign = read_campaign(path, shown)
    return campaign, (path,) if campaign is None else campaign.files


def _answered(spec: EngineSpec, workload: WorkloadSpec) -> None:
    registry.check_workload(spec, workload)
    check_positions(spec, workload)
