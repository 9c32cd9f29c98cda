"""The log of a run: one line an event, on disk before the next round begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pytest_lem.model.cycle import Cycle, Recorded
from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.phases import Phases
from pytest_lem.model.round import Round
from pytest_lem.model.search import Search
from pytest_lem.model.specs import Frozen
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.files import append_line, first_fault, to_json

Phase = Literal["warmup", "round"]


class _Line(Frozen):
    """What all lines have; `time` is when the line was written, UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_id: Literal["lem.sample/1"] = Field(default="lem.sample/1", alias="schema")
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))


class BeginLine(_Line):
    """A measurement begins: what is asked, before anything ran (no cycles, no metrics)."""

    event: Literal["begin"] = "begin"
    measurement: Measurement


class CycleLine(_Line):
    """An engine was launched for a measurement; the cycle's rounds follow in lines of their own."""

    event: Literal["cycle"] = "cycle"
    measurement_id: str
    cycle: Cycle


class RoundLine(_Line):
    """A round ended."""

    event: Literal["round"] = "round"
    measurement_id: str
    cycle: int
    phase: Phase
    round: Round


class MeasurementLine(_Line):
    """A measurement ended: all of it, its rounds included."""

    event: Literal["measurement"] = "measurement"
    measurement: Measurement


class RecordedLine(_Line):
    """The user recorded a value of their own after a measurement; `comes_to` is their metric with it."""

    event: Literal["recorded"] = "recorded"
    measurement_id: str
    cycle: int
    recorded: Recorded
    comes_to: MetricValue


class SearchLine(_Line):
    """A search among settings ended; what it measured has lines of its own."""

    event: Literal["search"] = "search"
    search: Search


class PhasesLine(_Line):
    """Prefill and decode were told apart; the rounds behind it have lines of their own."""

    event: Literal["phases"] = "phases"
    phases: Phases


class VerdictLine(_Line):
    """A limit was judged; `judgement` is the same for all limits of a test that were judged together."""

    event: Literal["verdict"] = "verdict"
    verdict: Verdict
    judgement: str = ""


class MissingLine(_Line):
    """Something that was planned has no result; `text` says what and why."""

    event: Literal["missing"] = "missing"
    text: str


class FailedLine(_Line):
    """An item could not be measured: the engine did not start, or died; `reason` is its one line."""

    event: Literal["failed"] = "failed"
    test: str
    reason: str


class StartedLine(_Line):
    """An item begins to measure; what it measures has lines of its own."""

    event: Literal["started"] = "started"
    test: str


class EndedLine(_Line):
    """An item that began to measure came to its own end: it measures no more."""

    event: Literal["ended"] = "ended"
    test: str


Line = Annotated[
    BeginLine
    | CycleLine
    | RoundLine
    | MeasurementLine
    | RecordedLine
    | SearchLine
    | PhasesLine
    | VerdictLine
    | MissingLine
    | FailedLine
    | StartedLine
    | EndedLine,
    Field(discriminator="event"),
]
LINES: TypeAdapter[Line] = TypeAdapter(Line)


@dataclass(frozen=True)
class Samples:
    """Writes one worker's `samples-<worker>.jsonl`. Every method raises StoreError when the line cannot be written.

    No file stays open between events, so nothing needs closing and a killed process loses at most one line.
    """

    path: Path

    def begin(self, measurement: Measurement) -> None:
        """Before the first warm-up: what is asked. Without it, rounds of a killed run belong to nothing known."""
        self._append(BeginLine(measurement=measurement))

    def cycle(self, measurement_id: str, cycle: Cycle) -> None:
        """After an engine was launched: its launch, GPUs and load time (a cycle without rounds)."""
        self._append(CycleLine(measurement_id=measurement_id, cycle=cycle))

    def round(self, measurement_id: str, cycle_index: int, phase: Phase, result: Round) -> None:
        """After each round, warm-up rounds too."""
        self._append(RoundLine(measurement_id=measurement_id, cycle=cycle_index, phase=phase, round=result))

    def measurement(self, measurement: Measurement) -> None:
        """After the last round, with its metrics."""
        self._append(MeasurementLine(measurement=measurement))

    def recorded(self, measurement_id: str, cycle_index: int, recorded: Recorded, comes_to: MetricValue) -> None:
        """After the user's own value."""
        self._append(
            RecordedLine(measurement_id=measurement_id, cycle=cycle_index, recorded=recorded, comes_to=comes_to)
        )

    def search(self, search: Search) -> None:
        """After the last setting of a search."""
        self._append(SearchLine(search=search))

    def phases(self, phases: Phases) -> None:
        """After the last round of the last length."""
        self._append(PhasesLine(phases=phases))

    def verdict(self, verdict: Verdict, judgement: str = "") -> None:
        """After a limit was judged, as one of a `judgement`."""
        self._append(VerdictLine(verdict=verdict, judgement=judgement))

    def missing(self, text: str) -> None:
        """What has no result, and why."""
        self._append(MissingLine(text=text))

    def failed(self, test: str, reason: str) -> None:
        """An item that has no whole measurement, and why."""
        self._append(FailedLine(test=test, reason=reason))

    def started(self, test: str) -> None:
        """Before the first measurement of an item."""
        self._append(StartedLine(test=test))

    def ended(self, test: str) -> None:
        """After an item whose test came to its end, whatever it says of what was measured."""
        self._append(EndedLine(test=test))

    def _append(self, line: _Line) -> None:
        append_line(self.path, to_json(line))


def read_samples(path: Path) -> tuple[list[Line], list[str]]:
    """The events in `path`, and one remark for each line that a crash or a full disk cut short.

    Raises StoreError for a file that cannot be read, or a whole line that this version does not understand.
    """
    try:
        rows = path.read_bytes().splitlines()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    lines, torn = [], []
    for number, row in enumerate(rows, start=1):
        if not _is_json(row):
            torn.append(f"{path.name} line {number} was cut short while it was written; its event is lost")
            continue
        try:
            lines.append(LINES.validate_json(row))
        except ValidationError as error:
            raise StoreError(f"{path} line {number}: {first_fault(error)}") from error
    return lines, torn


def _is_json(row: bytes) -> bool:
    try:
        json.loads(row)
    except ValueError:
        return False
    return True
