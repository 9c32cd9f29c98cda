"""One factor at a time, as evidence: each row beside the base that it differs from, and what was observed to run.

The report is one of `pytest benchmarks/test_factors.py`, kept by `benchmarks/engines/keep.py`. Of a run in lanes each
GPU has a base of its own, so that no row is held against another board.
"""

from __future__ import annotations

from typing import Any

from benchmarks.engines.asked import by_uuid
from benchmarks.figures import percent, table

Json = dict[str, Any]
BASE = "base"
AGAIN = "attention_implementation=sdpa"
"""The base over again, as a second lane has it: what is asked for by name is what the base takes by itself."""
HEAD = ["model", "GPU", "factor", "J/output token (95 % interval)", "× base", "tok/s", "× base", "weights GiB"]
HEAD += ["rounds", "MFU", "step: bytes", "step: FLOPs", "step: neither", "observed"]
SHARES = ("mfu", "roofline_memory", "roofline_arithmetic", "roofline_rest")
READ = ("attention_implementation", "cache_implementation", "torch_compile", "quantization", "matmul_precision")


def render(data: Json) -> str:
    """`data`: {command, date, title, report}, the report as `report.json` has it."""
    report = data["report"]
    measured = report["measurements"]
    versions = measured[0]["engine"]["observed"]["versions"] if measured else {}
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    lines = [
        f"- {by_uuid(report['environment']['gpus'])}; {told or 'nothing was measured'}.",
        "- The base of a model is its row in bfloat16 without options; on a GPU that has none, the row that names the "
        "base's own attention, sdpa.",
        "- MFU: FLOP/s of the work against the published dense peak. Of a step of decode: what its bytes take at the "
        "published bandwidth, its FLOPs at that peak, and neither; – where no peak is known.",
        *(f"- Not measured: {each}" for each in report["missing"]),
    ]
    bases = {_place(each): each for name in (AGAIN, BASE) for each in measured if _factor(each) == name}
    return "\n".join([*lines, "", table(HEAD, [_row(each, bases.get(_place(each))) for each in measured])])


def _row(measurement: Json, base: Json | None) -> list[str]:
    metrics = measurement["metrics"]
    joules, rate, weights = (metrics[key] for key in ("joules_per_token", "tokens_per_second", "weights_bytes"))
    interval = "" if joules["low"] is None else f" ({joules['low']:.4g} … {joules['high']:.4g})"
    rounds = [round_ for cycle in measurement["cycles"] for round_ in cycle["rounds"]]
    return [
        _model(measurement),
        _place(measurement)[1][4:12] or "–",
        _factor(measurement),
        _number(joules["value"]) + interval,
        _ratio(measurement, base, "joules_per_token"),
        _number(rate["value"]),
        _ratio(measurement, base, "tokens_per_second"),
        _number(None if weights["value"] is None else weights["value"] / 2**30),
        f"{sum(round_['valid'] for round_ in rounds)}/{len(rounds)}",
        *(percent(metrics[key]["value"], 0) for key in SHARES),
        _observed(measurement["engine"]["observed"]),
    ]


def _model(measurement: Json) -> str:
    return str(measurement["engine"]["requested"]["model"])


def _place(measurement: Json) -> tuple[str, str]:
    """The model, and the GPU that it was measured on (UUID; empty without any)."""
    return _model(measurement), next((gpu for cycle in measurement["cycles"] for gpu in cycle["gpus"]), "")


def _factor(measurement: Json) -> str:
    """What was asked beside the base: `quantization=4bit`, `float32, tf32=True`."""
    requested = measurement["engine"]["requested"]
    precision = [] if requested["precision"] == "bfloat16" else [requested["precision"]]
    options = {name: value for name, value in requested["options"].items() if (name, value) != ("use_cache", True)}
    return ", ".join([*precision, *(f"{name}={value}" for name, value in options.items())]) or BASE


def _observed(observed: Json) -> str:
    read = [f"{name}={observed['options'][name]}" for name in READ]
    layers = " + ".join(f"{count} {kind}" for kind, count in observed["linear_layers"].items())
    return "; ".join([observed["precision"], *read, layers])


def _ratio(measurement: Json, base: Json | None, key: str) -> str:
    values = [each["metrics"][key]["value"] if each else None for each in (measurement, base)]
    return "–" if None in values else f"{values[0] / values[1]:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
