"""What the index keeps of a run's folder: a row of the run, and one of each configuration in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_lem.model.errors import StoreError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.verdict import Verdict
from pytest_lem.store.aggregation import Aggregate
from pytest_lem.store.experiments import experiment_of
from pytest_lem.store.rebuild import rebuild
from pytest_lem.store.report import REPORT, Report, read_report
from pytest_lem.store.run import RECORD, is_alive

METRICS = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms")
"""Of which a configuration's row holds the value and the bounds of its interval."""
WORSE = ("failed", "inconclusive", "unavailable", "passed")
_SAMPLES = "samples-*.jsonl"


@dataclass(frozen=True)
class Indexed:
    """The rows of one run; `moving` where its report is still to come, or it is running again."""

    run: Mapping[str, Any]
    configurations: Sequence[Mapping[str, Any]] = ()
    moving: bool = False


def indexed(folder: Path, aggregate: Aggregate) -> Indexed | None:
    """What is known of the run in `folder`; None where that holds none. A file that cannot be read is its `fault`."""
    try:
        report = current_report(folder)
        if report is not None:
            return Indexed(_run(report, outcome(report)), _configurations(report), is_alive(folder))
        if not (folder / RECORD).exists():
            return None
        rebuilt = rebuild(folder, aggregate=aggregate)
    except StoreError as error:
        return Indexed({"outcome": "unreadable", "fault": str(error)}, moving=True)
    return Indexed(_run(rebuilt, "cut short"), _configurations(rebuilt), moving=True)


def current_report(folder: Path) -> Report | None:
    """The report that the run wrote at its end; None where it has none, or was continued since and has no end yet.

    Raises StoreError.
    """
    path = folder / REPORT
    if not path.exists():
        return None
    report = read_report(path)
    written = path.stat().st_mtime_ns
    # Files that were copied here have any time: what is in them decides.
    later = [each for each in folder.glob(_SAMPLES) if each.stat().st_mtime_ns > written]
    ended = report.run.ended
    last = max((time for each in later for time in _last_times(each)), default=None)
    return None if last is not None and (ended is None or ended < last) else report


def _last_times(samples: Path) -> Iterator[datetime]:
    """When the last events were written; a line that was cut short tells nothing, so two lines are asked."""
    for line in samples.read_bytes().splitlines()[-2:]:
        try:
            yield datetime.fromisoformat(json.loads(line)["time"])
        except (ValueError, KeyError, TypeError):
            continue


def _run(report: Report, came_to: str) -> dict[str, Any]:
    environment, run = report.environment, report.run
    git = environment.git
    return {
        "id": run.id,
        "started": utc(run.started),
        "ended": utc(run.ended) if run.ended else None,
        "host": environment.host,
        "gpus": ", ".join(sorted({gpu.name for gpu in environment.gpus})) or None,
        "gpu_count": len(environment.gpus),
        "cpu": environment.cpu or None,
        "git_commit": git.commit if git else None,
        "branch": git.branch if git else None,
        "changed": git.changed if git else None,
        "quick": run.quick,
        "missing": len(report.missing),
        "outcome": came_to,
    }


def outcome(report: Report) -> str:
    """How a run came out, in a word: the worst that was judged of it, unless something is missing."""
    statuses = {verdict.status for verdict in report.verdicts}
    if "failed" in statuses:
        return "failed"
    if not report.run.complete:
        return "incomplete"
    return next((status for status in ("inconclusive", "passed") if status in statuses), "measured")


def utc(moment: datetime) -> str:
    """A moment as text that sorts: UTC, to the second, whatever the zone it was written in."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _configurations(report: Report) -> list[dict[str, Any]]:
    return [_configuration(place, each, report.verdicts) for place, each in enumerate(report.measurements)]


def _configuration(place: int, measurement: Measurement, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    asked = measurement.engine.requested if measurement.engine else None
    row: dict[str, Any] = {
        "place": place,
        "test": measurement.test,
        "name": measurement.name,
        "engine": asked.backend if asked else None,
        "model": asked.model if asked else None,
        "precision": asked.precision if asked else None,
        "batch": _batch(measurement),
        "load": _load(measurement),
        "gpus": max((len(cycle.gpus) for cycle in measurement.cycles), default=0),
        "verdict": _worst(measurement, verdicts),
    }
    for key in METRICS:
        value = measurement.metrics.get(key)
        bounds = (value.value, value.low, value.high, value.source) if value else (None,) * 4
        row |= dict(zip((key, f"{key}_low", f"{key}_high", f"{key}_source"), bounds, strict=True))
    return row


def _batch(measurement: Measurement) -> int | None:
    workload = measurement.workload
    return workload.batch if workload and workload.arriving is None else None


def _load(measurement: Measurement) -> str | None:
    """How requests arrive, where they come over time: `poisson 10 req/s`, `closed 16`."""
    traffic = measurement.workload.arriving if measurement.workload else None
    if traffic is None:
        return None
    told = f"{traffic.qps:g} req/s" if traffic.qps is not None else traffic.concurrency or ""
    return f"{traffic.arrivals} {told}".rstrip()


def _worst(measurement: Measurement, verdicts: Sequence[Verdict]) -> str | None:
    mine = {
        verdict.status
        for verdict in verdicts
        if verdict.name == measurement.name and measurement.test in (verdict.test, experiment_of(verdict.test))
    }
    return next((status for status in WORSE if status in mine), None)
