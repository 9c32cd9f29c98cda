"""Prefill and decode apart by windows: what a pass costs as its answers grow. Pure.

A pass with answers of n tokens costs J(n) = A + b · D(n): A is prefill with the first token of each request, which
prefill makes, D(n) the new tokens after those, b joules for each. Rounds with answers of one token measure A alone;
longer ones give the slope. Decode grows dearer with its context, so b is the mean over the lengths that were measured,
and how far A + b · D is from what the asked length was measured to cost shows how straight the line is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_lem.model.phases import PhasePart
from pytest_lem.stats.intervals import student

TICKS = 3
TICK_SECONDS = 0.1
"""The energy counter's period on the boards that were characterised, where no meter tells it.

A phase under three of them is not resolved.
"""

CACHED = "prompt tokens came out of the prefix cache, so that not all of them were prefilled"
"""Which ones, and how many of each window, no engine tells."""


@dataclass(frozen=True)
class Sample:
    """A round: answers of `output` tokens, its joules and seconds for one of its `passes`.

    `cached_tokens` are prompt tokens that came out of the prefix cache.
    """

    output: int
    joules: float
    seconds: float
    passes: int
    cached_tokens: float = 0.0


@dataclass(frozen=True)
class Split:
    """The two phases, what the asked length was measured to cost, and how far their sum is from it (relative)."""

    prefill: PhasePart
    decode: PhasePart
    whole_joules: float
    sum_error: float | None


def split(samples: Sequence[Sample], *, requests: int, prompt_tokens: int, tick_s: float = TICK_SECONDS) -> Split:
    """Prefill and decode of a pass of `requests` with `prompt_tokens` in all, by a counter with such ticks.

    Weighted least squares (weights 1/J², as rounds vary in proportion to what they cost), t-intervals with n − 2
    degrees of freedom. Neither is known where prompt tokens came out of the prefix cache. Raises ValueError for rounds
    of fewer than two lengths, or fewer than four rounds.
    """
    longest = max((sample.output for sample in samples), default=0)
    if len({sample.output for sample in samples}) < 2 or len(samples) < 4:
        raise ValueError("answers of two lengths and four rounds are the least that tell the phases apart")
    last = requests * (longest - 1)
    whole = float(np.mean([sample.joules for sample in samples if sample.output == longest]))
    if any(sample.cached_tokens for sample in samples):
        reason = unresolvable(CACHED)
        prefill, decode = (PhasePart(tokens=count, reason=reason) for count in (prompt_tokens, last))
        return Split(prefill, decode, whole, sum_error=None)
    tokens = np.array([requests * (sample.output - 1) for sample in samples], dtype=float)
    joules = np.array([sample.joules for sample in samples])
    seconds = np.array([sample.seconds for sample in samples])
    cost, errors = _line(tokens, joules)
    time, _ = _line(tokens, seconds)
    wide = student(len(samples) - 2)
    passes = float(np.mean([sample.passes for sample in samples if sample.output == longest]))
    alone = float(np.mean([sample.passes for sample in samples if sample.output == min(s.output for s in samples)]))
    in_prefill, in_decode = time[0] * alone, time[1] * last * passes
    short = tuple(too_short("a round spends", seconds, tick_s) for seconds in (in_prefill, in_decode))
    return Split(
        prefill=_part(prompt_tokens, time[0], cost[0], errors[0] * wide, 1 / prompt_tokens, short[0]),
        decode=_part(last, time[1] * last, cost[1] * last, errors[1] * last * wide, 1 / last, short[1]),
        whole_joules=whole,
        sum_error=float((cost[0] + cost[1] * last) / whole - 1),
    )


def too_short(who: str, seconds: float, tick_s: float) -> str | None:
    """Why a phase in which `who` so many seconds is too short for a counter with such ticks; None where it is not."""
    if seconds >= TICKS * tick_s:
        return None
    return unresolvable(f"{who} {seconds:.2g} s in it, less than {TICKS} ticks of {tick_s:.2g} s")


def unresolvable(why: str) -> str:
    """The reason of a phase that cannot be told from the rest."""
    return f"unresolvable: {why}"


def _line(tokens: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intercept and slope, and their standard errors."""
    design = np.column_stack([np.ones_like(tokens), tokens])
    weights = 1 / values**2
    normal = design.T @ (design * weights[:, None])
    inverse = np.linalg.inv(normal)
    found = inverse @ (design.T @ (weights * values))
    spread = float(np.sum(weights * (values - design @ found) ** 2)) / (len(values) - 2)
    errors = np.sqrt(np.diag(inverse) * spread)
    return (float(found[0]), float(found[1])), (float(errors[0]), float(errors[1]))


def _part(tokens: int, seconds: float, joules: float, half: float, per: float, reason: str | None) -> PhasePart:
    """A phase; `per` turns joules of a pass into joules per token, `reason` is why it is not resolved."""
    if reason:
        return PhasePart(tokens=tokens, seconds=seconds, reason=reason)
    return PhasePart(
        tokens=tokens,
        seconds=seconds,
        joules=joules,
        joules_per_token=joules * per,
        low=(joules - half) * per,
        high=(joules + half) * per,
    )
