"""A run against its baseline: what may be compared is, and the answer is one line that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from pytest_lem.fingerprint import Match, choices, fingerprint
from pytest_lem.launches import Launch, launches, metric_of, ungateable
from pytest_lem.model.baseline import BaselineMetric
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import Metric
from pytest_lem.model.verdict import Comparison, Verdict
from pytest_lem.render.numbers import percent, plain_percent
from pytest_lem.stats.effect import detectable_effect
from pytest_lem.stats.history import BOARD_SD, FEWEST, history_gate
from pytest_lem.stats.runs import change
from pytest_lem.stats.verdict import Direction, Reason, inconclusive
from pytest_lem.stats.verdict import Verdict as Found
from pytest_lem.store.environment import Environment
from pytest_lem.store.experiments import subject_of
from pytest_lem.store.history import FIRST, NEEDED_RUNS, Baseline, Matched, Warmup

THRESHOLD = 0.05
ONCE = ("recorded", "memory", "load")
"""Kinds of metric that a launch may have once: there are no rounds to wait for."""


@dataclass(frozen=True)
class Gate:
    """What is gated: the metric `key` may not get worse by more than `threshold` (relative, of cost).

    `direction` overrides which way is better; `name` picks one measurement of a test. `strict` comes from the command
    line: what could not be measured then fails.
    """

    key: str
    threshold: float = THRESHOLD
    direction: Direction | None = None
    name: str | None = None
    strict: bool = False


@dataclass(frozen=True)
class Judged:
    """A verdict for the report, and whether one more launch, or a duel, would settle it."""

    verdict: Verdict
    relaunch: bool = False
    duel: bool = False


def judge(
    gate: Gate, measurement: Measurement, baseline: Baseline, environment: Environment, *, match: Match = "board"
) -> Judged:
    """Judge one measurement (all cycles of an experiment) by the baseline's runs of the same test and name."""
    test, name = subject_of(measurement), measurement.name
    try:
        metric = metric_of(measurement, gate.key)
        mine = launches(measurement, gate.key)
        refused = _refused(metric, measurement, mine)
    except Unavailable as error:
        return Judged(unavailable(gate, measurement, baseline.name, error.reason))
    if refused:
        return Judged(unavailable(gate, measurement, baseline.name, refused))
    direction = gate.direction or metric.better
    now = fingerprint(measurement, environment)
    matched = baseline.matched(test, name, gate.key, now, match=match)
    then = baseline.fingerprints(test, name)
    found = _compared(gate, metric, direction, matched, _Candidate(mine, now), baseline.warmup(test, name, gate.key))
    comparison = Comparison(
        baseline=baseline.name,
        outcome=found.status.value,
        reason=found.reason,
        detail=found.detail,
        threshold=found.threshold,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        detectable=found.detectable,
        p=found.p,
        runs=found.runs,
        launches=len(mine),
        rounds=found.rounds,
        dropped=len(found.dropped),
        differences=matched.differences,
        changes=tuple(choices(then[-1], now)) if then else (),
        creep=_creep(gate, direction, matched.history, mine),
    )
    verdict = gate_verdict(gate, measurement, direction, comparison)
    return Judged(verdict, found.relaunch, found.duel and not matched.differences)


@dataclass(frozen=True)
class _Candidate:
    """The launches that are judged, and what they were measured on."""

    launches: Sequence[Launch]
    fingerprint: Mapping[str, str]

    @property
    def rounds(self) -> int:
        return sum(len(launch.values) for launch in self.launches)


def foreseen(gate: Gate, test: str, baseline: Baseline) -> float | None:
    """The relative change of cost that this gate will have an 80 % chance to see; None where it cannot fail yet."""
    names = [gate.name] if gate.name is not None else [name for held, name in baseline.measured if held == test]
    runs = [[run.launches for run in baseline.history(test, name, gate.key)] for name in names]
    found = [detectable_effect(each, threshold=gate.threshold) for each in runs if len(each) >= NEEDED_RUNS]
    return max((each for each in found if isfinite(each)), default=None)


def gate_verdict(gate: Gate, measurement: Measurement, direction: Direction, comparison: Comparison) -> Verdict:
    """The comparison as a verdict of the report, with its line."""
    value = measurement.metrics.get(gate.key)
    status = {"REGRESSED": "failed", "INCONCLUSIVE": "inconclusive"}.get(comparison.outcome, "passed")
    return Verdict.model_validate(
        {
            "test": measurement.test,
            "name": measurement.name,
            "metric": gate.key,
            "kind": "gate",
            "better": direction,
            "value": value.value if value else None,
            "low": value.low if value else None,
            "high": value.high if value else None,
            "status": status,
            "line": line(_place(gate, measurement), comparison),
            "comparison": comparison,
        }
    )


