"""What was judged: one budget against one measured value."""

from __future__ import annotations

from typing import Literal

from pytest_lem.model.specs import Frozen


class Verdict(Frozen):
    """The judgement of one limit on one metric of one measurement.

    `limit`, `value`, `low` and `high` are in the metric's unit; `low` and `high` bound the value's 95 % interval.
    `status` is `unavailable` where there is no value to judge. `line` is the one line a user reads.
    """

    test: str
    name: str = ""
    metric: str
    kind: Literal["budget"] = "budget"
    limit: float
    better: Literal["lower", "higher"]
    value: float | None
    low: float | None = None
    high: float | None = None
    status: Literal["passed", "failed", "unavailable"]
    line: str
