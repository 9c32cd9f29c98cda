"""What was judged: a budget against one measured value, or a run against what was accepted before it."""

from __future__ import annotations

from typing import Literal

from pytest_lem.model.specs import Frozen

Outcome = Literal["REGRESSED", "IMPROVED", "OK", "INCONCLUSIVE"]


class Comparison(Frozen):
    """How a gate came to its verdict.

    `estimate`, `low` and `high` are relative changes of the metric against `baseline` (a baseline's name, or the other
    side of a duel); `detectable` is the relative change of cost that this comparison had an 80 % chance to call
    REGRESSED; `p` the chance of a candidate this much worse when nothing changed. `runs` were compared with, `launches`
    and `rounds` measured of the candidate. `dropped` counts accepted runs left out as outliers, `differences`
    what makes both incomparable, `changes` what differs and is judged. `creep` is the change since the first runs of
    the baseline's epoch, where it is over the threshold. A duel has `pairs` of rounds, and names its `candidate`.
    """

    baseline: str
    outcome: Outcome
    reason: str | None = None
    detail: str = ""
    threshold: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    p: float | None = None
    runs: int = 0
    launches: int = 0
    rounds: int = 0
    relaunched: bool = False
    candidate: str = ""
    pairs: int = 0
    dropped: int = 0
    differences: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    creep: float | None = None


class Verdict(Frozen):
    """The judgement of one limit on one metric of one measurement.

    `limit`, `value`, `low` and `high` are in the metric's unit; `low` and `high` bound the value's 95 % interval; a
    gate has no `limit` but a `comparison`. `status` is `unavailable` where there is nothing to judge, `inconclusive`
    where there is and it does not tell. `line` is the one line a user reads.
    """

    test: str
    name: str = ""
    metric: str
    kind: Literal["budget", "gate"] = "budget"
    limit: float | None = None
    better: Literal["lower", "higher"]
    value: float | None
    low: float | None = None
    high: float | None = None
    status: Literal["passed", "failed", "inconclusive", "unavailable"]
    line: str
    comparison: Comparison | None = None
