"""Configurations as they stand in a table: of our own runs, or of another tool's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as default

from pytest_lem.model.foreign import Foreign, ForeignRow
from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.render.configuration import words
from pytest_lem.render.judged import judgements, worst
from pytest_lem.render.reported import Reported
from pytest_lem.render.terminal import names_of

OURS = "pytest-lem"
NO_PART = "it was not part of this measurement"
Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Entry:
    """One configuration: what is told of it, by the names of `table.ABOUT`, and its metrics.

    `absent` is why a metric that it says nothing of is absent; `foreign` is the tool that measured it, if not ours.
    """

    told: Mapping[str, Cell]
    metrics: Mapping[str, MetricValue]
    absent: str = NO_PART
    foreign: str = ""
    says: Sequence[str] = default(default_factory=tuple)

    @property
    def label(self) -> str:
        """What a reader calls it."""
        return str(self.told["label"])


def entries(reports: Sequence[Reported], foreign: Sequence[Foreign] = ()) -> list[Entry]:
    """Every configuration: of the reports in their order, then of other tools."""
    found = [entry for report in reports for entry in _of_report(report)]
    return found + [_of_tool(file, row) for file in foreign for row in file.rows]


def _of_report(report: Reported) -> list[Entry]:
    judged = judgements(report.verdicts)
    boards = sorted({gpu.name for gpu in report.environment.gpus})
    drivers = sorted({gpu.driver for gpu in report.environment.gpus if gpu.driver})
    run: dict[str, Cell] = {
        "tool": OURS,
        "tool_version": report.environment.packages.get(OURS),
        "run": report.run.id,
        "started": report.run.started.isoformat(),
        "host": report.environment.host,
        "board": ", ".join(boards) or report.environment.cpu or None,
        "driver": ", ".join(drivers) or None,
    }
    found = []
    for measurement, label in zip(report.measurements, names_of(report.measurements), strict=True):
        verdict = worst(measurement, judged)
        told = run | {"label": label, "verdict": verdict.status if verdict else None} | _about(measurement)
        found.append(Entry(told, measurement.metrics, says=_says(measurement)))
    return found


def _about(measurement: Measurement) -> dict[str, Cell]:
    told = words(measurement)
    rounds = [each for cycle in measurement.cycles for each in cycle.rounds]
    steady = [cycle.steady for cycle in measurement.cycles if cycle.steady is not None]
    notes = dict.fromkeys(note for cycle in measurement.cycles for note in cycle.notes)
    return {
        "test": measurement.test,
        "name": measurement.name or None,
        "engine": told.engine or None,
        "model": told.model or None,
        "precision": told.precision or None,
        "load": told.load or None,
        "tokens": told.tokens or None,
        "device": told.device if measurement.engine else None,
        "cycles": len(measurement.cycles),
        "rounds": len(rounds),
        "valid_rounds": sum(each.valid for each in rounds),
        "steady": all(steady) if steady else None,
        "quick": measurement.protocol.quick,
        "shared_host": any(cycle.lanes > 1 for cycle in measurement.cycles),
        "meters": ", ".join(f"{each.name} ({each.source})" for each in measurement.meters if each.used) or None,
        "notes": "; ".join(notes) or None,
    }


def _says(measurement: Measurement) -> list[str]:
    """What a reader has to know of its numbers."""
    invalid = sum(not each.valid for cycle in measurement.cycles for each in cycle.rounds)
    said = ["a quick first look, its joules are not gateable"] if measurement.protocol.quick else []
    said += [f"{invalid} of its rounds {'are' if invalid > 1 else 'is'} invalid and left out"] if invalid else []
    if any(cycle.steady is False for cycle in measurement.cycles):
        said.append("not steady: warm-up ended at its cap before the rounds had settled")
    if any(cycle.lanes > 1 for cycle in measurement.cycles):
        said.append("other lanes measured on its host at the same time")
    return said


def _of_tool(file: Foreign, row: ForeignRow) -> Entry:
    told = {key: getattr(row, key) or None for key in ("engine", "model", "precision", "load", "tokens", "device")} | {
        "tool": file.tool,
        "tool_version": file.version or None,
        "run": file.file,
        "started": file.when or None,
        "label": row.name,
        "notes": "; ".join((*file.means, *row.notes)) or None,
    }
    source = f"{file.tool} {file.version}".rstrip()
    says = [f"measured by {source}, not by {OURS}: {'; '.join(file.means)}", *row.notes]
    return Entry(told, row.metrics, absent=f"{file.tool} does not tell it", foreign=file.tool, says=says)
