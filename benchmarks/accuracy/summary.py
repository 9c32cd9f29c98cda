"""What the raw windows of an accuracy run amount to: errors against the reference windows, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, linear_regression
from typing import Any

from benchmarks.accuracy.warmth import first_seconds
from benchmarks.figures import cv, interpolate, percent, quantile, table

Json = dict[str, Any]
ORDER = ("meter", "counter", "power x time", "zeus", "codecarbon")
LABELS = {
    "meter": "pytest-lem: idle head and tail, spread phases",
    "counter": "energy counter, end − start",
    "power x time": "1 s-average power × time",
    "zeus": "ZeusMonitor window",
    "codecarbon": "CodeCarbon task",
}


@dataclass(frozen=True)
class Row:
    """One method at one length: the joules of fixed work, and their errors against the reference (shares).

    `cv_even` is the spread that is left when the joules' linear dependence on the chip's temperature is taken out: a
    warmer chip leaks more, so fixed work does not quite use fixed joules. `bias_even` and `p95_even` are the errors
    that are left when the chip's own rise in power within the reference windows is taken out (`rise`).
    """

    method: str
    seconds: float
    n: int
    cv: float | None
    cv_even: float | None
    bias: float | None
    p95: float | None
    worst: float | None
    bias_even: float | None = None
    p95_even: float | None = None


def middle(window: Json) -> float:
    """The middle of a window on the monotonic clock, in seconds."""
    return (window["start_ns"] + window["end_ns"]) / 2e9


def references(windows: Sequence[Json], reference_s: float, method: str = "meter") -> list[tuple[float, float]]:
    """Joules a replay of the reference windows by `method`, each with its middle (s), in order of time."""
    found = [
        (middle(window), window["joules"][method] / window["replays"])
        for window in windows
        if window["asked_s"] == reference_s and method in window["joules"]
    ]
    return sorted(found)


def errors(windows: Sequence[Json], truth: Sequence[tuple[float, float]], method: str) -> list[float]:
    """Relative errors: a window's joules over its replays times the reference's joules a replay at that time, less 1.

    The reference is interpolated between the reference windows before and after, which takes slow drift (a chip that
    warms up) out of the comparison.
    """
    return [
        window["joules"][method] / (window["replays"] * interpolate(truth, middle(window))) - 1
        for window in windows
        if method in window["joules"]
    ]


def rise(windows: Sequence[Json], seconds: float) -> float | None:
    """Power in the first `seconds` of the reference windows over that in all of each: the mean of their traces.

    It is read from the board's power field, not from the energy counter that the meter under test uses. None where no
    reference carries a trace.
    """
    traces = [[tuple(point) for point in window["power_w"]] for window in windows if "power_w" in window]
    found = [share for share in (first_seconds(trace, seconds) for trace in traces) if share is not None]
    return fmean(found) if found else None


def cv_even(windows: Sequence[Json], method: str) -> float | None:
    """CV of the joules about a straight line in the chip's temperature (mean of before and after each window).

    None for fewer than four windows, or where the temperature was not read.
    """
    warmth = [tuple(window.get(edge, {}).get("celsius") for edge in ("before", "after")) for window in windows]
    if len(windows) < 4 or any(degrees is None for pair in warmth for degrees in pair):
        return None
    joules = [window["joules"][method] for window in windows]
    celsius = [fmean(pair) for pair in warmth]
    if len(set(celsius)) < 2:
        return cv(joules)
    slope, intercept = linear_regression(celsius, joules)
    left = [value - intercept - slope * warm for value, warm in zip(joules, celsius, strict=True)]
    return sqrt(sum(value * value for value in left) / (len(left) - 2)) / fmean(joules)


def row(windows: Sequence[Json], truth: Sequence[tuple[float, float]], method: str, seconds: float) -> Row | None:
    """One method at one length; None where it took no window."""
    mine = [window for window in windows if window["asked_s"] == seconds and method in window["joules"]]
    if not mine:
        return None
    spread = cv([window["joules"][method] for window in mine])
    even = cv_even(mine, method)
    if not truth:
        return Row(method, seconds, len(mine), spread, even, None, None, None)
    found = errors(mine, truth, method)
    sizes = [abs(error) for error in found]
    plain = Row(method, seconds, len(mine), spread, even, fmean(found), quantile(sizes, 0.95), max(sizes))
    share = rise(windows, seconds)
    if share is None:
        return plain
    left = [(1 + error) / share - 1 for error in found]
    return replace(plain, bias_even=fmean(left), p95_even=quantile([abs(error) for error in left], 0.95))


def rows(data: Json) -> list[Row]:
    """Every length under test, every method, in a fixed order."""
    windows, reference_s = data["windows"], data["protocol"]["reference_s"]
    truth = references(windows, reference_s)
    found = (row(windows, truth, method, seconds) for seconds in sorted(_lengths(data)) for method in ORDER)
    return [each for each in found if each is not None]


def _lengths(data: Json) -> set[float]:
    return {window["asked_s"] for window in data["windows"]} - {data["protocol"]["reference_s"]}


def _faults(windows: Sequence[Json]) -> str:
    told = [fault for window in windows for fault in (window.get("reading") or {}).get("faults", ())]
    kinds = sorted(set(told))
    return "none" if not kinds else "; ".join(f"{told.count(kind)} × {kind}" for kind in kinds)


def _span_of_celsius(data: Json) -> str:
    found = [window["after"]["celsius"] for window in data["windows"] if window["after"].get("celsius") is not None]
    return f"{min(found)} to {max(found)}" if found else "–"


def _duty(data: Json) -> str:
    protocol = data["protocol"]
    if "duty" not in protocol:
        return ""
    return (
        f", after {protocol['soak_s']:.0f} s of soaking; rest and work before each keep the chip busy for "
        f"{percent(protocol['duty'], 0)} of the time"
    )


def _rises(data: Json) -> list[str]:
    found = {seconds: rise(data["windows"], seconds) for seconds in sorted(_lengths(data))}
    told = [f"{percent(share - 1)} in the first {seconds:g} s" for seconds, share in found.items() if share is not None]
    if not told:
        return []
    return [
        f"- `rise out`: the board's power (field 186) inside a reference window differs from the window's mean by "
        f"{' and '.join(told)}, because the window began on a chip that had "
        "just idled. That much less a short window really costs; these columns have it taken out."
    ]


def _facts(data: Json) -> list[str]:
    board, work = data["board"], data["work"]
    busy = data["sizes"][-1]
    truth = references(data["windows"], data["protocol"]["reference_s"])
    per_replay = [joules for _, joules in truth]
    drift = percent(max(per_replay) / min(per_replay) - 1) if per_replay else "–"
    packages = ", ".join(f"{name} {number}" for name, number in data["packages"].items() if number)
    return [
        f"- Board: {board['name']}, driver {board['driver']}, limit {board['power_limit_w']:.0f} W. "
        f"Software: {packages}.",
        f"- Work: {work['products']} bfloat16 products of {work['size']} × {work['size']} a replay "
        f"({1000 * work['replay_seconds']:.2f} ms); {busy['watts']:.0f} W at {busy['sm_mhz']} MHz and "
        f"{busy['celsius']} °C. The largest size that draws 80 % of the limit or less is taken: at the limit a chip "
        "lowers its clock as it warms, and fixed work has no fixed joules.",
        f"- Reference: {len(truth)} windows of {data['protocol']['reference_s']:.0f} s by the meter, joules a replay, "
        f"interpolated in time between the one before and the one after; they differ by {drift} at most.",
        f"- Every window follows {data['protocol']['preheat_s']} s of the same work or more{_duty(data)}. CodeCarbon "
        "has windows of its own; the other methods stand around the same ones.",
        "- `CV, temperature out`: about a straight line in the chip's temperature, which moved from "
        f"{_span_of_celsius(data)} °C while the run went on.",
        *_rises(data),
        *_agreements(data),
        f"- Faults that the meter's guards told: {_faults(data['windows'])}. "
        f"Errors on the way: {'; '.join(data['errors']) or 'none'}.",
    ]


def _agreements(data: Json) -> list[str]:
    """How much two readings that share no sensor field differ from window to window: what both see is the chip's."""
    told = []
    for seconds in sorted(_lengths(data)):
        both = [window["joules"] for window in data["windows"] if window["asked_s"] == seconds]
        ratios = [each["meter"] / each["power x time"] for each in both if {"meter", "power x time"} <= each.keys()]
        if len(ratios) > 1 and seconds >= 2:  # power x time averages over a second, so it needs windows well beyond it
            told.append(f"{percent(cv(ratios), 3)} at {seconds:g} s")
    if not told:
        return []
    return [
        f"- Our joules over those of power × time, which share no sensor field, vary from window to window by "
        f"{', '.join(told)}: what both see beyond that is the chip's."
    ]


def _figures(row: Row) -> tuple[float | None, ...]:
    return row.cv, row.cv_even, row.bias, row.p95, row.worst, row.bias_even, row.p95_even


def render(data: Json) -> str:
    """The evidence page's generated part."""
    head = ["method", "window", "n", "CV of fixed work", "CV, temperature out", "bias", "p95 error", "worst error"]
    head += ["bias, rise out", "p95, rise out"]
    lines = [
        [LABELS[each.method], f"{each.seconds:g} s", str(each.n)] + [percent(value) for value in _figures(each)]
        for each in rows(data)
    ]
    return "\n".join([*_facts(data), "", table(head, lines)])
