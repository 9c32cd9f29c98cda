"""Prefill and decode apart by regression, where requests come over time and both phases run at once. Pure.

Between ticks of the energy counter J = base · Δt + a · prompt tokens + b · decode tokens: a and b are what one more
token adds, base is what is drawn at any rate of them, the reading of the weights by every step included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from pytest_lem.model.phases import BasePart, PhasePart
from pytest_lem.phases import TICKS, too_short, unresolvable
from pytest_lem.stats.regression import Array, Block, Regression, regression
from pytest_lem.steady_windows import Windows

BLOCKS = 8
"""A block is a round, or an equal part of one where there are fewer rounds. Where power drifts between rounds and
strays with half a second's memory, such 95 % intervals hold the truth in 94 to 98 % of simulated sessions of 1 to 12
rounds; Newey and West's, which take every round for one more of the same, in 91 to 96 % of those of 8."""
FEWEST = 5
"""Windows in a block."""
MOST_INFLATION = 30.0**2
"""Of a variance. An error of 1 % in what belongs into a window, which uneven ticks make, is 30 % of a value there; a
condition of 30 is what Belsley, Kuh and Welsch (Regression Diagnostics, 1980) call harmful."""
TIME, PREFILL, DECODE = range(3)


@dataclass(frozen=True)
class MixedSplit:
    """The parts, the joules of all `windows`, and how far a fit to half of the rounds is from the other (relative)."""

    prefill: PhasePart
    decode: PhasePart
    base: BasePart
    windows: int = 0
    whole_joules: float | None = None
    sum_error: float | None = None


def split(rounds: Sequence[Windows]) -> MixedSplit:
    """Prefill, decode and base of traffic; each null with its reason where it cannot be told from the others."""
    blocks = _blocks(rounds)
    windows = sum(len(block.values) for block in blocks)
    totals = sum((block.design.sum(axis=0) for block in blocks), np.zeros(3))
    if not blocks or min(len(block.values) for block in blocks) < FEWEST:
        return nothing(
            f"{windows} windows of {TICKS} ticks are too few, {BLOCKS * FEWEST} are the least; give the traffic more "
            "seconds or rounds",
            prompt_tokens=float(totals[PREFILL]),
            decode_tokens=float(totals[DECODE]),
            seconds=float(totals[TIME]),
        )
    found = regression(blocks)
    tick_s = max(each.tick_s for each in rounds)
    return MixedSplit(
        prefill=_part(found, PREFILL, totals, sum(each.prefill_seconds for each in rounds), tick_s),
        decode=_part(found, DECODE, totals, sum(each.decode_seconds for each in rounds), tick_s),
        base=_base(found, totals),
        windows=windows,
        whole_joules=float(sum(block.values.sum() for block in blocks)),
        sum_error=_halves_error(blocks),
    )


def nothing(why: str, *, prompt_tokens: float, decode_tokens: float, seconds: float) -> MixedSplit:
    """No part of this work is known, all for one reason."""
    reason = unresolvable(why)
    return MixedSplit(
        prefill=PhasePart(tokens=round(prompt_tokens), reason=reason),
        decode=PhasePart(tokens=round(decode_tokens), reason=reason),
        base=BasePart(seconds=seconds, reason=reason),
    )


def _blocks(rounds: Sequence[Windows]) -> list[Block]:
    pieces = ceil(BLOCKS / len(rounds)) if rounds else 0
    return [
        Block(design[part], each.joules[part])
        for each in rounds
        for design in [np.column_stack([each.seconds, each.prompt_tokens, each.decode_tokens])]
        for part in np.array_split(np.arange(len(each.joules)), pieces)
    ]


def _part(found: Regression, column: int, totals: Array, seconds: float, tick_s: float) -> PhasePart:
    tokens, value, half = round(totals[column]), float(found.coefficients[column]), float(found.half_widths[column])
    reason = None if tokens else unresolvable("the steady windows hold none of it")
    reason = reason or too_short("the rounds spend", seconds, tick_s) or _unsure(found, column, "J/token")
    if reason:
        return PhasePart(tokens=tokens, seconds=seconds, reason=reason)
    return PhasePart(
        tokens=tokens,
        seconds=seconds,
        joules=value * float(totals[column]),
        joules_per_token=value,
        low=value - half,
        high=value + half,
    )


def _base(found: Regression, totals: Array) -> BasePart:
    seconds, watts, half = float(totals[TIME]), float(found.coefficients[TIME]), float(found.half_widths[TIME])
    reason = _unsure(found, TIME, "W")
    if reason:
        return BasePart(seconds=seconds, reason=reason)
    return BasePart(seconds=seconds, joules=watts * seconds, watts=watts, low=watts - half, high=watts + half)


def _unsure(found: Regression, column: int, unit: str) -> str | None:
    """Why a coefficient is no number to show, or None."""
    value, half, inflation = (float(each[column]) for each in (found.coefficients, found.half_widths, found.inflation))
    together = f"variance inflation factor {min(inflation, 1e6):.3g}"
    if inflation > MOST_INFLATION:
        return unresolvable(
            f"time, prompt tokens and decode tokens rise and fall together here (collinear, {together}); "
            "traffic that comes in bursts tells them apart"
        )
    if 2 * half > value:
        span = f"{value - half:.3g}..{value + half:.3g} {unit}"
        return unresolvable(f"the 95 % interval, {span}, is wider than the value ({together})")
    return None


def _halves_error(blocks: Sequence[Block]) -> float:
    middle = len(blocks) // 2
    halves = blocks[:middle], blocks[middle:]
    errors = [_missed(fitted, other) for fitted, other in (halves, halves[::-1])]
    return max(errors, key=abs)


def _missed(fitted: Sequence[Block], other: Sequence[Block]) -> float:
    """How far what `fitted` foretells of `other` is from what that was measured to cost, relative."""
    coefficients = regression(fitted).coefficients
    foretold = sum(float((block.design @ coefficients).sum()) for block in other)
    return foretold / sum(float(block.values.sum()) for block in other) - 1
