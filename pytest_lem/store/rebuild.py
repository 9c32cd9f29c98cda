"""A report from what a run left behind, for runs that were killed before they wrote one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pytest_lem.model.cycle import Cycle
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.round import Round
from pytest_lem.model.search import Search
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.aggregation import Aggregate
from pytest_lem.store.experiments import is_whole, joined, whole_tests
from pytest_lem.store.report import Report
from pytest_lem.store.run import Run
from pytest_lem.store.samples import (
    BeginLine,
    CycleLine,
    EndedLine,
    FailedLine,
    Line,
    MeasurementLine,
    MissingLine,
    Phase,
    PhasesLine,
    RecordedLine,
    RoundLine,
    SearchLine,
    StartedLine,
    VerdictLine,
    read_samples,
)

UNENDED = "the run ended before it wrote its report; this one was rebuilt from its samples"
"""The first line of what such a report misses."""


@dataclass(frozen=True)
class Gathered:
    """What every process of a run wrote: measurements (one an attempt at an item), verdicts, remarks on what was lost.

    A measurement that was cut short has no remark where another attempt came to its end. `torn` names the lines that
    were cut short themselves. `failures` maps an item that could not be measured to the reason; `unended` are items
    that began to measure and were cut short, maybe between two measurements.
    """

    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    remarks: tuple[str, ...]
    failures: dict[str, str]
    last: datetime | None
    torn: tuple[str, ...] = ()
    searches: tuple[Search, ...] = ()
    phases: tuple[Phases, ...] = ()
    unended: frozenset[str] = frozenset()

    @cached_property
    def whole(self) -> set[str]:
        """The items that came to their end, with all that they measured."""
        return whole_tests(self.measurements) - self.unended


def gather(directory: Path, *, aggregate: Aggregate | None = None) -> Gathered:
    """Read the samples files of the run in `directory`.

    `aggregate` computes metrics from the rounds of a measurement that was cut short; without it such a measurement has
    none. Raises StoreError for a file that cannot be read.
    """
    logs = [_Log(path.stem.removeprefix("samples-")) for path in sorted(directory.glob("samples-*.jsonl"))]
    torn: list[str] = []
    lines: list[Line] = []
    for log in logs:
        events, cut = read_samples(directory / f"samples-{log.worker}.jsonl")
        torn += cut
        lines += events
        for event in events:
            log.take(event)
    whole = {attempt.head.id for log in logs for attempt in log.attempts if attempt.ended and is_whole(attempt.head)}
    return Gathered(
        measurements=tuple(attempt.result(aggregate) for attempt in _in_time(logs)),
        verdicts=_last(lines),
        remarks=tuple(text for log in logs for text in log.remarks(whole)),
        failures={line.test: line.reason for line in _in_order(lines) if isinstance(line, FailedLine)},
        last=max((line.time for line in lines), default=None),
        torn=tuple(torn),
        searches=tuple(_searches(lines)),
        phases=tuple(_phases(lines)),
        unended=_unended(lines),
    )


def _unended(lines: Iterable[Line]) -> frozenset[str]:
    last = {line.test: line for line in _in_order(lines) if isinstance(line, StartedLine | EndedLine)}
    return frozenset(test for test, line in last.items() if isinstance(line, StartedLine))


def _searches(lines: Iterable[Line]) -> Iterable[Search]:
    """The last search of each name in each test."""
    found = (line.search for line in _in_order(lines) if isinstance(line, SearchLine))
    return {(search.test, search.name): search for search in found}.values()


def _phases(lines: Iterable[Line]) -> Iterable[Phases]:
    """The last split of each name in each test."""
    found = (line.phases for line in _in_order(lines) if isinstance(line, PhasesLine))
    return {(phases.test, phases.name): phases for phases in found}.values()


def _last(lines: Iterable[Line]) -> tuple[Verdict, ...]:
    """What each test was last judged by: one that ran again was judged anew, maybe by other limits."""
    judged = [line for line in _in_order(lines) if isinstance(line, VerdictLine)]
    latest = {line.verdict.test: line.judgement for line in judged}
    return tuple(line.verdict for line in judged if line.judgement == latest[line.verdict.test])


def _in_order(lines: Iterable[Line]) -> list[Line]:
    """Lines of several files in the order in which they were written."""
    return sorted(lines, key=lambda line: line.time)


def _in_time(logs: Iterable[_Log]) -> list[_Attempt]:
    """The attempts of all workers in the order in which they began."""
    return sorted((attempt for log in logs for attempt in log.attempts), key=lambda attempt: attempt.began)


def still_failed(found: Gathered) -> dict[str, str]:
    """The items that failed and were not measured by a later attempt, each with its reason."""
    return {test: reason for test, reason in found.failures.items() if test not in found.whole}


def rebuild(directory: Path, *, aggregate: Aggregate | None = None) -> Report:
    """The report of the run in `directory`, from `run.json` and the samples files; writes nothing.

    It is never complete, and `missing` says what was lost: measurements cut short, tests planned and never measured,
    lines cut short. `aggregate` as in `gather`. Raises StoreError for a directory that holds no run.
    """
    run = Run.open(directory)
    found = gather(directory, aggregate=aggregate)
    missing = [UNENDED, *found.torn, *found.remarks]
    missing += [f"{test}: failed: {reason}" for test, reason in still_failed(found).items()]
    missing += _cut_between(found, missing)
    missing += _unmeasured(run.record.plan, found.measurements, missing)
    return Report(
        run=run.info(ended=found.last, complete=False),
        environment=run.record.environment,
        measurements=joined(found.measurements, aggregate, run.record.plan),
        verdicts=found.verdicts,
        searches=found.searches,
        phases=found.phases,
        missing=tuple(missing),
    )


@dataclass
class _Attempt:
    """One measurement from its beginning on; it has ended when its own line came."""

    head: Measurement
    began: datetime
    cycles: dict[int, Cycle] = field(default_factory=dict)
    ended: bool = False

    def add(self, cycle: int, phase: Phase, round_: Round) -> None:
        known = self.cycles.get(cycle) or Cycle(index=cycle, launch="", stopped="interrupted")
        name = "warmup_rounds" if phase == "warmup" else "rounds"
        self.cycles[cycle] = known.model_copy(update={name: (*getattr(known, name), round_)})

    def record(self, line: RecordedLine) -> None:
        head = self.head
        cycles = tuple(
            cycle.model_copy(update={"recorded": (*cycle.recorded, line.recorded)})
            if cycle.index == line.cycle
            else cycle
            for cycle in head.cycles
        )
        metrics = head.metrics | {line.recorded.metric: line.comes_to}
        self.head = head.model_copy(update={"cycles": cycles, "metrics": metrics})

    def result(self, aggregate: Aggregate | None) -> Measurement:
        if self.ended:
            return self.head
        cycles = tuple(self.cycles[index] for index in sorted(self.cycles))
        partial = self.head.model_copy(update={"cycles": cycles})
        if aggregate is None or not any(cycle.rounds for cycle in cycles):
            return partial
        return partial.model_copy(update={"metrics": dict(aggregate(partial))})

    def remark(self) -> str:
        warmup = sum(len(cycle.warmup_rounds) for cycle in self.cycles.values())
        rounds = sum(len(cycle.rounds) for cycle in self.cycles.values())
        return f"{self.head.id}: cut short (warm-up rounds: {warmup}, measured rounds: {rounds})"


@dataclass
class _Log:
    """What one worker's lines add up to."""

    worker: str
    attempts: list[_Attempt] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    strays: dict[str, int] = field(default_factory=dict)

    def take(self, line: Line) -> None:
        match line:
            case BeginLine():
                self.attempts.append(_Attempt(line.measurement, line.time))
            case CycleLine():
                self._cycle(line.measurement_id, line.cycle)
            case RoundLine():
                self._round(line)
            case MeasurementLine():
                self._end(line.measurement, line.time)
            case RecordedLine():
                self._recorded(line)
            case MissingLine():
                self.texts.append(line.text)

    def remarks(self, whole: Collection[str]) -> list[str]:
        """What was lost, but for attempts at a measurement that is `whole` by another."""
        cut = [each.remark() for each in self.attempts if not each.ended and each.head.id not in whole]
        lost = [f"{name}: the beginning of its measurement is lost (rounds: {n})" for name, n in self.strays.items()]
        return [*self.texts, *cut, *lost]

    def _open(self, measurement_id: str) -> _Attempt | None:
        found = [each for each in self.attempts if each.head.id == measurement_id and not each.ended]
        return found[-1] if found else None

    def _cycle(self, measurement_id: str, cycle: Cycle) -> None:
        attempt = self._open(measurement_id)
        if attempt is not None:
            attempt.cycles[cycle.index] = cycle.model_copy(update={"stopped": cycle.stopped or "interrupted"})

    def _round(self, line: RoundLine) -> None:
        attempt = self._open(line.measurement_id)
        if attempt is None:
            self.strays[line.measurement_id] = self.strays.get(line.measurement_id, 0) + 1
        else:
            attempt.add(line.cycle, line.phase, line.round)

    def _recorded(self, line: RecordedLine) -> None:
        found = [each for each in self.attempts if each.head.id == line.measurement_id and each.ended]
        if found:  # else the line of its measurement was cut short, which is told
            found[-1].record(line)

    def _end(self, measurement: Measurement, time: datetime) -> None:
        attempt = self._open(measurement.id)
        if attempt is None:
            attempt = _Attempt(measurement, time)
            self.attempts.append(attempt)
        attempt.head, attempt.ended = measurement, True
        self.strays.pop(measurement.id, None)


def _cut_between(found: Gathered, said: list[str]) -> list[str]:
    """Items whose measurements are whole, and which may have had more to measure."""
    cut = sorted(whole_tests(found.measurements) & found.unended)
    return [f"{test}: cut short after a measurement" for test in cut if not any(t.startswith(f"{test}:") for t in said)]


def _unmeasured(plan: tuple[str, ...], measurements: tuple[Measurement, ...], said: list[str]) -> list[str]:
    measured = {measurement.test for measurement in measurements}
    return [
        f"{test}: planned, never measured"
        for test in plan
        if test not in measured and not any(text.startswith(f"{test}:") for text in said)
    ]
