"""A candidate against accepted runs of the past: the run is what varies, so runs are what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p
from statistics import fmean

from pytest_lem.stats.rule import Difference, Rule
from pytest_lem.stats.runs import FEWEST_RUNS, Run, RunCost, accepted, foreseen, launches_of, run_cost, spread
from pytest_lem.stats.verdict import MOST_LAUNCHES, Direction, Reason, Status, Verdict, inconclusive

THRESHOLD = 0.05
FLOOR = 0.01
ALPHA = 0.02  # one-sided, of REGRESSED
ALPHA_OK = 0.05  # one-sided, of OK and IMPROVED
DOUBT = 2.25
"""Times the variance that rounds leave, for OK and IMPROVED: so few rounds cannot show how alike they are. Simulated:
without it OK is said to a true +10 % in 1.7 instead of 0.9 % where rounds of CV 8 % are correlated by 0.8."""
FEWEST = 8  # rounds of a launch: with fewer neither its spread nor its correlation is known
SUSPECT = 0.10  # p below it asks for another launch
ANOTHER = {1: "one launch; it may fail with a second", 2: "two launches; it may fail with a third"}
REST = 0.6
"""Share of the threshold that a regression is above, with a confidence of 1 − SUSPECT, without its dearest launch.

Simulated: where a candidate's first launch is cold, 12 % dearer, and no accepted run's was, 2 % of unchanged ones fail
instead of 29 %."""
DOUBTFUL = 0.35  # p below it asks for a duel, where one is to be had
BOARD_SD = 0.025
"""Prior SD between boards of one model: what to give as `board_sd` where each run may get another board."""


def history_gate(
    history: Sequence[Run],
    candidate: Run,
    *,
    threshold: float = THRESHOLD,
    floor: float = FLOOR,
    alpha: float = ALPHA,
    direction: Direction = "lower",
    fewest: int = FEWEST,
    board_sd: float | None = None,
) -> Verdict:
    """Judge a candidate by the accepted runs before it, oldest first; the last ten count.

    A run is a list of launches, each the list of its rounds' values in the metric's own unit; a run of one launch may
    be given as that list alone. `direction` says which way is better. `threshold` and `floor` are relative changes of
    cost; `alpha` is the chance of a false alarm that may be taken. `board_sd` (log scale) where each run may have had
    another board of one model; without it the runs are taken to be of one board.

    No launch counts that has fewer than `fewest` rounds, or a value that is not positive and finite. A candidate of
    one launch never fails, nor does one whose dearest launch alone makes it a regression: in doubt it asks for another
    by `relaunch`, three in all, and is judged again with all of them.

    The same values give the same verdict. Raises ValueError for a threshold or direction that cannot be.
    """
    rule = Rule(threshold, floor, direction)
    judged = run_cost(candidate, rule, fewest)
    runs, dropped = accepted(history, rule, fewest)
    if judged is None:
        return inconclusive("insufficient", _lack(candidate, fewest), threshold=threshold, runs=len(runs), duel=True)
    if not runs:
        return inconclusive("insufficient", _runs_needed(0), threshold=threshold, rounds=judged.rounds, duel=True)
    between = spread(runs, [judged], board_sd)
    mean = fmean(run.cost for run in runs)

    def apart(part: RunCost, doubt: float = 1.0) -> Difference:
        return Difference(part.cost - mean, between.error(len(runs), part, doubt), between.df)

    found = apart(judged)
    case = _Case(
        found.p, judged.launches, len(runs), judged.rest is not None and _stands(apart(judged.rest), rule.threshold)
    )
    low, high = found.low(alpha), apart(judged, DOUBT).high(ALPHA_OK)
    status, reason, detail, relaunch = _status(rule.status(low, found.d, high), case)
    bounds = sorted((rule.change(low), rule.change(high)))
    return Verdict(
        status=status,
        reason=reason,
        detail=detail,
        estimate=rule.change(found.d),
        low=bounds[0],
        high=bounds[1],
        detectable=rule.detectable(between.error(len(runs), foreseen(judged, between.own)), between.df, alpha),
        p=found.p,
        relaunch=relaunch,
        duel=found.p < DOUBTFUL,
        runs=len(runs),
        rounds=judged.rounds,
        dropped=dropped,
        threshold=rule.threshold,
    )


@dataclass(frozen=True)
class _Case:
    """What a status rests on; `stands` without the dearest launch."""

    p: float
    launches: int
    runs: int
    stands: bool


def _stands(rest: Difference, threshold: float) -> bool:
    """Whether a regression is more than its dearest launch, by what the other launches say alone."""
    return rest.low(SUSPECT) > REST * log1p(threshold)


def _status(status: Status, case: _Case) -> tuple[Status, Reason | None, str, bool]:
    """The status that this many launches and runs allow, why, in words, and whether another launch is wanted."""
    if status in (Status.OK, Status.IMPROVED):
        return status, None, "", False
    if case.runs < FEWEST_RUNS:
        return Status.INCONCLUSIVE, "insufficient", _runs_needed(case.runs), False
    if status is Status.REGRESSED and case.stands:
        return status, None, "", False
    if case.p >= SUSPECT:
        return Status.INCONCLUSIVE, "noisy", "", False
    if case.launches < MOST_LAUNCHES:
        return Status.INCONCLUSIVE, "suspect", ANOTHER[case.launches], True
    hangs = f"without the dearest of its {case.launches} launches it is not clear enough"
    return Status.INCONCLUSIVE, "suspect", hangs if status is Status.REGRESSED else "", False


def _runs_needed(runs: int) -> str:
    return f"{runs} of {FEWEST_RUNS} runs needed before this gate can fail"


def _lack(candidate: Run, fewest: int) -> str:
    longest = max((len(launch) for launch in launches_of(candidate)), default=0)
    if longest < fewest:
        return f"{longest} of {fewest} rounds needed"
    return "a value that is not a positive, finite number"
