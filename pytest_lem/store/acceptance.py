"""What of a report may enter a baseline, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_lem.fingerprint import fingerprint
from pytest_lem.launches import Launch, launches, metric_of, recorded_keys, ungateable
from pytest_lem.model.baseline import BaselineEntry, BaselineMetric
from pytest_lem.model.environment import Environment
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import METRICS, Metric
from pytest_lem.store.experiments import is_whole, subject_of
from pytest_lem.store.report import Report

DIGITS = 6  # significant: far finer than any round repeats, and a file that can be committed


@dataclass(frozen=True)
class Acceptance:
    """The `entries` of a report that may enter a baseline, and a line for each thing that was `left_out`."""

    entries: tuple[BaselineEntry, ...]
    left_out: tuple[str, ...]


def entries_of(report: Report) -> Acceptance:
    """What of `report` may enter a baseline."""
    entries, refused = [], []
    metrics: dict[str, dict[str, int]] = {}
    owners: dict[tuple[str, str], str] = {}
    for measurement in report.measurements:
        owner = owners.setdefault((subject_of(measurement), measurement.name), measurement.test)
        known = None if owner == measurement.test else f"{owner} has its name in baselines, {subject_of(measurement)!r}"
        reason = refusal(measurement) or known
        if reason:
            refused.append(f"{measurement.id} is left out: {reason}")
            continue
        entries.append(entry_of(measurement, report.environment))
        for key, why in _joules_left_out(measurement).items():
            metrics.setdefault(why, {}).setdefault(key, 0)
            metrics[why][key] += 1
    return Acceptance(tuple(entries), (*refused, *_summed(metrics, len(entries))))


def entry_of(measurement: Measurement, environment: Environment) -> BaselineEntry:
    """The measurement as a baseline keeps it: every metric that can be compared between runs, round by round."""
    found = {}
    for key in (*METRICS, *recorded_keys(measurement.cycles)):
        try:
            values = launches(measurement, key)
            if ungateable(measurement, key, values) is None:
                found[key] = _metric(metric_of(measurement, key), values)
        except Unavailable:
            continue
    return BaselineEntry(
        test=subject_of(measurement),
        name=measurement.name,
        fingerprint=fingerprint(measurement, environment),
        metrics=found,
    )


def refusal(measurement: Measurement) -> str | None:
    """Why a measurement may not enter a baseline, in words; None where it may."""
    if measurement.protocol.quick:
        return "it is a quick look (--lem-quick), too short to compare with"
    if not measurement.cycles:
        return "it was never measured"
    if not is_whole(measurement):
        return "a launch of it was cut short"
    if any(cycle.steady is False for cycle in measurement.cycles):
        return "its warm-up was cut at its cap, before its time"
    measured, planned = len({cycle.index for cycle in measurement.cycles}), measurement.protocol.cycles
    if measured < planned:
        return f"{measured} of its {planned} cycles were measured"
    if not any(round_.valid for cycle in measurement.cycles for round_ in cycle.rounds):
        return "none of its rounds is valid"
    return None


def _metric(metric: Metric, found: Sequence[Launch]) -> BaselineMetric:
    return BaselineMetric(
        unit=metric.unit,
        better=metric.better,
        launches=tuple(_rounded(launch.values) for launch in found),
        warmup=tuple(_rounded(launch.warmup) for launch in found),
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)


def _joules_left_out(measurement: Measurement) -> dict[str, str]:
    """The joules that were measured or estimated here and can't be compared, each with the reason.

    CO2 and what is made of FLOPs are always estimates, and nobody has to be told.
    """
    found = {}
    for key, metric in METRICS.items():
        if not metric.is_joules or metric.kind == "arithmetic" or key == "co2_grams":
            continue
        try:
            reason = ungateable(measurement, key)
        except Unavailable:
            continue
        if reason:
            found[key] = reason
    return found


def _summed(reasons: Mapping[str, Mapping[str, int]], tests: int) -> list[str]:
    """One line a reason, however many tests it holds for."""
    lines = []
    for reason, counts in reasons.items():
        most = max(counts.values())
        where = "" if most == tests else f" of {most} of {tests} measurements"
        lines.append(f"{', '.join(counts)}{where} left out: {reason}")
    return lines
