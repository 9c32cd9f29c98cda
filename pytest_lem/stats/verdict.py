"""What a gate found: one frozen answer, the same for a history and for a duel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Direction = Literal["lower", "higher"]
"""Which way is better for a metric."""
MOST_LAUNCHES = 3
"""Launches of a candidate with which no verdict asks for another."""
Reason = Literal["suspect", "noisy", "insufficient", "incomparable", "not steady"]


class Status(StrEnum):
    """How a comparison ended."""

    REGRESSED = "REGRESSED"
    OK = "OK"
    IMPROVED = "IMPROVED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Verdict:
    """A comparison of a candidate with what was accepted before it, or with the other side of a duel.

    `estimate`, `low` and `high` are relative changes of the metric as it is measured: tokens a second 10 % fewer are
    −0.10. Between the bounds lies the true change, with 98 % against each worse one and 95 % against each better one
    (duels: what their look allows). They are None where nothing could be compared.

    `detectable` is the relative change of *cost* that such a comparison has an 80 % chance to call REGRESSED, positive.
    `p` is the chance of a candidate that looks this much worse when nothing changed, one-sided.

    `relaunch`: one more launch of the candidate is wanted before it may fail. `duel`: p < 0.35, or no p at all; a duel
    would settle it. `runs` were compared with, `rounds` measured of the candidate; `dropped` are the positions of
    accepted runs left out as outliers. `detail` is one plain clause for people, or empty.
    """

    status: Status
    reason: Reason | None
    detail: str
    estimate: float | None
    low: float | None
    high: float | None
    detectable: float | None
    p: float | None
    relaunch: bool
    duel: bool
    runs: int
    rounds: int
    dropped: tuple[int, ...]
    threshold: float


def inconclusive(
    reason: Reason, detail: str, *, threshold: float, runs: int = 0, rounds: int = 0, duel: bool = False
) -> Verdict:
    """A verdict about two things that were not compared at all, and why not."""
    return Verdict(
        status=Status.INCONCLUSIVE,
        reason=reason,
        detail=detail,
        estimate=None,
        low=None,
        high=None,
        detectable=None,
        p=None,
        relaunch=False,
        duel=duel,
        runs=runs,
        rounds=rounds,
        dropped=(),
        threshold=threshold,
    )
