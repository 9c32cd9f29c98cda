"""Which verdicts are of a row, and the worst of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pytest_lem.model.measurement import Measurement
from pytest_lem.model.verdict import Verdict

WORSE = ("failed", "inconclusive", "unavailable", "passed")
_CYCLE = re.compile(r"-c\d+\]$")
Judged = Mapping[tuple[str, str], Sequence[Verdict]]


def judgements(verdicts: Iterable[Verdict]) -> Judged:
    """Experiment and name → what was judged of it: a verdict is on one of its cycles."""
    found: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault((_CYCLE.sub("]", verdict.test), verdict.name), []).append(verdict)
    return found


def worst(measurement: Measurement, judged: Judged) -> Verdict | None:
    """The worst verdict on `measurement`, or None where nothing was judged."""
    found = judged.get((measurement.test, measurement.name), ())
    return next((each for status in WORSE for each in found if each.status == status), None)
