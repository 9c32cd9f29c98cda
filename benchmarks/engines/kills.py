"""SIGKILL of pytest at each step of an engine's life: is a process left, and is the GPU's memory free again?

    python benchmarks/engines/kills.py --out DIR [--backend vllm] [--model synthetic:tiny]

A pytest run of one measurement is started for each step, killed when the step is reached, and looked at for ten
seconds. Writes DIR/kills.json as values come; `benchmarks/evidence.py` makes the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engines.asked import boards, named, parser
from benchmarks.figures import table
from benchmarks.graphwork.results import Results

Json = dict[str, Any]
LIMIT_S = 240.0
WATCHED_S = 10.0
TEST = """import pytest

@pytest.mark.lem({keywords})
def test_killed(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def logged(results: Path, *words: str) -> bool:
    """Whether an engine's log holds one of the words; with none, whether there is a log."""
    texts = [path.read_text(errors="replace") for path in results.glob("runs/*/logs/*.log")]
    return any(not words or word in text for text in texts for word in words or ("",))


def sampled(results: Path, phase: str) -> bool:
    """Whether a round of the phase was written down."""
    lines = (line for path in results.glob("runs/*/samples-*.jsonl") for line in path.read_text().splitlines())
    return any(json.loads(line).get("phase") == phase for line in lines)


STEPS: dict[str, Callable[[Path], bool]] = {
    "load": lambda results: logged(results),
    "engine's core starts": lambda results: logged(results, "Initializing a V1 LLM engine", "Loading model"),
    "compile": lambda results: logged(results, "torch.compile", "Dynamo bytecode"),
    "warm-up": lambda results: sampled(results, "warmup"),
    "round": lambda results: sampled(results, "round"),
}


def one_kill(step: str, test: Path, results: Path, used: Callable[[], int]) -> Json:
    """Run pytest, kill it at `step`, and tell what is left (processes of its tree, bytes in use) and for how long."""
    before = used()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(test), f"--lem-results={results}"]
    pytest = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    try:
        while pytest.poll() is None and time.monotonic() - began < LIMIT_S:
            if STEPS[step](results) and descendants(pytest):  # an engine's log is there before its process
                break
            time.sleep(0.1)
        reached = STEPS[step](results) and pytest.poll() is None
        held, tree = used(), descendants(pytest)
    finally:
        pytest.kill()
        killed = time.monotonic()
        pytest.wait()
    # Engines begin sessions of their own, so what was started after the look is known by its session.
    sessions = {session(process.pid) for process in tree} - {os.getsid(0), None}
    gone = left_after(lambda: bool(living(tree, sessions)), killed)
    freed = left_after(lambda: used() - before > 64 * 2**20, killed)
    return {
        "step": step,
        "reached": reached,
        "after_s": killed - began,
        "processes": len(tree),
        "held": held,
        "processes_gone_s": gone,
        "memory_free_s": freed,
        "processes_left": len(living(tree, sessions)),
        "left_bytes": used() - before,
    }


def descendants(parent: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes under `parent` that can be seen now."""
    return psutil.Process(parent.pid).children(recursive=True) if parent.poll() is None else []


def session(pid: int) -> int | None:
    """The session of a process; None where it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def living(tree: Sequence[psutil.Process], sessions: set[int | None]) -> set[int]:
    """Those of the tree, and of its sessions, that still execute."""
    found = {process.pid for process in tree if alive(process)}
    return found | {each.pid for each in psutil.process_iter() if session(each.pid) in sessions and alive(each)}


def alive(process: psutil.Process) -> bool:
    """Whether a process still executes."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def left_after(still: Callable[[], bool], since: float) -> float | None:
    """Seconds since `since` until it is so no more; None where it still is after WATCHED_S."""
    while time.monotonic() - since < WATCHED_S:
        if not still():
            return time.monotonic() - since
        time.sleep(0.05)
    return None


def render(data: Json) -> str:
    """The evidence page's generated part."""
    rows = [
        [
            row["step"] if row["reached"] else f"{row['step']} (not reached)",
            f"{row['after_s']:.1f}",
            str(row["processes"]),
            f"{row['held'] / 2**20:.0f}",
            _seconds(row["processes_gone_s"]),
            _seconds(row["memory_free_s"]),
            str(row["processes_left"]),
            f"{row['left_bytes'] / 2**20:.0f}",
        ]
        for row in data["kills"]
    ]
    head = ["killed at", "after s", "its processes", "MiB held", "processes gone s", "memory free s"]
    return "\n".join(
        [
            f"- {named(data['gpus'])}. Engine: {json.dumps(data['engine'])}.",
            f"- Errors on the way: {'; '.join(data['errors']) or 'none'}.",
            "",
            table([*head, "processes left", "MiB left"], rows),
        ]
    )


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, "kills.json", {"max_model_len": 2048})
    options.add_argument("--steps", default=",".join(STEPS), help="of " + ", ".join(STEPS))
    asked = options.parse_args(argv)
    from pytest_lem.meters.nvml import memory_used, visible_gpus

    gpus = visible_gpus(os.environ)[:1]
    engine = {"backend": asked.backend, "model": asked.model, "options": asked.options}
    facts = {"gpus": boards(gpus), "engine": engine, "kills": []}
    results = Results(asked.out / "kills.json", "SIGKILL of pytest at each step of an engine's life", **facts)
    keywords = f"backend={asked.backend!r}, model={asked.model!r}, batch=8, prompt_tokens=64, output_tokens=64"
    with tempfile.TemporaryDirectory() as made:
        test = Path(made) / "test_killed.py"
        test.write_text(TEST.format(keywords=f"{keywords}, {asked.backend}={asked.options!r}"))
        for index, step in enumerate(asked.steps.split(",")):
            row = one_kill(step, test, Path(made) / str(index), lambda: sum(memory_used(uuid) for uuid in gpus))
            results.data["kills"].append(row)
            results.write()
            results.log(f"{step}: {row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
