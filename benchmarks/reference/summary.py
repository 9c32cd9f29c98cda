"""The table of our times beside those of vLLM's own benchmark."""

from __future__ import annotations

import json
from statistics import median
from typing import Any

from benchmarks.figures import paired_cost, percent, span, table

Json = dict[str, Any]


def render(data: Json) -> str:
    """The evidence page's generated part."""
    same, pairs, asked = data["same"], data["pairs"], data["settings"]
    worst = max(abs(_difference(same["ours"][key], same["vllm"][key])) for key in same["ours"])
    formulas = max(abs(_difference(same["ours"][key], same["formulas"][key])) for key in same["ours"])
    late = sum(pair["ours"]["dispatch"] is not None for pair in pairs)
    versions = ", ".join(f"{name} {version}" for name, version in same["versions"].items() if version)
    rows = [[key, *_same(same, key), *_apart(pairs, key)] for key in same["ours"]]
    return "\n".join(
        [
            f"- {versions}. {asked['model']} in {asked['precision']} on a CPU: a Poisson process of {asked['qps']:g} "
            f"requests/s, {asked['requests']} requests of {asked['prompt_tokens']} prompt and "
            f"{asked['output_tokens']} output tokens. Options: {json.dumps(asked['options'])}.",
            f"- One run, timed by us (the engine core's stamps) and as vLLM's benchmark times a response: "
            f"{percent(worst)} apart at most (goal 2 %). vLLM's formulas on our stamps: {percent(formulas)} at most.",
            f"- {len(pairs)} pairs of runs apart on one schedule: our served engine, and `vllm bench serve`'s code "
            f"against `vllm serve` on loopback, in turn. Runs with requests sent too late: {late}.",
            f"- A good request: {_bounds(asked['slo'])}.",
            "",
            table(
                ["metric", "ours", "vLLM's", "same run", "ours, median", "vLLM's, median", "runs apart (95 %)"], rows
            ),
        ]
    )


def _bounds(slo: dict[str, float]) -> str:
    return ", ".join(f"{name} ≤ {bound:g} ms" for name, bound in slo.items())


def _difference(ours: float, theirs: float) -> float:
    return ours / theirs - 1 if theirs else float(ours != 0)


def _same(same: Json, key: str) -> list[str]:
    mine, theirs = same["ours"][key], same["vllm"][key]
    return [f"{mine:.4g}", f"{theirs:.4g}", percent(_difference(mine, theirs))]


def _apart(pairs: list[Json], key: str) -> list[str]:
    mine, theirs = ([pair[name][key] for pair in pairs] for name in ("ours", "vllm"))
    apart = span(paired_cost(mine, theirs)) if min(*mine, *theirs) > 0 else "–"  # no request was good
    return [f"{median(mine):.4g}", f"{median(theirs):.4g}", apart]
