"""What a user names to be compared: runs, or configurations of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_lem.compare import Side
from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.render.names import names_of
from pytest_lem.store.experiments import subject_of
from pytest_lem.store.report import Report, read_report
from pytest_lem.store.runs import LATEST, run_place

_SHOWN = 4
_WORDS = re.compile(r"[^\w.]+")


def groups(named: Sequence[str], run: str | None, results: Path) -> tuple[list[list[Side]], list[str]]:
    """Sides that are compared with the first of their group, and a line for what has no partner.

    Runs are compared by the experiments that they share; a configuration is part of a test's id in `run` (the newest
    where none is named), or `RUN:PART`. Raises UsageError, and StoreError for a run that cannot be read.
    """
    if len(named) < 2:
        raise UsageError(f"{named[0] if named else 'nothing'}: name two at least to compare")
    found = [_run(text, results) for text in named]
    runs = [each for each in found if each is not None]
    if run is None and len(runs) == len(named):
        return _shared([read_report(place) for place in runs])
    if runs and run is None:
        text = next(text for text, place in zip(named, found, strict=True) if place is None)
        raise UsageError(f"{text}: runs are compared with runs; a configuration of one is RUN:{text}")
    return [[_configuration(text, run, results) for text in named]], []


def _run(text: str, results: Path) -> Path | None:
    """The run that `text` names; None where it names none. Raises UsageError where several begin so."""
    place = Path(text)
    if place.is_file() and place.suffix != ".json":
        return None  # a test's file
    try:
        return run_place(text, results)
    except UsageError as error:
        if "there is no such run" in str(error):
            return None
        raise


def _shared(reports: Sequence[Report]) -> tuple[list[list[Side]], list[str]]:
    held = [_by_experiment(report) for report in reports]
    experiments = dict.fromkeys(key for each in held for key in each)
    found = [[each[key] for each in held if key in each] for key in experiments]
    shared = [sides for sides in found if len(sides) > 1]
    if not shared:
        names = " and ".join(report.run.id for report in reports)
        raise UsageError(f"{names} measured nothing in common; name a configuration of each, as RUN:TEST")
    alone = [sides[0] for sides in found if len(sides) == 1]
    return shared, [f"only in {side.run}: {side.measurement.id}" for side in alone]


def _by_experiment(report: Report) -> dict[tuple[str, str], Side]:
    return {
        (subject_of(each), each.name): Side(report.run.id, each, report.environment) for each in report.measurements
    }


def _configuration(text: str, run: str | None, results: Path) -> Side:
    left, colon, part = text.partition(":")
    place = _run(left, results) if colon and part and not part.startswith(":") else None
    if place is None:
        place, part = run_place(run or LATEST, results), text
    report = read_report(place)
    return Side(report.run.id, _measurement(part, report), report.environment)


def _measurement(part: str, report: Report) -> Measurement:
    """The one that is named so, or in whose id `part` is a word, or else stands at all: `b1` is not `b16`."""
    known = list(zip(names_of(report.measurements), report.measurements, strict=True))
    exact = [each for name, each in known if part in (name, each.id, each.test)]
    words = [each for _, each in known if part in _WORDS.split(each.id)]
    found = exact or words or [each for _, each in known if part in each.id]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{part}: {len(found)} configurations of run {report.run.id} are like that ({_some(found)})")
    has = _some(report.measurements)
    raise UsageError(f"{part}: no run, and no configuration of run {report.run.id}, which has {has}")


def _some(measurements: Sequence[Measurement]) -> str:
    names = names_of(measurements)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" or "none"
