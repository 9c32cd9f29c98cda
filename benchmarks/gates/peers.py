"""How other tools tell a slower candidate from the last run: each is told the rounds of two launches, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import mannwhitneyu, ttest_ind

Rounds = Sequence[float]
Rule = Callable[[Rounds, Rounds], bool]
FIXED = 1.05
ASV_FACTOR, ASV_P = 1.1, 0.002
"""asv compare's defaults: ratio of medians, and the p of its Mann-Whitney test (asv 0.6, `asv_bench`'s statistics)."""


def means(last: Rounds, now: Rounds) -> bool:
    return bool(np.mean(now) > FIXED * np.mean(last))


def medians(last: Rounds, now: Rounds) -> bool:
    return bool(np.median(now) > FIXED * np.median(last))


def mann_whitney(last: Rounds, now: Rounds, p: float = 0.05) -> bool:
    """Dearer, and different at `p`, two-sided: benchstat's default."""
    found = mannwhitneyu(now, last, alternative="two-sided", method="asymptotic").pvalue
    return bool(found < p and np.median(now) > np.median(last))


def student(last: Rounds, now: Rounds) -> bool:
    """Dearer, and different at 95 %, two-sided with pooled variance: `pyperf compare_to`."""
    return bool(ttest_ind(now, last).pvalue < 0.05 and np.mean(now) > np.mean(last))


def asv(last: Rounds, now: Rounds) -> bool:
    return bool(np.median(now) > ASV_FACTOR * np.median(last)) and mann_whitney(last, now, ASV_P)


RULES: dict[str, Rule] = {
    "mean over 5 % above the last run": means,
    "median over 5 % above the last run": medians,
    "Mann-Whitney p < 0.05, as benchstat": mann_whitney,
    "the same, and median over 5 %": lambda last, now: medians(last, now) and mann_whitney(last, now),
    "t test p < 0.05, as pyperf": student,
    "the same, and mean over 5 %": lambda last, now: means(last, now) and student(last, now),
    "median over 10 %, p < 0.002, as asv": asv,
}
