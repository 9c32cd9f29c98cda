"""How long judging takes: one gate of ten runs by thirty rounds, and a report of two thousand.

    python benchmarks/gates/speed.py --out docs/evidence

`run.py` beside it times the statistics alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.figures import table
from benchmarks.gates.noise import Noise, launch
from benchmarks.pages.simulated import report as simulated
from pytest_lem.gate import Gate, judge
from pytest_lem.model.baseline import BaselineEntry, BaselineMetric, BaselineRun
from pytest_lem.stats import history_gate
from pytest_lem.store.acceptance import entry_of
from pytest_lem.store.environment import collect_environment
from pytest_lem.store.history import Baseline
from pytest_lem.store.report import Report

REPORT = 2000
RUNS = 10
KEY = "joules_per_token"
Seconds = float


def one_gate(repeats: int = 400) -> Seconds:
    """The median time of one gate."""
    rng = np.random.default_rng(0)
    history = [launch(rng, Noise(), 0.0).tolist() for _ in range(RUNS)]
    candidate = [launch(rng, Noise(), 0.05).tolist()]
    taken = []
    for _ in range(repeats):
        began = perf_counter()
        history_gate(history, candidate)
        taken.append(perf_counter() - began)
    return float(np.median(taken))


def statistics() -> Seconds:
    """The statistics of two thousand gates, each of values of its own, one after the other."""
    rng = np.random.default_rng(0)
    gates = [[launch(rng, Noise(), 0.0).tolist() for _ in range(RUNS + 1)] for _ in range(REPORT)]
    began = perf_counter()
    for *history, candidate in gates:
        history_gate(history, [candidate])
    return perf_counter() - began


def report(times: int, gates: int = REPORT) -> list[Seconds]:
    """A report with two thousand gates, from its measurements and a baseline of ten runs to every verdict and its line.

    Rounds, fingerprints, warm-up and creep are in it; reading the files is not.
    """
    now = _report(gates)
    baseline = _baseline(now)
    taken = []
    for _ in range(times):
        began = perf_counter()
        for measurement in now.measurements:
            judge(Gate(KEY), measurement, baseline, now.environment)
        taken.append(perf_counter() - began)
    return taken


def _report(gates: int) -> Report:
    """As many measurements of three launches of eight rounds: simulated, some again under other names."""
    found = simulated(gates, 3)
    known = len(found.measurements)
    again = [found.measurements[place % known] for place in range(gates)]
    named = [
        each.model_copy(update={"test": f"{each.test}-{place // known}", "id": f"{each.id}-{place // known}"})
        for place, each in enumerate(again)
    ]
    return found.model_copy(update={"measurements": tuple(named)})


def _baseline(now: Report) -> Baseline:
    """Ten accepted runs of the same, each with rounds of its own noise."""
    draw = random.Random(0)
    entries = [entry_of(each, now.environment) for each in now.measurements]
    runs = [
        BaselineRun(id=f"run-{number}", saved=now.run.started, entries=tuple(_again(each, draw) for each in entries))
        for number in range(RUNS)
    ]
    return Baseline("main", Path("main"), tuple(runs))


def _again(entry: BaselineEntry, draw: random.Random) -> BaselineEntry:
    metric = entry.metrics[KEY]
    level = draw.gauss(1.0, 0.02)
    launches = tuple(tuple(value * level * draw.gauss(1.0, 0.01) for value in each) for each in metric.launches)
    changed: BaselineMetric = metric.model_copy(update={"launches": launches})
    return entry.model_copy(update={"metrics": {KEY: changed}})


def render(data: dict[str, Any]) -> str:
    """Markdown: the goals, and what was reached."""
    rows = [
        ["one gate: 10 runs and a candidate of 30 rounds each, its statistics", "1 ms", _milliseconds(data["gate_s"])],
        [f"the statistics of {data['gates']:,} of them", "–", _span(data["statistics_s"])],
        [
            f"a report of {data['gates']:,} gates: measurements and a baseline of 10 runs, each of three launches of "
            "eight rounds, to verdicts and their lines",
            "3 s",
            _span(data["report_s"]),
        ],
    ]
    return f"{data['machine']}.\n\n" + table(["what", "goal", "reached, median (worst)"], rows)


def _milliseconds(seconds: list[float]) -> str:
    return f"{1e3 * float(np.median(seconds)):.2f} ms ({1e3 * max(seconds):.2f})"


def _span(seconds: list[float]) -> str:
    return f"{float(np.median(seconds)):.2f} s ({max(seconds):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    found = {
        "title": "How long gates take to judge",
        "command": "python benchmarks/gates/speed.py --out docs/evidence",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{collect_environment().cpu}, Python {platform.python_version()}",
        "gates": REPORT,
        "gate_s": [one_gate() for _ in range(asked.times)],
        "statistics_s": [statistics() for _ in range(asked.times)],
        "report_s": report(asked.times),
    }
    (asked.out / "judging.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
