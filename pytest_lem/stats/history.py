"""A candidate against accepted runs of the past: the run is what varies, so runs are what is counted."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_lem.stats.rule import Difference, Rule
from pytest_lem.stats.runs import FEWEST_RUNS, Run, RunCost, accepted, foreseen, launches_of, run_cost, spread
from pytest_lem.stats.verdict import Direction, Reason, Status, Verdict, inconclusive

THRESHOLD = 0.05
FLOOR = 0.01
ALPHA = 0.02  # one-sided, of REGRESSED
ALPHA_OK = 0.05  # one-sided, of OK and IMPROVED
FEWEST = 8  # rounds of a launch: with fewer neither its spread nor its correlation is known
SUSPECT = 0.10  # p below it asks for another launch
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
    one launch never fails: it asks for a second by `relaunch`, and is judged again with both.

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
    mean = sum(run.cost for run in runs) / len(runs)
    found = Difference(judged.cost - mean, between.error(len(runs), judged), between.df)
    seen = rule.detectable(between.error(len(runs), foreseen(judged, between.own)), between.df, alpha)
    return _verdict(found, seen, rule, alpha, judged, len(runs), dropped)


def _verdict(
    found: Difference,
    seen: float,
    rule: Rule,
    alpha: float,
    judged: RunCost,
    runs: int,
    dropped: tuple[int, ...],
) -> Verdict:
    low, high, p = found.low(alpha), found.high(ALPHA_OK), found.p
    status, reason, detail, relaunch = _status(rule.status(low, found.d, high), p, judged.launches, runs)
    bounds = sorted((rule.change(low), rule.change(high)))
    return Verdict(
        status=status,
        reason=reason,
        detail=detail,
        estimate=rule.change(found.d),
        low=bounds[0],
        high=bounds[1],
        detectable=seen,
        p=p,
        relaunch=relaunch,
        duel=p < DOUBTFUL,
        runs=runs,
        rounds=judged.rounds,
        dropped=dropped,
        threshold=rule.threshold,
    )


def _status(status: Status, p: float, launches: int, runs: int) -> tuple[Status, Reason | None, str, bool]:
    """The status that this many launches and runs allow, why, in words, and whether another launch is wanted."""
    if status in (Status.OK, Status.IMPROVED):
        return status, None, "", False
    if runs < FEWEST_RUNS:
        return Status.INCONCLUSIVE, "insufficient", _runs_needed(runs), False
    if launches == 1 and p < SUSPECT:
        return Status.INCONCLUSIVE, "suspect", "one launch; it may fail with a second", True
    if status is Status.REGRESSED:
        return status, None, "", False
    return Status.INCONCLUSIVE, "suspect" if p < SUSPECT else "noisy", "", False


def _runs_needed(runs: int) -> str:
    return f"{runs} of {FEWEST_RUNS} runs needed before this gate can fail"


def _lack(candidate: Run, fewest: int) -> str:
    longest = max((len(launch) for launch in launches_of(candidate)), default=0)
    if longest < fewest:
        return f"{longest} of {fewest} rounds needed"
    return "a value that is not a positive, finite number"
