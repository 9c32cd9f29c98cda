"""What the raw values of the overhead runs amount to, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.figures import Interval, mean_interval, paired_cost, percent, span, table

Json = dict[str, Any]


def seconds_a_replay(window: Json) -> float:
    """How long one replay took in a window."""
    return (window["end_ns"] - window["start_ns"]) / 1e9 / window["replays"]


def throughput_cost(pairs: Sequence[Json]) -> Interval:
    """Share by which metered work is slower than the same work without the meter, over pairs of windows."""
    return paired_cost(
        [seconds_a_replay(pair["metered"]) for pair in pairs], [seconds_a_replay(pair["plain"]) for pair in pairs]
    )


def cpu_share(windows: Sequence[Json]) -> float:
    """CPU time of the measuring process over the length of its rounds, heads and tails included."""
    return sum(window["cpu_s"] for window in windows) / sum(window["round_s"] for window in windows)


def fixed_seconds(window: Json) -> float:
    """What a metered round takes beyond its work."""
    return float(window["round_s"]) - (window["end_ns"] - window["start_ns"]) / 1e9


def calls_around(calls: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> Json:
    """Driver calls (began, ended) of a round: how many, how many overlap the work, how near the others come (ns)."""
    before = [start_ns - ended for _, ended in calls if ended <= start_ns]
    after = [began - end_ns for began, _ in calls if began >= end_ns]
    return {
        "count": len(calls),
        "inside": len(calls) - len(before) - len(after),
        "nearest_before_ns": min(before, default=None),
        "nearest_after_ns": min(after, default=None),
    }


def render_gpu(data: Json) -> str:
    """The generated part of the page about metering on a GPU."""
    metered = [pair["metered"] for pair in data["pairs"]]
    fixed = [fixed_seconds(window) for window in metered]
    calls = [window["calls"] for window in metered]
    lengths = fmean((window["end_ns"] - window["start_ns"]) / 1e9 for window in metered)
    board = data["board"]
    goal = "holds 0, half-width ≤ 0.7 %" if "backend" in data["work"] else "≤ 0.1 %"
    rows = [
        ["throughput cost of metering, paired (95 % interval)", span(throughput_cost(data["pairs"])), goal],
        ["driver calls inside a window, most of all rounds", str(max(call["inside"] for call in calls)), "0"],
        ["CPU time of the meter, share of one core", percent(cpu_share(metered)), "≤ 1 %"],
        ["fixed time around a round, mean", f"{fmean(fixed):.3f} s", "≤ 0.35 s"],
        ["fixed time around a round, longest", f"{max(fixed):.3f} s", "–"],
        ["driver calls around a round, mean", f"{fmean(call['count'] for call in calls):.0f}", "–"],
    ]
    return "\n".join(
        [
            f"- Board: {board['name']}, driver {board['driver']}. Work in a process of its own: {_work(data['work'])}.",
            f"- {len(metered)} pairs of windows of {lengths:.2f} s, in the order ABBA; the window without the meter "
            "waits before and after as long as the one with it.",
            f"- Errors on the way: {'; '.join(data['errors']) or 'none'}.",
            "",
            table(["", "measured", "goal"], rows),
        ]
    )


def _work(work: Json) -> str:
    if "backend" not in work:
        milliseconds = work["replay_seconds"] * 1000
        return f"a CUDA graph of {work['products']} products of {work['size']} × {work['size']}, {milliseconds:.2f} ms"
    asked, version = work["workload"], work["versions"].get(work["backend"], "")
    return (
        f"{work['backend']} {version}".strip() + f", {work['model']} in {work['precision']}, batch {asked['batch']}, "
        f"{asked['prompt_tokens']} tokens in and {asked['output_tokens']} out, {work['replay_seconds']:.2f} s a pass"
    )


def extra(pairs: Sequence[Json], what: str = "wall_s") -> Interval:
    """Seconds (wall or CPU) that a run with the plugin takes beyond one without, over pairs."""
    return mean_interval([pair["with"][what] - pair["without"][what] for pair in pairs])


def _typical(pairs: Sequence[Json]) -> float:
    return median(pair["without"]["wall_s"] for pair in pairs)


def _seconds(found: Interval, unit: str) -> str:
    scale = 1000 if unit == "ms" else 1
    if found.low is None or found.high is None:
        return f"{scale * found.mean:.3g} {unit}"
    return f"{scale * found.mean:.3g} {unit} ({scale * found.low:.3g} to {scale * found.high:.3g})"


def render_startup(data: Json) -> str:
    """The generated part of the page about what the plugin costs a pytest run that does not use it."""
    start, collect, imports = data["startup"], data["collection"], data["importtime_us"]
    matrix = data["matrix"]
    loaded = ", ".join(data["forbidden_loaded"]) or "none"
    rows = [
        ["import of the plugin, `-X importtime`, median", f"{median(imports) / 1000:.1f} ms", "≤ 50 ms"],
        [f"run of one test, wall, {len(start)} pairs (95 % interval)", _seconds(extra(start), "ms"), "≤ 50 ms"],
        ["run of one test, CPU time", _seconds(extra(start, "cpu_s"), "ms"), "–"],
        [
            f"collecting {data['items']:,} items, wall, {len(collect)} pairs (95 % interval)",
            _seconds(extra(collect), "s"),
            "≤ 1 s",
        ],
        [f"collecting {data['items']:,} items, CPU time", _seconds(extra(collect, "cpu_s"), "s"), "–"],
        [
            f"collecting, ordering, planning a matrix of {data['items']:,}, wall, {len(matrix)} pairs (95 % interval)",
            _seconds(extra(matrix), "s"),
            "≤ 2 s",
        ],
        [f"the same matrix of {data['items']:,}, CPU time", _seconds(extra(matrix, "cpu_s"), "s"), "–"],
        [f"loaded of {', '.join(data['forbidden'])}", loaded, "none"],
    ]
    packages = ", ".join(f"{name} {number}" for name, number in data["packages"].items() if number)
    return "\n".join(
        [
            f"- {data['host']}. Software: {packages}. Other plugins are off (PYTEST_DISABLE_PLUGIN_AUTOLOAD).",
            f"- Without the plugin one test takes {_typical(start):.2f} s, the collection of all items "
            f"{_typical(collect):.2f} s (medians).",
            f"- Errors on the way: {'; '.join(data['errors']) or 'none'}.",
            "",
            table(["with the plugin, beyond without", "measured", "goal"], rows),
        ]
    )
