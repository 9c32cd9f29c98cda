"""Runs of one test: each comes to one log cost, with what its rounds leave open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import expm1, fsum, log, sqrt
from statistics import fmean, median, variance
from typing import cast

from pytest_lem.stats.launch import MAD_TO_SD, are_costs, summarise
from pytest_lem.stats.rule import Rule

Launch = Sequence[float]
"""The rounds of one launch, in the metric's own unit and in the order in which they were measured."""
Run = Launch | Sequence[Launch]
"""The launches of one run; where it had one, its rounds may be given as they are."""

LAST = 10  # runs that count: an old engine or driver says little of today's
FEWEST_RUNS = 3  # that a gate needs before it can fail: two give no idea of their spread
OUTLYING = 5.0  # robust SDs from the median of runs
OUTLYING_FROM = 4  # runs; of three, none can be told to be the odd one
SPREAD_FLOOR = 0.01
"""Robust SDs of runs are no less: by chance four runs may lie within 0.1 %, and none of the next ones would fit."""
LAUNCH_SD = 0.02
"""Prior SD between launches of unchanged code. Four fresh launches on an H100 spread by 2.5 %; 0.7 % without the
first."""
LAUNCH_DF = 4  # how many runs the prior is worth, less one
LAUNCH_LEAST = 0.005  # SD between runs that no history is trusted to rule out when launches are averaged


@dataclass(frozen=True)
class RunCost:
    """A run's log cost (the mean over its launches), the variance that rounds leave, how many launches and rounds.

    `rest` is the same run without its dearest launch, where it has several.
    """

    cost: float
    variance: float
    launches: int
    rounds: int
    rest: RunCost | None = None


@dataclass(frozen=True)
class Spread:
    """Between runs: `total` variance of a run's log cost, `own` the part of it that its rounds leave, `df` behind."""

    total: float
    own: float
    df: int

    def error(self, runs: int, candidate: RunCost, doubt: float = 1.0) -> float:
        """Standard error of the candidate less the mean of `runs` accepted ones.

        SE² = total / K + max(total − own, 0.5 %²) + v of the candidate. Its launches share a session, so that more of
        them lessen v alone. What rounds leave counts `doubt` times.
        """
        between = max(self.total - self.own, LAUNCH_LEAST**2)
        v = candidate.variance if candidate.launches > 1 else max(candidate.variance, self.own)
        return sqrt(self.total / runs + between + v + (doubt - 1) * (self.own / runs + v))


def foreseen(run: RunCost, own: float) -> RunCost:
    """The run with a second launch, which is what a gate can fail with; what had two stays as it is.

    The second is supposed to be as noisy as runs are, whose rounds leave a variance of `own`, the first no calmer.
    """
    if run.launches > 1:
        return run
    return RunCost(run.cost, (max(run.variance, own) + own) / 4, 2, 2 * run.rounds)


def launches_of(run: Run) -> list[Launch]:
    """A run as launches, whichever way it is given."""
    if len(run) and isinstance(run[0], (int, float)):
        return [cast(Launch, run)]
    return [launch for launch in cast(Sequence[Launch], run) if len(launch)]


def run_cost(run: Run, rule: Rule, fewest: int) -> RunCost | None:
    """What the launches with `fewest` rounds or more come to; None if there are none.

    A launch with a value that is no cost (NaN, zero, negative, infinite) counts as none.
    """
    fit = [launch for launch in launches_of(run) if len(launch) >= fewest and are_costs(launch)]
    if not fit:
        return None
    found = sorted((_launch_cost(launch, rule) for launch in fit), key=lambda each: each.cost)
    rest = _together(found[:-1]) if len(found) > 1 else None
    return replace(_together(found), rest=rest)


def change(history: Sequence[Run], candidate: Run) -> float | None:
    """The candidate's relative change from the mean of the runs, with nothing said of how sure it is.

    It is what `history_gate` estimates from as many runs, none of them left out. None where one side has no value.
    """
    mine = _level(candidate)
    levels = [level for run in history if (level := _level(run)) is not None]
    return None if mine is None or not levels else expm1(mine - fmean(levels))


def _level(run: Run) -> float | None:
    """The mean over launches of the log of each one's median; None where no launch is of costs."""
    found = [median(map(log, launch)) for launch in launches_of(run) if are_costs(launch)]
    return fmean(found) if found else None


def _launch_cost(launch: Launch, rule: Rule) -> RunCost:
    found = summarise(launch)
    return RunCost(rule.cost(log(found.median)), found.variance, 1, found.n)


def _together(launches: Sequence[RunCost]) -> RunCost:
    n = len(launches)
    left = fsum(each.variance for each in launches) / n**2
    return RunCost(fmean(each.cost for each in launches), left, n, sum(each.rounds for each in launches))


def accepted(history: Sequence[Run], rule: Rule, fewest: int) -> tuple[list[RunCost], tuple[int, ...]]:
    """The last ten usable runs, less outliers, and the outliers' positions in `history`."""
    costs = ((place, run_cost(run, rule, fewest)) for place, run in enumerate(history))
    usable = [(place, cost) for place, cost in costs if cost is not None][-LAST:]
    far = _outlying([cost for _, cost in usable])
    dropped = tuple(place for (place, _), out in zip(usable, far, strict=True) if out)
    return [cost for (_, cost), out in zip(usable, far, strict=True) if not out], dropped


def _outlying(runs: Sequence[RunCost]) -> list[bool]:
    if len(runs) < OUTLYING_FROM:
        return [False] * len(runs)
    centre = median([run.cost for run in runs])
    sd = MAD_TO_SD * median([abs(run.cost - centre) for run in runs])
    own = fmean(run.variance for run in runs)
    reach = OUTLYING * max(sd, sqrt(SPREAD_FLOOR**2 + own))
    return [abs(run.cost - centre) > reach for run in runs]


def spread(runs: Sequence[RunCost], others: Iterable[RunCost] = (), board_sd: float | None = None) -> Spread:
    """How unchanged runs differ: what `runs` (one or more) show, and a prior that they outweigh as they become more.

    total = max((ν0 (s0² + w²) + (K − 1) s²) / (ν0 + K − 1), w²), with w² the mean of what rounds leave, over `runs` and
    `others`. `board_sd` is added to the prior where each run may have had another board.
    """
    own = fmean(run.variance for run in [*runs, *others])
    prior = LAUNCH_SD**2 + (board_sd or 0.0) ** 2
    more = len(runs) - 1
    seen = variance([run.cost for run in runs]) if more else 0.0
    df = LAUNCH_DF + more
    return Spread(max((LAUNCH_DF * (prior + own) + more * seen) / df, own), own, df)
