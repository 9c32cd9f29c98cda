"""Token counts drawn from a distribution, the same on every machine and Python."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import accumulate
from math import exp, log, log1p, sqrt
from statistics import NormalDist

from pytest_lem.model.errors import UsageError
from pytest_lem.model.lengths import Lengths

TRIES = 10_000
Draw = Callable[[], float]


def build_lengths(asked: int | Lengths, count: int, seed: str, field: str) -> list[int]:
    """`count` token counts as `asked`: all the same, or drawn by a generator seeded with `seed` and rounded.

    A normal or lognormal draw outside of `low` and `high` is drawn again. Raises UsageError, which names `field`, where
    next to none lies inside.
    """
    if isinstance(asked, int):
        return [asked] * count
    # random() is the one generator method whose sequence Python promises to keep: draws survive upgrades.
    uniform = random.Random(seed).random
    draw = _SHAPES[asked.distribution](asked, uniform)
    return [_inside(draw, asked, field) for _ in range(count)]


def _inside(draw: Draw, asked: Lengths, field: str) -> int:
    for _ in range(TRIES):
        found = round(draw())
        if found >= asked.low and (asked.high is None or found <= asked.high):
            return found
    raise UsageError(
        f"{field}: next to nothing of {asked.word} lies between {asked.low} and {asked.high}; widen low and high"
    )


def _uniform(asked: Lengths, uniform: Draw) -> Draw:
    low, high = asked.low, asked.high or asked.low
    return lambda: low + int(uniform() * (high - low + 1))


def _normal(asked: Lengths, uniform: Draw) -> Draw:
    mean, std = asked.mean or 0.0, asked.std or 0.0
    return lambda: mean + std * _standard(uniform)


def _lognormal(asked: Lengths, uniform: Draw) -> Draw:
    """Of the logarithm by moments: σ² = ln(1 + std²/mean²), μ = ln(mean) − σ²/2."""
    mean, std = asked.mean or 1.0, asked.std or 0.0
    variance = log1p((std / mean) ** 2)
    middle, width = log(mean) - variance / 2, sqrt(variance)
    return lambda: exp(middle + width * _standard(uniform))


def _histogram(asked: Lengths, uniform: Draw) -> Draw:
    lengths = sorted(asked.histogram)
    ends = list(accumulate(asked.histogram[length] for length in lengths))

    def draw() -> float:
        point = uniform() * ends[-1]
        return next(length for length, end in zip(lengths, ends, strict=True) if point < end)

    return draw


def _standard(uniform: Draw) -> float:
    """A standard normal number, by the inverse of its distribution."""
    point = uniform()
    return NormalDist().inv_cdf(point) if point > 0 else -8.0


_SHAPES: dict[str, Callable[[Lengths, Draw], Draw]] = {
    "uniform": _uniform,
    "normal": _normal,
    "lognormal": _lognormal,
    "histogram": _histogram,
}
