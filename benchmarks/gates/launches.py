"""Launches of one unchanged engine: their spread beside the gate's priors, and the gate on each of them. Evidence.

The report is one of `pytest benchmarks/test_launches.py --lem-cycles=16`, kept by `benchmarks/engines/keep.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from statistics import fmean, stdev
from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import cv, table
from pytest_lem.launches import Launch, launches
from pytest_lem.model.measurement import Measurement
from pytest_lem.stats import Verdict, history_gate, summarise
from pytest_lem.stats.runs import LAUNCH_SD as PRIOR_SD
from pytest_lem.stats.verdict import MOST_LAUNCHES

Json = dict[str, Any]
METRIC = "joules_per_token"


def leave_one_out(found: Sequence[Launch], place: int) -> tuple[Verdict, int]:
    """The verdict on one launch by the others, each a run of its own, and how many launches of it were judged.

    Where the gate wants another launch it is given the next one in the ring.
    """
    for count in range(1, MOST_LAUNCHES + 1):
        mine = [(place + step) % len(found) for step in range(count)]
        others = [launch.values for index, launch in enumerate(found) if index not in mine]
        verdict = history_gate(others, [found[index].values for index in mine])
        if not verdict.relaunch:
            break
    return verdict, count


def render(data: Json) -> str:
    """The evidence page's generated part; `data` as `keep.py` writes it."""
    report = data["report"]
    measurement = Measurement.model_validate(report["measurements"][0])
    cut = sum(cycle.cut_short for cycle in measurement.cycles)
    found = launches(measurement, METRIC)
    gpus = by_uuid(report["environment"]["gpus"])
    versions = measurement.engine.observed["versions"] if measurement.engine else {}
    logs = [log(summarise(launch.values).median) for launch in found]
    left = [leave_one_out(found, place) for place in range(len(found))]
    counts = Counter(verdict.status.value for verdict, _ in left)
    lines = [
        f"- {gpus}; {', '.join(f'{name} {version}' for name, version in versions.items() if version)}.",
        f"- {len(found)} whole launches"
        + (f"; {cut} more was cut short by the machine's time limit and counts nowhere." if cut else "."),
        f"- SD of the log medians between launches: {100 * stdev(logs):.2f} % ({100 * stdev(logs[1:]):.2f} % without "
        f"the first, which lies {100 * (logs[0] - fmean(logs[1:])):+.2f} % from the mean of the others). "
        f"The gate's prior is {100 * PRIOR_SD:.0f} %.",
        "- Leave-one-out (each launch judged by the last ten of the others): "
        + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        + f"; {sum(used > 1 for _, used in left)} of them after another launch was asked for.",
    ]
    rows = [
        [
            str(place),
            f"{1000 * summarise(launch.values).median:.1f}",
            f"{100 * (cv(launch.values) or 0):.2f} %",
            f"{cycle.load_seconds:.1f}" if cycle.load_seconds else "–",
            verdict.status.value,
            f"{100 * (verdict.estimate or 0):+.2f} %",
            f"{100 * (verdict.low or 0):+.1f}..{100 * (verdict.high or 0):+.1f} %",
        ]
        for place, (launch, cycle, (verdict, _)) in enumerate(
            zip(found, [c for c in measurement.cycles if not c.cut_short], left, strict=True)
        )
    ]
    head = ["launch", "median mJ/token", "round CV", "load s", "verdict of the rest", "change", "range"]
    return "\n".join([*lines, "", table(head, rows)])
