"""Numbers by their ends: `{"min": 1, "max": 64, "pow2": True}` stands wherever a list of numbers may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil, exp, floor, log, log2
from typing import Any

from pytest_lem.campaign.values import unknown
from pytest_lem.model.errors import UsageError

KEYS = ("min", "max", "num", "log", "pow2")
LARGEST = 1e15
MOST = 100_000


def numbers(given: Mapping[str, Any], *, whole: bool, place: str) -> list[float]:
    """The numbers of a range, rising, each once, all within its ends; whole ones where `whole`.

    `num` numbers from `min` to `max`, evenly apart, or by a constant factor with `log`; or the powers of two between
    them with `pow2`. `num` counts both ends; fewer come out where rounding makes two of them one. Raises UsageError,
    one line, for a range that cannot be.
    """
    low, high = ends(given, whole=whole, place=place)
    if low is None or high is None:
        raise UsageError(f"{place}: a range needs min and max, got {dict(given)!r}")
    if given.get("pow2"):
        return _powers(given, low, high, whole=whole, place=place)
    count = given.get("num")
    if not isinstance(count, int) or isinstance(count, bool) or not (1 if low == high else 2) <= count <= MOST:
        raise UsageError(f"{place}: a range needs pow2, or num from 2 to {MOST}, got {dict(given)!r}")
    if given.get("log"):
        if low <= 0:
            raise UsageError(f"{place}: a log range starts above 0, got min={low!r}")
        return _tidy(_geometric(low, high, count), low, high, whole=whole)
    return _tidy(_linear(low, high, count), low, high, whole=whole)


def ends(given: Mapping[str, Any], *, whole: bool, place: str) -> tuple[float | None, float | None]:
    """`min` and `max` of a range, None for one that is missing. Raises UsageError as `numbers` does."""
    for key in given:
        if key not in KEYS:
            raise unknown("key of a range", key, KEYS, place)
    low, high = (_end(key, given[key], whole=whole, place=place) if key in given else None for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        raise UsageError(f"{place}: a range's min is above its max: {low!r} > {high!r}")
    for key in ("log", "pow2"):
        if not isinstance(given.get(key, False), bool):
            raise UsageError(f"{place}: {key} of a range is true or false, got {given[key]!r}")
    return low, high


def _end(key: str, value: object, *, whole: bool, place: str) -> float:
    kinds = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise UsageError(f"{place}: {key} of a range is a {'whole ' if whole else ''}number, got {value!r}")
    if not -LARGEST <= value <= LARGEST:  # nor is NaN; a whole number may be too large to be made a float, or written
        raise UsageError(f"{place}: {key} of a range is a number from {-LARGEST:g} to {LARGEST:g}")
    return value


def _linear(low: float, high: float, count: int) -> Iterable[float]:
    return (low + (high - low) * step / max(count - 1, 1) for step in range(count))


def _geometric(low: float, high: float, count: int) -> Iterable[float]:
    factor = log(high) - log(low)
    return (exp(log(low) + factor * step / max(count - 1, 1)) for step in range(count))


def _tidy(found: Iterable[float], low: float, high: float, *, whole: bool) -> list[float]:
    """Rounded (six digits are enough for a rate), the ends exact, each number once."""
    rounded = [floor(number + 0.5) if whole else float(f"{number:.6g}") for number in found]
    return list(dict.fromkeys([low, *(min(max(number, low), high) for number in rounded[1:-1]), high]))


def _powers(given: Mapping[str, Any], low: float, high: float, *, whole: bool, place: str) -> list[float]:
    if given.get("num") is not None or given.get("log"):
        raise UsageError(f"{place}: a pow2 range takes min and max only, got {dict(given)!r}")
    if low <= 0:
        raise UsageError(f"{place}: a pow2 range starts above 0, got min={low!r}")
    # log2 rounds: one power more at either end is tried, and what lies outside is dropped.
    powers = (2.0**power for power in range(ceil(log2(low)) - 1, floor(log2(high)) + 2))
    found = [int(power) if whole else power for power in powers if low <= power <= high]
    if not found:
        raise UsageError(f"{place}: there is no power of two from {low!r} to {high!r}")
    return found
