"""When a launch has rounds enough: on precision only, never by looking at what they would be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from pytest_lem.stats.launch import VARIANCE_MARGIN, n_effective, summarise

STEP = 2  # looks at 8, 10, 12, … rounds
HOPELESS = 6.0
"""How many times less precise than asked `maximum` rounds must promise to be before they are given up.

A gate gets its power from them even where they stay imprecise. Simulated, rounds of CV 8 % and five runs: a gate sees
97 % of +20 % with 6, 95 % with 4, 82 % with 1 (`docs/evidence/gates.md`)."""


def stop_reason(values: Sequence[float], *, minimum: int, maximum: int, precision: float) -> str | None:
    """Why to stop after these rounds, or None to go on.

    `precision`: the standard error of the log of the median reached `precision`; `forecast`: even `maximum` rounds
    with the spread seen would stay so far from it that they are time lost; `max-rounds`.
    """
    n = len(values)
    if n >= maximum:
        return "max-rounds"
    if n < minimum or (n - minimum) % STEP:
        return None
    summary = summarise(values)
    if summary.standard_error <= precision:
        return "precision"
    forecast = sqrt(VARIANCE_MARGIN * summary.sd**2 / n_effective(maximum, summary.phi))
    return "forecast" if forecast > HOPELESS * precision else None
