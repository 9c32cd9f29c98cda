"""Our times of requests beside those of vLLM's own benchmark: in one run, and in runs apart on the same schedule.

    python benchmarks/reference/run.py --out DIR [--pairs 6] [--qps 1] [--requests 30] …

wants vLLM and pytest-lem in one environment (tox's `vllm`), and a machine that does nothing else. Writes
DIR/reference-vllm.json: `same` as `same_run.py` prints it, and `pairs` of runs in turn, of our served engine and of
`vllm bench serve`'s code against `vllm serve` on loopback. `benchmarks/evidence.py` makes the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.reference.loopback import bench, server
from benchmarks.reference.metrics import Settings, our_metrics
from pytest_lem.engines.dispatch import dispatch_fault
from pytest_lem.engines.host import Engine

Json = dict[str, Any]
NAME = "reference-vllm.json"


def same_run(settings: Settings) -> Json:
    """One run timed twice, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("same_run.py")), *settings.arguments()]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Json = json.loads(done.stdout.splitlines()[-1])
    del found["requests"], found["middle"]
    return found


def ours(engine: Engine, settings: Settings) -> Json:
    """One run of our served engine; whether its requests were sent in time."""
    result = engine.run(1, hooks=True)
    fault = dispatch_fault(result.request_times, engine.work)
    return {**our_metrics(result.request_times, result.seconds, settings.slo), "dispatch": fault}


def pairs(settings: Settings, count: int, folder: Path) -> list[Json]:
    """Runs in turn, after one of each that nobody counts; every other pair begins with vLLM's."""
    engine = Engine.start(settings.engine(), gpus=(), log_path=folder / "engine.log")
    try:
        engine.prepare(settings.workload())
        work = engine.work
        with server(settings, folder / "serve.log") as url:
            runs: dict[str, Callable[[], Json]] = {
                "ours": lambda: ours(engine, settings),
                "vllm": lambda: bench(url, work, settings.slo),
            }
            found = []
            for number in range(count + 1):
                order = list(runs) if number % 2 else list(runs)[::-1]
                found.append({name: runs[name]() for name in order})
            return found[1:]
    finally:
        engine.stop()


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=6)
    given, rest = parser.parse_known_args()
    settings = Settings.parsed(argparse.ArgumentParser(), rest)
    told = " ".join(settings.arguments())
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "title": "Times of requests, beside vLLM's own benchmark",
            "command": f"python benchmarks/reference/run.py --out docs/evidence --pairs {given.pairs} {told}",
            "date": time.strftime("%Y-%m-%d"),
            "settings": vars(settings) | {"options": settings.engine().options},
            "same": same_run(settings),
            "pairs": pairs(settings, given.pairs, Path(folder)),
        }
    (given.out / NAME).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