def unavailable(gate: Gate, measurement: Measurement, baseline: str, reason: str) -> Verdict:
    """The verdict where the metric was not measured, or may not be compared."""
    better = gate.direction or _better(gate, measurement)
    text = f"{_place(gate, measurement)}: cannot be compared with {baseline}: {reason}"
    value = measurement.metrics.get(gate.key)
    return Verdict(
        test=measurement.test,
        name=measurement.name,
        metric=gate.key,
        kind="gate",
        better=better,
        value=value.value if value else None,
        status="unavailable",
        line=text,
    )


def line(place: str, found: Comparison) -> str:
    """One line: the estimate, its range, what it rests on, and what it could have seen."""
    reason = f" ({found.reason})" if found.reason else ""
    text = f"{place}: {found.outcome}{reason}"
    if found.estimate is not None:
        text += f" {percent(found.estimate)}"
    text += f" {_against(found)}"
    if found.low is not None and found.high is not None:
        text += f", range {percent(found.low)}..{percent(found.high)}, threshold {plain_percent(found.threshold)}"
    for said in (found.detail, _dropped(found), _changes(found), _creeps(found)):
        text += f"; {said}" if said else ""
    if found.outcome == "INCONCLUSIVE" and found.detectable is not None:
        text += f"; this run could only have seen a change over {plain_percent(found.detectable)}"
    return text


def _against(found: Comparison) -> str:
    if found.pairs:
        rests = f"duel of {_count(found.pairs, 'pair')}, {_count(found.launches, 'launch')} of each"
        return f"with {found.candidate} vs {found.baseline} ({rests})"
    rests = ", ".join((_count(found.runs, "run"), _count(found.launches, "launch"), _count(found.rounds, "round")))
    return f"vs {found.baseline} ({rests})"


def _refused(metric: Metric, measurement: Measurement, mine: Sequence[Launch]) -> str | None:
    if measurement.protocol.quick and metric.is_joules:
        return "joules of a quick run (--lem-quick) are not gateable"
    return ungateable(measurement, metric.key, mine)


def _compared(
    gate: Gate, metric: Metric, direction: Direction, matched: Matched, mine: _Candidate, warmup: Warmup
) -> Found:
    reason, detail = _obstacle(matched, mine)
    if reason is not None:
        return inconclusive(reason, detail, threshold=gate.threshold, runs=len(matched.history), rounds=mine.rounds)
    fewest = 1 if metric.kind in ONCE else FEWEST
    warmup = _affordable(warmup, matched, mine, fewest)
    boards = {*matched.boards, mine.fingerprint.get("board", "")}
    return history_gate(
        [[warmup.settled(*launch) for launch in zip(run.launches, run.warmup, strict=True)] for run in matched.history],
        [warmup.settled(launch.values, launch.warmup) for launch in mine.launches],
        threshold=gate.threshold,
        direction=direction,
        fewest=fewest,
        board_sd=BOARD_SD if len(boards) > 1 else None,
    )


def _affordable(warmup: Warmup, matched: Matched, mine: _Candidate, fewest: int) -> Warmup:
    """The baseline's warm-up, as far as every launch that has rounds enough keeps enough of them.

    All lose the same: what bias is left in the first rounds is left on both sides. So a baseline that never became
    steady is compared by all of its rounds: refused, a gate would sleep through any regression.
    """
    known = [pair for run in matched.history for pair in zip(run.launches, run.warmup, strict=True)]
    known += [(launch.values, launch.warmup) for launch in mine.launches]
    spare = [len(values) + len(warm) - fewest for values, warm in known if len(values) >= fewest]
    return Warmup(min([warmup.rounds or 0, *spare]))


def _obstacle(matched: Matched, mine: _Candidate) -> tuple[Reason | None, str]:
    """Why the two cannot be compared, or None."""
    if matched.differences:
        return "incomparable", "; ".join(matched.differences)
    if any(launch.steady is False for launch in mine.launches):
        return "not steady", "warm-up was cut before its time"
    return None, ""


def _creep(gate: Gate, direction: Direction, history: Sequence[BaselineMetric], mine: Sequence[Launch]) -> float | None:
    """The change since the first runs of the epoch, where there are later ones and it is over the threshold."""
    if len(history) <= FIRST:
        return None
    found = change([run.launches for run in history[:FIRST]], [launch.values for launch in mine])
    worse = found is not None and (found > 0) == (direction == "lower")
    return found if worse and found is not None and abs(found) > gate.threshold else None


def _better(gate: Gate, measurement: Measurement) -> Direction:
    try:
        return metric_of(measurement, gate.key).better
    except Unavailable:
        return "lower"


def _place(gate: Gate, measurement: Measurement) -> str:
    return f"{gate.key}[{measurement.name}]" if measurement.name else gate.key


def _count(n: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("ch") else "s")
    return f"{n} {noun if n == 1 else plural}"


def _dropped(found: Comparison) -> str:
    return f"{_count(found.dropped, 'run')} left out as far from the others" if found.dropped else ""


def _changes(found: Comparison) -> str:
    return f"changed: {', '.join(found.changes)}" if found.changes else ""


def _creeps(found: Comparison) -> str:
    if found.creep is None:
        return ""
    return f"creeping: {percent(found.creep)} since the first runs of this baseline"
