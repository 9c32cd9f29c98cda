"""The table of a run's report, as evidence: one row a measurement, its invalid rounds explained."""

from __future__ import annotations

from collections import Counter
from statistics import fmean, linear_regression
from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import table

Json = dict[str, Any]
FEWEST = 6  # rounds through which a line is drawn
MEASURED = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms")
HEAD = [
    "experiment",
    "J/output token (95 % interval)",
    "tok/s",
    "TTFT ms",
    "TPOT ms",
    "W",
    "GiB",
    "rounds valid/all",
    "round CV",
    "source",
]


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    gpus = by_uuid(report["environment"]["gpus"])
    packages: Json = {}
    for measurement in report["measurements"]:
        packages |= {
            name: version for name, version in measurement["engine"]["observed"]["versions"].items() if version
        }
    rows = [_row(measurement) for measurement in report["measurements"]]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    lines = [
        f"- {gpus}; {versions}.",
        f"- Run `{report['run']['id']}`, {'complete' if report['run']['complete'] else 'incomplete'}; "
        f"intervals cover {_covers(report)}.",
        *_invalid(report),
        *_hooks(report),
        *_spread(report),
    ]
    return "\n".join([*lines, "", table(HEAD, rows)])


def _row(measurement: Json) -> list[str]:
    metrics = measurement["metrics"]
    rounds = [round_ for cycle in measurement["cycles"] for round_ in cycle["rounds"]]
    joules = metrics["joules_per_token"]
    return [
        measurement["id"].rpartition("[")[2].rstrip("]"),
        *(with_interval(metrics[key]) for key in MEASURED),
        number(metrics["power_w"]["value"], 4),
        number(_scaled(metrics["peak_memory_bytes"]["value"], 2**-30), 3),
        f"{sum(round_['valid'] for round_ in rounds)}/{len(rounds)}",
        round_cv(rounds),
        joules["source"] or joules["reason"],
    ]


def round_cv(rounds: list[Json]) -> str:
    """The coefficient of variation of the valid rounds' joules a token."""
    values = [_gpu_joules(round_) / round_["tokens"] for round_ in rounds if round_["valid"] and _gpu_joules(round_)]
    if len(values) < 2:
        return "–"
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{100 * spread / mean:.1f} %"


def _gpu_joules(round_: Json) -> float:
    return sum(reading["joules"] or 0.0 for reading in round_["devices"] if reading["kind"] == "gpu")


def _covers(report: Json) -> str:
    found = {m["metrics"]["joules_per_token"]["covers"] for m in report["measurements"]}
    return ", ".join(sorted(str(each) for each in found if each)) or "nothing"


def _invalid(report: Json) -> list[str]:
    reasons = Counter(
        round_["reason"]
        for measurement in report["measurements"]
        for cycle in measurement["cycles"]
        for round_ in cycle["rounds"]
        if not round_["valid"]
    )
    if not reasons:
        return ["- No round was invalid."]
    return [f"- {count} invalid round(s): {reason}" for reason, count in sorted(reasons.items())]


def _hooks(report: Json) -> list[str]:
    """How much slower hooked passes were than the rounds beside them, over all measurements."""
    ratios = [
        round_["latency"]["seconds"] * round_["passes"] / ((round_["end_ns"] - round_["start_ns"]) / 1e9)
        for measurement in report["measurements"]
        for cycle in measurement["cycles"]
        for round_ in cycle["rounds"]
        if round_["valid"] and round_["latency"]
    ]
    if not ratios:
        return []
    ratios.sort()
    middle = ratios[len(ratios) // 2]
    return [f"- Hooked passes against the measured rounds beside them: ×{middle:.3f} (median of {len(ratios)})."]


def _spread(report: Json) -> list[str]:
    """What rounds of the same work that took longer drew for the extra time: a straight line through their joules.

    Where it is the power of an idle GPU, and little is left about the line, the GPU waited for its host.
    """
    told = []
    for measurement in report["measurements"]:
        rounds = [r for cycle in measurement["cycles"] for r in cycle["rounds"] if r["valid"] and _gpu_joules(r)]
        if len(rounds) < FEWEST or len({r["passes"] for r in rounds}) > 1:
            continue
        seconds = [(r["end_ns"] - r["start_ns"]) / 1e9 for r in rounds]
        joules = [_gpu_joules(r) for r in rounds]
        slope, intercept = linear_regression(seconds, joules)
        left = [j - intercept - slope * s for s, j in zip(seconds, joules, strict=True)]
        residual = (sum(x * x for x in left) / (len(left) - 2)) ** 0.5 / fmean(joules)
        name = measurement["id"].rpartition("[")[2].rstrip("]")
        told.append(f"{name} {slope:.0f} W ({100 * residual:.2f} % left)")
    if not told:
        return []
    return [
        "- Extra time of slower rounds of the same work was spent at (slope of joules over seconds, and the round CV "
        f"that is left about that line): {'; '.join(told)}."
    ]


def with_interval(metric: Json) -> str:
    """A value and its interval, `0.6017 (0.5784 … 0.626)`."""
    low, high = metric["low"], metric["high"]
    return number(metric["value"]) + ("" if low is None else f" ({low:.4g} … {high:.4g})")


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def number(value: float | None, digits: int = 4) -> str:
    """A value with so many significant digits, a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"
