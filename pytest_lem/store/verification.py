"""Whether a run's files agree: its report, the samples that were written as it went, and each device's raw readings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.round import Round
from pytest_lem.store.aggregation import Aggregate
from pytest_lem.store.checks import (
    Fault,
    Window,
    counted_once,
    overlaps,
    place_of,
    ranks,
    rounds_of,
    shared_work,
    windows,
    work,
)
from pytest_lem.store.experiments import joined
from pytest_lem.store.indexed import current_report
from pytest_lem.store.rawfiles import disagreements, read_raw, with_raw
from pytest_lem.store.rebuild import gather, rebuild
from pytest_lem.store.report import Report
from pytest_lem.store.run import Run
from pytest_lem.store.samples import RoundLine, read_samples

ALIKE = 1e-9
"""How far two sums of the same numbers may be apart, relative: the order in which they are added is free."""


@dataclass(frozen=True)
class Verified:
    """What does not hold, a line each, and what the raw files come to: measurement → metric."""

    report: Report
    faults: tuple[str, ...]
    raw_metrics: Mapping[str, Mapping[str, MetricValue]]


def verify(folder: Path, aggregate: Aggregate) -> Verified:
    """Check the run in `folder`. Raises StoreError where there is none, or nothing of it can be read."""
    report = current_report(folder)
    lines = [] if report else ["it has no report of its end: it was cut short, and is checked as far as it came"]
    report = report or rebuild(folder, aggregate=aggregate)
    raw, broken = read_raw(folder)
    summed = {each.id: _summed(with_raw(each, raw), aggregate) for each in report.measurements}
    faults = [
        *(
            fault
            for each in report.measurements
            for check in (ranks, shared_work, counted_once, windows, work)
            for fault in check(each)
        ),
        *overlaps(report.measurements, _clocks(folder)),
        *_samples(folder, report),
        *(fault for each in report.measurements for fault in disagreements(each, raw)),
        *(fault for each in report.measurements for fault in _sums(each, summed[each.id])),
    ]
    return Verified(report, (*lines, *broken, *_lines(faults)), summed)


def _clocks(folder: Path) -> dict[Window, int]:
    """How far each window's clock was from the time of day, in nanoseconds: what a restart of the host changes."""
    found: dict[Window, int] = {}
    for path in folder.glob("samples-*.jsonl"):
        for line in read_samples(path)[0]:
            if isinstance(line, RoundLine):
                window = (line.round.start_ns, line.round.end_ns)
                found[window] = int(line.time.timestamp() * 1e9) - line.round.end_ns
    return found


def _samples(folder: Path, report: Report) -> Iterator[Fault]:
    """The report has the rounds that were written as they ended, each with its window and its tokens."""
    record = Run.open(folder).record
    written = {each.id: each for each in joined(gather(folder).measurements, None, record.plan)}
    told = {each.id: each for each in report.measurements}
    for name in dict.fromkeys([*written, *told]):
        if name not in told:
            yield Fault(name, "its samples are there, and report.json has nothing of it")
        elif name not in written:
            yield Fault(name, "report.json has it, and there are no samples of it")
        else:
            yield from _rounds(told[name], written[name])


def _rounds(told: Measurement, written: Measurement) -> Iterator[Fault]:
    if len(told.cycles) != len(written.cycles):
        yield Fault(told.id, f"{len(told.cycles)} cycles in report.json, {len(written.cycles)} in its samples")
        return
    for cycle, other in zip(told.cycles, written.cycles, strict=True):
        mine, theirs = rounds_of(cycle), rounds_of(other)
        if len(mine) != len(theirs):
            yield Fault(place_of(told, cycle), f"{len(mine)} rounds in report.json, {len(theirs)} in its samples")
            continue
        for (name, one), (_, two) in zip(mine, theirs, strict=True):
            yield from (Fault(place_of(told, cycle), *parts) for parts in _apart(name, one, two))


def _apart(name: str, told: Round, written: Round) -> Iterator[tuple[str, str, str]]:
    for what, fields in {"window": ("start_ns", "end_ns", "passes"), "tokens": _WORK, "readings": _READ}.items():
        apart = [field for field in fields if getattr(told, field) != getattr(written, field)]
        if apart:
            numbers = "" if what == "readings" else _numbers(apart, told, written)
            yield f"its {what} in report.json and in its samples disagree", name, numbers


_WORK = ("requests", "prompt_tokens", "tokens")
_READ = ("devices", "valid", "ranks")


def _numbers(fields: Sequence[str], told: Round, written: Round) -> str:
    return ", ".join(f"{field} {getattr(told, field)} and {getattr(written, field)}" for field in fields)


def _summed(measurement: Measurement, aggregate: Aggregate) -> Mapping[str, MetricValue]:
    """The metrics of its rounds; none where they cannot be: a window of no length, or no pass."""
    try:
        return aggregate(measurement)
    except (ValueError, ArithmeticError):
        return {}


def _sums(measurement: Measurement, raw: Mapping[str, MetricValue]) -> Iterator[Fault]:
    """The joules that are reported are those that the raw files come to, summed anew."""
    if not raw:
        yield Fault(measurement.id, "its rounds come to no metrics, as one has no length, no pass or no token")
    for key, metric in METRICS.items():
        told, found = measurement.metrics.get(key), raw.get(key)
        if not (metric.is_joules or metric.kind == "balance") or key == "co2_grams" or told is None or found is None:
            continue
        if not _alike(told.value, found.value):
            yield Fault(measurement.id, f"{key} is {_value(told)} in report.json, and {_value(found)} by its raw files")


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return isclose(one, other, rel_tol=ALIKE, abs_tol=ALIKE)


def _value(value: MetricValue) -> str:
    return "absent" if value.value is None else f"{value.value:.9g} {value.unit}".rstrip()


def _lines(faults: Iterable[Fault]) -> list[str]:
    """One line for all rounds of which the same holds."""
    found: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        found.setdefault((fault.place, fault.fault), []).append(fault)
    return [_line(*key, alike) for key, alike in found.items()]


def _line(place: str, fault: str, alike: Sequence[Fault]) -> str:
    first = alike[0]
    rounds = f", {first.round}" if first.round else ""
    more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
    return f"{place}{rounds}{more}: {fault}{f' ({first.detail})' if first.detail else ''}"
