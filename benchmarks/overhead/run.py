"""What measuring costs: metering on a GPU, and the plugin in a pytest run that does not use it.

    python benchmarks/overhead/run.py --out DIR [--only gpu|startup] [--pairs 16] [--seconds 4]
    python benchmarks/overhead/run.py --out DIR --only engine --backend vllm --model synthetic:llama-3.1-8b --batch 256
    python benchmarks/overhead/run.py --out DIR --only telemetry

Writes DIR/overhead-gpu.json (where there is a GPU) and DIR/overhead-startup.json, or DIR/overhead-engine.json, or
DIR/overhead-telemetry.json; `benchmarks/evidence.py` makes the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.graphwork.results import Results
from benchmarks.overhead import startup


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--only", choices=["gpu", "startup", "engine", "telemetry"], help="one part alone")
    parser.add_argument("--pairs", type=int, default=16, help="pairs of GPU windows")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a GPU window")
    parser.add_argument("--starts", type=int, default=20, help="pairs of pytest runs of one test")
    parser.add_argument("--collections", type=int, default=5, help="pairs of collections of 10,000 items")
    parser.add_argument("--backend", help="the engine of --only engine (default: vllm) or telemetry (pytorch)")
    parser.add_argument("--model", default="synthetic:llama-3.2-1b", help="its model")
    parser.add_argument("--options", type=json.loads, default={}, help="its options, as JSON")
    parser.add_argument("--until", type=float, default=200.0, help="seconds that all of --only telemetry takes, about")
    parser.add_argument("--batch", type=int, help="its requests a pass (default: 256; telemetry: 32)")
    return parser.parse_args(argv)


def attempt(results: Results, measure: Callable[[], None]) -> bool:
    """Run one half; an error is kept in its results, and the other half still runs."""
    try:
        measure()
    except Exception as error:  # noqa: BLE001 - told in the results and by the exit status
        results.fail("cut short", error)
        return False
    results.write()
    results.log(f"wrote {results.path}")
    return True


def gpu_half(asked: argparse.Namespace) -> bool:
    from benchmarks.overhead import gpu  # NVML is asked only on a machine that has it

    results = Results(asked.out / "overhead-gpu.json", "What metering costs on a GPU")
    return attempt(results, lambda: gpu.measure(results, asked.seconds, asked.pairs))


def engine_part(asked: argparse.Namespace) -> bool:
    from benchmarks.overhead import engine  # pydantic and the engines are not needed by the other parts
    from pytest_lem.model.specs import EngineSpec, WorkloadSpec

    results = Results(asked.out / "overhead-engine.json", "What metering costs an engine")
    spec = EngineSpec(backend=asked.backend or "vllm", model=asked.model, options=asked.options)
    work = WorkloadSpec(batch=asked.batch or 256, prompt_tokens=256, output_tokens=128)
    return attempt(results, lambda: engine.measure(results, spec, work, asked.seconds, asked.pairs))


def telemetry_part(asked: argparse.Namespace) -> bool:
    from benchmarks.overhead import telemetry
    from pytest_lem.model.specs import EngineSpec, WorkloadSpec

    results = Results(asked.out / "overhead-telemetry.json", "What telemetry costs")
    spec = EngineSpec(backend=asked.backend or "pytorch", model=asked.model, options=asked.options)
    work = WorkloadSpec(batch=asked.batch or 32, prompt_tokens=256, output_tokens=64)
    return attempt(results, lambda: telemetry.measure(results, spec, work, asked.until)) and not results.errors


def startup_half(asked: argparse.Namespace) -> bool:
    results = Results(asked.out / "overhead-startup.json", "What the plugin costs")
    return attempt(results, lambda: startup.measure(results, asked.starts, asked.collections))


def main(argv: Sequence[str] | None = None) -> int:
    asked = options(argv)
    parts = {"gpu": gpu_half, "startup": startup_half, "engine": engine_part, "telemetry": telemetry_part}
    wanted = [asked.only] if asked.only else ["gpu", "startup"]
    done = [parts[name](asked) for name in wanted]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
