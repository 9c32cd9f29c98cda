"""What the raw values of the overhead runs amount to, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.figures import Interval, mean_interval, paired_cost, percent, span, table

Json = dict[str, Any]
WAKING, CHEAP = "waking alone", "all but GPM"
"""What a sampler asks in windows that are to tell what a cost comes from."""


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


def render_telemetry(data: Json) -> str:
    """The generated part of the page about what telemetry costs."""
    board = data["board"]
    rows = []
    for part in ("graph", "engine"):
        if part in data:
            rows += _sampled(data[part], "≤ 0.1 %" if part == "graph" else "holds 0")
    works = "; ".join(_work(data[part]["work"]) for part in ("graph", "engine") if part in data)
    packages = ", ".join(f"{name} {number}" for name, number in data["packages"].items() if number)
    return "\n".join(
        [
            f"- Board: {board['name']}, driver {board['driver']}. Software: {packages}.",
            f"- {data['hertz']:.0f} Hz. Work in processes of their own: {works}. Pairs in the order ABBA.",
            f"- Errors on the way: {'; '.join(data['errors']) or 'none'}.",
            "",
            table(["", "measured", "goal"], rows),
            "",
            table(
                ["one call to the driver", "idle, mean", "p99", "CPU", "beside work, mean", "p99", "CPU"], _calls(data)
            ),
            "",
            table(["what the GPU told beside work", *_SEEN], _seen(data)),
        ]
    )


_SEEN = ("values a second", "mean", "least", "most")


def _sampled(part: Json, goal: str) -> list[list[str]]:
    pairs, name = part["pairs"], "an engine" if "backend" in part["work"] else "a CUDA graph"
    on = [pair["on"] for pair in pairs]
    core = sum(window["thread_cpu_s"] for window in on) / sum(_length(window) for window in on)
    return [
        [
            f"throughput cost beside {name}, {len(pairs)} pairs of {fmean(map(_length, on)):.2f} s (95 %)",
            span(_cost(pairs, "on")),
            goal,
        ],
        *([f"the same, {part}", span(_cost(pairs, part)), "–"] for part in (WAKING, CHEAP) if part in pairs[0]),
        [f"CPU time of the sampler beside {name}, share of one core", percent(core), "≤ 1 %"],
        [f"the same, the dearest window beside {name}", percent(max(each["thread_cpu_share"] for each in on)), "–"],
        [f"samples a second beside {name}, least", f"{min(each['use'][0]['hertz'] for each in on):.2f}", "20"],
    ]


def _cost(pairs: Sequence[Json], sampler: str) -> Interval:
    return paired_cost([_length(pair[sampler]) for pair in pairs], [_length(pair["off"]) for pair in pairs])


def _length(window: Json) -> float:
    return float(window["end_ns"] - window["start_ns"]) / 1e9


def _calls(data: Json) -> list[list[str]]:
    states = [data["calls"].get(state, {}) for state in ("idle", "working")]
    return [[name, *(cell for state in states for cell in _call(state.get(name, {"n": 0})))] for name in states[0]]


def _call(found: Json) -> list[str]:
    if not found["n"]:
        return [found.get("error") or "–", "–", "–"]
    return [f"{found[key]:.0f} µs" for key in ("mean_us", "p99_us", "cpu_us")]


def _seen(data: Json) -> list[list[str]]:
    """What the last window of each kind of work came to."""
    rows = []
    for part in ("graph", "engine"):
        for window in [pair["on"] for pair in data.get(part, {}).get("pairs", [])][-1:]:
            for key, gauge in window["use"][0]["gauges"].items():
                told = [gauge["reason"] or "–", "–", "–"]
                if gauge["n"]:
                    told = [f"{gauge[edge]:.4g}" for edge in ("mean", "min", "max")]
                rows.append([f"{part}: {key}", f"{gauge['n'] / _length(window):.1f}", *told])
    return rows


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
