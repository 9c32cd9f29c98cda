"""Two engines side by side, judged by pairs of rounds: what a day or a session adds is the same for both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, log, sqrt
from statistics import fmean, median
from typing import Literal

from pytest_lem.stats.history import FLOOR, SUSPECT, THRESHOLD
from pytest_lem.stats.launch import MAD_FLOOR, MAD_TO_SD, are_costs, clip, correlation, n_effective
from pytest_lem.stats.rule import Difference, Rule
from pytest_lem.stats.verdict import Direction, Reason, Status, Verdict, inconclusive

LOOKS = (12, 20, 30, 40)
"""Pairs after which a duel may end."""
ALPHAS = (0.0025, 0.0075, 0.015, 0.025)
"""One-sided chance of a false alarm that each look takes, 5 % in all. Simulated, rounds of CV 8 %: 95.7 % of +10 % are
seen; 95.0 % were it 0.005, 0.010, 0.015, 0.020, with more false alarms where a launch may be in one of two states."""
ALPHAS_OK = (0.010, 0.010, 0.015, 0.015)
"""The same of OK and IMPROVED."""
FEWEST_PAIRS = 8
LAUNCH_SD, LAUNCH_DF = 0.01, 8
"""SD between launches of one engine within a session, until A/A runs say otherwise, and how well it is known."""
MARGIN = 1.1  # on the variance of clipped pairs, whose outliers hide some of their correlation; simulated
UNSURE = 0.001
"""Variance of the mean of pairs (SE 3.2 %) from which it is taken to be larger, up to double: so few pairs that noisy
cannot show how they are correlated. Simulated: without it 5 % false alarms instead of 2.5 % where rounds of CV 15 % are
correlated by 0.8 and each engine's noise is its own; 96 % of +10 % are seen at a CV of 8 % with it and without it."""
HUBER = 1.345  # robust SDs: 95 % as efficient as the mean where rounds are normal (Huber 1981)


@dataclass
class Duel:
    """Pairs of rounds of side A (the baseline) and side B (the candidate), looked at four times at most.

    `threshold`, `floor` and `direction` as for `history_gate`. Raises ValueError for what cannot be.
    """

    threshold: float = THRESHOLD
    direction: Direction = "lower"
    floor: float = FLOOR
    _logs: list[float] = field(default_factory=list, init=False, repr=False)
    _launches: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _look: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._rule = Rule(self.threshold, self.floor, self.direction)

    @property
    def pairs(self) -> int:
        """How many there are so far."""
        return len(self._logs)

    def add(self, pairs_a: Sequence[float], pairs_b: Sequence[float], launches: int) -> Verdict | Literal["more"]:
        """Take pairs that were measured since the last call, in the order of time, and judge if a look is due.

        `pairs_a[i]` and `pairs_b[i]` (the metric's own unit) were measured side by side. `launches` counts how often
        each side has been launched so far, from 1; the pairs are taken to be of the last of these launches.

        Returns a verdict when a look decides or was the last one, else "more". Raises ValueError for values that are
        not positive and finite, sides of unequal length, or launches that go back.
        """
        self._take(pairs_a, pairs_b, launches)
        due = sum(self.pairs >= look for look in LOOKS)
        if due == self._look:
            return "more"
        self._look = due
        found = self._judge(due - 1)
        return "more" if found.status is Status.INCONCLUSIVE and due < len(LOOKS) else found

    def conclude(self) -> Verdict:
        """Judge what there is, where no more pairs can be had: as the look that would have come next."""
        if self.pairs < FEWEST_PAIRS:
            lack = f"{self.pairs} of {FEWEST_PAIRS} pairs needed"
            return inconclusive("insufficient", lack, threshold=self.threshold, rounds=self.pairs)
        return self._judge(min(self._look, len(LOOKS) - 1))

    def _take(self, pairs_a: Sequence[float], pairs_b: Sequence[float], launches: int) -> None:
        if len(pairs_a) != len(pairs_b):
            raise ValueError(f"{len(pairs_a)} rounds of one side and {len(pairs_b)} of the other are no pairs")
        if not pairs_a:
            return
        if launches < max(self._launches, default=1):
            raise ValueError(f"{launches} launches: there were more before")
        if not (are_costs(pairs_a) and are_costs(pairs_b)):
            raise ValueError("a pair is of positive, finite values")
        self._logs += [self._rule.cost(log(b / a)) for a, b in zip(pairs_a, pairs_b, strict=True)]
        self._launches[launches] = self._launches.get(launches, 0) + len(pairs_a)

    def _judge(self, look: int) -> Verdict:
        found = self._difference()
        alpha = ALPHAS[look]
        low, high, p = found.low(alpha), found.high(ALPHAS_OK[look]), found.p
        status = self._rule.status(low, found.d, high)
        reason: Reason | None = None
        if status is Status.INCONCLUSIVE:
            reason = "suspect" if p < SUSPECT else "noisy"
        bounds = sorted((self._rule.change(low), self._rule.change(high)))
        return Verdict(
            status=status,
            reason=reason,
            detail="",
            estimate=self._rule.change(found.d),
            low=bounds[0],
            high=bounds[1],
            detectable=self._rule.detectable(found.error, found.df, ALPHAS[-1]),
            p=p,
            relaunch=False,
            duel=False,
            runs=1,
            rounds=self.pairs,
            dropped=(),
            threshold=self.threshold,
        )

    def _difference(self) -> Difference:
        """Huber mean with the variance of clipped pairs and of launches; df by Welch and Satterthwaite.

        Correlated values lie nearer to their own mean than to the true one: their squares are n − n/n_eff times the
        variance, on average.
        """
        logs = self._logs
        n = len(logs)
        clipped, _ = clip(logs, median(logs))
        mean = fmean(clipped)
        effective = n_effective(n, correlation(clipped))
        squares = fsum((value - mean) ** 2 for value in clipped)
        pairs = _doubted(MARGIN * squares / (n - n / effective) / effective)
        launches = 2 * LAUNCH_SD**2 / self._effective_launches()
        df = (pairs + launches) ** 2 / (pairs**2 / max(effective - 1, 1) + launches**2 / LAUNCH_DF)
        return Difference(huber_mean(logs), sqrt(pairs + launches), df)

    def _effective_launches(self) -> float:
        """Launches of equal share that are worth as much as those there were."""
        counts = self._launches.values()
        return sum(counts) ** 2 / sum(count**2 for count in counts)


def _doubted(variance: float) -> float:
    return variance * min(max(variance / UNSURE, 1.0), 2.0)


def huber_mean(values: Sequence[float]) -> float:
    """A mean to which values farther than 1.345 robust SDs add no more than one at that distance would."""
    centre = median(values)
    reach = HUBER * MAD_TO_SD * max(median([abs(value - centre) for value in values]), MAD_FLOOR)
    for _ in range(50):  # it converges in a few; the bound is for values that a test might make up
        step = fmean(min(max(value - centre, -reach), reach) for value in values)
        centre += step
        if abs(step) < 1e-12:
            break
    return centre
