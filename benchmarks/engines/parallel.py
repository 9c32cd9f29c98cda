"""The table of a report whose engines span GPUs: what each GPU read, their sum, and what it costs or gains.

`lem merge` brings the runs on one GPU and on several together, `benchmarks/engines/keep.py --only` keeps the rows.
"""

from __future__ import annotations

from collections import defaultdict
from math import sqrt
from statistics import fmean
from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.engines.summary import MEASURED, round_cv, with_interval
from benchmarks.figures import table
from pytest_lem.stats.intervals import Interval, mean_interval, rounds_interval

Json = dict[str, Any]
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    measured = sorted(report["measurements"], key=lambda each: (_work(each), _gpus(each)))
    alone = {_work(each): each for each in measured if _gpus(each) == 1}
    rows = [_row(each, alone.get(_work(each))) for each in measured]
    head = ["engine", "batch", "J/output token (95 % interval)", "tok/s", "TTFT ms", "TPOT ms", "round CV"]
    head += ["each GPU, J/output token (95 % interval)", "most over mean", "J × one GPU's", "tok/s × one GPU's"]
    return "\n".join(
        [
            f"- {by_uuid(report['environment']['gpus'])}; {_versions(measured)}.",
            f"- Run `{report['run']['id']}`, {'complete' if report['run']['complete'] else 'incomplete'}.",
            "- A GPU's joules are its own counter's, by UUID, and summed last. A GPU's interval is made as that of "
            "their sum, from its own rounds. Most over mean: how far the GPU that drew most over all rounds lies above "
            "the mean of all (`gpu_imbalance` of a report is the most less the least, in each round).",
            "",
            table(head, rows),
        ]
    )


def _row(measurement: Json, alone: Json | None) -> list[str]:
    metrics, each = measurement["metrics"], per_gpu(measurement)
    values = [interval.value for interval in each.values()]
    mean = fmean(values) if values else None
    return [
        _engine(measurement),
        str(measurement["workload"]["batch"]),
        *(with_interval(metrics[key]) for key in MEASURED),
        round_cv([round_ for cycle in measurement["cycles"] for round_ in cycle["rounds"]]),
        ", ".join(f"{uuid[4:12]} {with_interval(vars(joules))}" for uuid, joules in each.items()) or "–",
        f"{100 * (max(values) / mean - 1):.1f} %" if mean and len(each) > 1 else "–",
        *(_against(metrics, alone, key) for key in MEASURED[:2]),
    ]


def per_gpu(measurement: Json) -> dict[str, Interval]:
    """Joules an output token of each GPU with their interval, over the valid rounds that all of them have read."""
    launches: dict[str, list[list[Json]]] = defaultdict(list)
    for cycle in measurement["cycles"]:
        read: dict[str, list[Json]] = defaultdict(list)
        for round_ in (each for each in cycle["rounds"] if each["valid"]):
            gpus = [reading for reading in round_["devices"] if reading["kind"] == "gpu"]
            if all(reading["joules"] for reading in gpus):
                for reading in gpus:
                    read[reading["device"]].append({**reading, "tokens": round_["tokens"]})
        for uuid, readings in read.items():
            launches[uuid].append(readings)
    return {uuid: _interval(found) for uuid, found in sorted(launches.items())}


def _interval(launches: list[list[Json]]) -> Interval:
    """As `pytest_lem.aggregate` makes that of a sum of joules: of a launch's rounds, or over several launches."""
    found = [[each["joules"] / each["tokens"] for each in readings] for readings in launches]
    if len(found) > 1:
        return mean_interval([rounds_interval(values).value for values in found])
    errors = [(each["std"] or 0.0) / each["joules"] for each in launches[0]]
    floor = sqrt(fmean(error**2 for error in errors)) / sqrt(len(errors))
    return rounds_interval(found[0], floor)


def _against(metrics: Json, alone: Json | None, key: str) -> str:
    if alone is None or alone["metrics"] is metrics:
        return "–"
    ours, theirs = metrics[key]["value"], alone["metrics"][key]["value"]
    return "–" if ours is None or not theirs else f"{ours / theirs:.2f}"


def _work(measurement: Json) -> tuple[str, str, int]:
    asked = measurement["engine"]["requested"]
    return asked["backend"], asked["model"], measurement["workload"]["batch"]


def _gpus(measurement: Json) -> int:
    return max((len(cycle["gpus"]) for cycle in measurement["cycles"]), default=0)


def _engine(measurement: Json) -> str:
    asked = measurement["engine"]["requested"]
    options = asked["options"]
    sizes = [f"{name.replace('_size', '')} {options[name]}" for name in SIZES if (options.get(name) or 1) > 1]
    placed = [f"layers on {asked['gpus']} GPUs, one at a time"] if options.get("device_map") else []
    return f"{asked['backend']}, {', '.join([*sizes, *placed]) or 'one GPU'}"


def _versions(measurements: list[Json]) -> str:
    found: Json = {}
    for measurement in measurements:
        versions = measurement["engine"]["observed"]["versions"]
        found |= {name: version for name, version in versions.items() if version}
    return ", ".join(f"{name} {version}" for name, version in found.items())
