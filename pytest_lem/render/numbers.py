"""Numbers as people read them: three or four significant digits, prefixes, intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low

ABSENT = "–"
_SI = [(1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")]
_BINARY = [(1.0, ""), (2.0**10, "Ki"), (2.0**20, "Mi"), (2.0**30, "Gi"), (2.0**40, "Ti")]
_BASE = {"ms": ("s", 1e-3)}
# Above one, the prefix waits: 1400 W reads better than 1.4 kW, and 12000 tok/s better than 12 ktok/s.
_LARGEST = {"": 1e4, "tok/s": 1e6, "req/s": 1e6}
_COUNTS = ("tok/s", "req/s")  # nobody thinks in millirequests


@dataclass(frozen=True)
class Scale:
    """A unit to show a value in: `shown = value * factor`."""

    factor: float
    unit: str


def scale_for(values: Iterable[float], unit: str) -> Scale:
    """The one unit in which all `values` (in `unit`) are shown, chosen by their lower median.

    Seconds, joules, watts and grams take SI prefixes, bytes take binary ones (GiB).
    """
    sizes = sorted(abs(value) for value in values if value)
    if unit == "B":
        size = median_low(sizes) if sizes else 1.0
        step, prefix = [row for row in _BINARY if row[0] <= max(size, 1.0)][-1]
        return Scale(1 / step, f"{prefix}B")
    base, factor = _BASE.get(unit, (unit, 1.0))
    if not sizes:
        return Scale(1.0, unit)
    size, largest = median_low(sizes) * factor, _LARGEST.get(unit, _LARGEST[""])
    if unit in _COUNTS and size < largest:
        return Scale(1.0, unit)
    step, prefix = _si_step(size, largest)
    return Scale(factor / step, f"{prefix}{base}")


def digits_for(value: float, low: float | None, high: float | None) -> int:
    """Four significant digits where the 95 % interval is narrower than ±1 %, else three."""
    if low is None or high is None or not value:
        return 3
    return 4 if (high - low) / 2 < 0.01 * abs(value) else 3


def decimals_for(value: float, digits: int) -> int:
    """Digits after the point that show `value` with `digits` significant ones."""
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return max(0, digits - 1 - exponent)


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits: 0.0412, 41.2, 4120. Whole digits are never rounded away."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{decimals_for(value, digits)}f}"


def with_unit(value: float, unit: str, *, digits: int = 3) -> str:
    """`0.412, "J/tok"` → `412 mJ/tok`; `3.2e9, "B"` → `2.98 GiB`."""
    scale = scale_for([value], unit)
    return f"{significant(value * scale.factor, digits)} {scale.unit}"


def spread(value: float, low: float | None, high: float | None) -> str:
    """Half the interval's width relative to the value: `±1.7 %`; empty where there is none."""
    if low is None or high is None or not value:
        return ""
    percent = 50 * (high - low) / abs(value)
    if percent < 0.01:
        return "±0.01 %"
    if percent > 999:
        return ">±999 %"
    return f"±{percent:.{min(2, decimals_for(percent, 2))}f} %"


def bounds(value: float, low: float, high: float) -> str:
    """`405..419`: the interval with the decimals that its value is shown with."""
    places = decimals_for(value, digits_for(value, low, high)) if value else 3
    return f"{low:.{places}f}..{high:.{places}f}"


def interval_with_unit(value: float, low: float, high: float, unit: str) -> str:
    """`0.412, 0.405, 0.419, "J/tok"` → `405..419 mJ/tok`."""
    scale = scale_for([value], unit)
    return f"{bounds(value * scale.factor, low * scale.factor, high * scale.factor)} {scale.unit}"


def percent(change: float) -> str:
    """A relative change as people read it: `+4.1 %`, `−12 %`."""
    digits = 0 if abs(change) >= 0.1995 else 1
    return f"{'−' if change < 0 else '+'}{abs(100 * change):.{digits}f} %"


def plain_percent(share: float) -> str:
    """A share without a sign: `5 %`, `7.5 %`."""
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _si_step(size: float, largest: float) -> tuple[float, str]:
    fitting = [row for row in _SI if row[0] <= 1.0 and row[0] <= size] or _SI[:1]
    if size >= largest:
        fitting = [row for row in _SI if row[0] <= size]
    return fitting[-1]
