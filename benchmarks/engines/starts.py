"""Engine starts and stops in a row: is the GPU's memory free again after each?

    python benchmarks/engines/starts.py --out DIR [--backend vllm] [--model synthetic:tiny] [--count 10]

Writes DIR/starts.json as values come; `benchmarks/evidence.py` makes the table.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engines.asked import boards, named, parser
from benchmarks.figures import table
from benchmarks.graphwork.results import Results

Json = dict[str, Any]
GOAL_MIB = 64
SETTLE_S = 2.0


def one_start(asked: Any, gpus: Sequence[str], used: Any, log: Path) -> Json:
    """Start, run once, stop; the memory in use (bytes, summed over GPUs) before, while, and after."""
    from pytest_lem.engines.host import Engine
    from pytest_lem.model.specs import WorkloadSpec

    before = used()
    engine = Engine.start(asked, gpus=gpus, log_path=log)
    try:
        engine.prepare(WorkloadSpec(batch=8, prompt_tokens=64, output_tokens=32))
        engine.run(1)
        held, pids = used(), len(engine.pids())
    finally:
        began = time.monotonic()
        engine.stop()
        stopped = time.monotonic() - began
    at_once = used()
    time.sleep(SETTLE_S)
    return {
        "versions": engine.observed["versions"],
        "load_s": engine.load_seconds,
        "stop_s": stopped,
        "processes": pids,
        "before": before,
        "held": held,
        "at_once": at_once,
        "after": used(),
    }


def render(data: Json) -> str:
    """The evidence page's generated part."""
    rows = [
        [str(index + 1), f"{row['load_s']:.1f}", f"{row['stop_s']:.1f}", str(row["processes"])]
        + [f"{row[name] / 2**20:.0f}" for name in ("before", "held", "at_once", "after")]
        for index, row in enumerate(data["starts"])
    ]
    first = data["starts"][0]["before"]
    worst = max(row["after"] - first for row in data["starts"]) / 2**20
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items() if version)
    return "\n".join(
        [
            f"- {named(data['gpus'])}; {versions}. Engine: {json.dumps(data['engine'])}.",
            f"- Memory in use after a stop, less that before the first start: {worst:.0f} MiB at most "
            f"(goal {GOAL_MIB}).",
            f"- Errors on the way: {'; '.join(data['errors']) or 'none'}.",
            "",
            table(
                ["start", "load s", "stop s", "processes", "MiB before", "held", "as stop returns", "2 s later"], rows
            ),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, "starts.json", {"enforce_eager": True, "max_model_len": 2048})
    options.add_argument("--count", type=int, default=10)
    asked = options.parse_args(argv)
    from pytest_lem.engines import registry
    from pytest_lem.meters.nvml import memory_used, visible_gpus
    from pytest_lem.model.specs import EngineSpec

    spec = registry.validate(EngineSpec(backend=asked.backend, model=asked.model, options=asked.options))
    gpus = visible_gpus(os.environ)[: spec.gpus]
    facts = {"gpus": boards(gpus), "engine": spec.model_dump(exclude={"python"}), "starts": []}
    results = Results(asked.out / "starts.json", "Engine starts and stops in a row", **facts)
    for index in range(asked.count):
        row = one_start(spec, gpus, lambda: sum(memory_used(uuid) for uuid in gpus), asked.out / f"start-{index}.log")
        results.data["versions"] = row.pop("versions")
        results.data["starts"].append(row)
        results.write()
        results.log(f"start {index + 1}: {row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
