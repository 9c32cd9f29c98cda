"""Prefill and decode apart by regression, where requests come over time and both phases run at once. Pure.

Between ticks of the energy counter J = base · Δt + a · prompt tokens + b · decode tokens: a and b are what one more
token adds, base is what is drawn at any rate of them, the reading of the weights by every step included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from pytest_lem.model.phases import BasePart, PhasePart
from pytest_lem.phases import too_short, unresolvable
from pytest_lem.stats.regression import Array, Block, Regression, regression
from pytest_lem.steady_windows import Windows

BLOCKS = 8
"""A block is a round, or an equal part of one where there are fewer rounds. Where rounds drift by 1 % and power strays
with half a second's memory, such 95 % intervals hold the truth in 93 to 98 % of simulated sessions of 1 to 12 rounds;
Newey and West's, which take every round for one more of the same, in 91 to 96 % of those of 8. Pieces of a round know
less of what drifts between rounds: where that is 3 %, intervals of the base hold it in 89 % of sessions of one round,
in 93 % of two, in 94 % of three, in 95 % of eight."""
FEWEST = 5
"""Windows in a block."""
MOST_INFLATION = 30.0**2
"""Of a variance. An error of 1 % in what belongs into a window, which uneven ticks make, is 30 % of a value there; a
condition of 30 is what Belsley, Kuh and Welsch (Regression Diagnostics, 1980) call harmful."""
TIME, PREFILL, DECODE = range(3)


@dataclass(frozen=True)
class MixedSplit:
    """The parts, the joules of all `windows`, and how far a fit to half of these is from the other half (relative).

    Windows are those of so many `rounds`; `notes` say which were left out.
    """

    prefill: PhasePart
    decode: PhasePart
    base: BasePart
    rounds: int = 0
    windows: int = 0
    whole_joules: float | None = None
    sum_error: float | None = None
    notes: tuple[str, ...] = ()


def split(rounds: Sequence[Windows]) -> MixedSplit:
    """Prefill, decode and base of traffic; each null with its reason where it cannot be told from the others."""
    used = _long_enough(rounds)
    if not used:
        return _too_few(rounds)
    blocks, totals = _blocks(used), _totals(used)
    found = regression(blocks)
    misfit = _misfit(found)
    tick_s = max(each.tick_s for each in used)
    parts = MixedSplit(
        prefill=_part(found, PREFILL, totals, sum(each.prefill_seconds for each in used), tick_s),
        decode=_part(found, DECODE, totals, sum(each.decode_seconds for each in used), tick_s),
        base=_base(found, totals),
    )
    return replace(
        _nothing(misfit, totals) if misfit else parts,
        rounds=len(used),
        windows=sum(len(block.values) for block in blocks),
        whole_joules=float(sum(block.values.sum() for block in blocks)),
        sum_error=_halves_error(blocks),
        notes=left_out([f"fewer than {_least(len(used))} windows"] * (len(rounds) - len(used))),
    )


def left_out(reasons: Sequence[str]) -> tuple[str, ...]:
    """How many rounds were left out for each of the reasons, one a round."""
    counts = Counter(reasons)
    return tuple(f"{_rounds_of(count)} left out: {reason}" for reason, count in counts.items())


def _rounds_of(count: int) -> str:
    """`1 round`, `2 rounds`."""
    return "1 round" if count == 1 else f"{count} rounds"


def nothing(why: str, *, prompt_tokens: float, decode_tokens: float, seconds: float) -> MixedSplit:
    """No part of this work is known, all for one reason."""
    reason = unresolvable(why)
    return MixedSplit(
        prefill=PhasePart(tokens=round(prompt_tokens), reason=reason),
        decode=PhasePart(tokens=round(decode_tokens), reason=reason),
        base=BasePart(seconds=seconds, reason=reason),
    )


def _least(rounds: int) -> int:
    """Windows in each of so many rounds that make blocks of `FEWEST`, `BLOCKS` of them at least."""
    return FEWEST * ceil(BLOCKS / rounds)


def _long_enough(rounds: Sequence[Windows]) -> list[Windows]:
    """As many of the rounds as have windows enough for so many; [] where that is none of them."""
    for count in range(len(rounds), 0, -1):
        long = [each for each in rounds if len(each.joules) >= _least(count)]
        if len(long) >= count:
            return long
    return []


def _too_few(rounds: Sequence[Windows]) -> MixedSplit:
    windows, least = sum(len(each.joules) for each in rounds), _least(max(1, len(rounds)))
    return _nothing(
        f"{windows} windows in {_rounds_of(len(rounds))} are too few, {least} in each are the least for so many; "
        "give the traffic more seconds or rounds",
        _totals(rounds),
    )


def _totals(rounds: Sequence[Windows]) -> Array:
    """Seconds, prompt tokens and decode tokens of all windows."""
    return sum((_design(each).sum(axis=0) for each in rounds), np.zeros(3))


def _design(round_: Windows) -> Array:
    return np.column_stack([round_.seconds, round_.prompt_tokens, round_.decode_tokens])


def _nothing(why: str, totals: Array) -> MixedSplit:
    seconds, prompt_tokens, decode_tokens = totals.tolist()
    return nothing(why, prompt_tokens=prompt_tokens, decode_tokens=decode_tokens, seconds=seconds)


def _blocks(rounds: Sequence[Windows]) -> list[Block]:
    pieces = ceil(BLOCKS / len(rounds))
    return [
        Block(design[part], each.joules[part])
        for each in rounds
        for design in [_design(each)]
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


def _misfit(found: Regression) -> str | None:
    """Why nothing that was found is to be believed, as neither time nor tokens give joules back; or None."""
    for column, (name, unit) in enumerate((("base", "W"), ("prefill", "J/token"), ("decode", "J/token"))):
        low, high, inflation = _interval(found, column)
        if high < 0 and inflation <= MOST_INFLATION:
            span = f"{low:.3g}..{high:.3g} {unit}"
            return f"the 95 % interval of {name}, {span}, is below zero: the model does not fit this load"
    return None


def _interval(found: Regression, column: int) -> tuple[float, float, float]:
    """A coefficient's 95 % interval, and its variance inflation factor."""
    value, half = float(found.coefficients[column]), float(found.half_widths[column])
    return value - half, value + half, float(found.inflation[column])


def _unsure(found: Regression, column: int, unit: str) -> str | None:
    """Why a coefficient is no number to show, or None."""
    low, high, inflation = _interval(found, column)
    together = f"variance inflation factor {min(inflation, 1e6):.3g}"
    if inflation > MOST_INFLATION:
        return unresolvable(
            f"time, prompt tokens and decode tokens rise and fall together here (collinear, {together}); "
            "traffic that comes in bursts tells them apart"
        )
    if high - low > (low + high) / 2:
        return unresolvable(f"the 95 % interval, {low:.3g}..{high:.3g} {unit}, is wider than the value ({together})")
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
