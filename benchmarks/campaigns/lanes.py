"""A deployment matrix on one worker a GPU: who measured what where, a worker killed half way, what two GPUs gain.

    python benchmarks/campaigns/lanes.py --out DIR [--only killed|speed|waiting] [PYTEST OPTION …]

`killed` runs benchmarks/test_matrix.py with `-n auto`, kills a worker when half of the tests have measured, and
continues the run; `speed` runs items of equal length (benchmarks/campaigns/equal.py) on one worker and on all;
`waiting` starts a second run on the GPU that a first one holds. Options of pytest's take the place of our own. Writes
DIR/lanes.json as values come; `benchmarks/evidence.py` makes the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.engines.asked import boards, by_uuid
from benchmarks.figures import table
from benchmarks.graphwork.results import Results

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
SHORT = ["--lem-model=synthetic:llama-3.2-1b", "--lem-rounds=4", "--lem-round-seconds=1"]
# Shuffled by this seed, each of two lanes has one engine of vLLM's and one of PyTorch's, and as few starts as grouped.
MATRIX = [
    "--lem-backend=pytorch,vllm",
    "--lem-batch=1,8",
    "--lem-cycles=2",
    "--lem-order=shuffled",
    "--lem-seed=5",
    *SHORT,
]
ALONE = ["--lem-backend=pytorch", "--lem-precision=bfloat16", "--lem-batch=8", *SHORT]
LIMIT_S = 900.0
NS = 1e9


def pytest_run(results: Path, *options: str, tests: str = "test_matrix.py") -> list[str]:
    """The command of one run."""
    base = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", f"benchmarks/{tests}"]
    return [*base, f"--lem-results={results}", *options]


def measured(results: Path) -> list[Json]:
    """Every whole measurement of the newest run, with the worker that wrote it."""
    found = []
    for path in sorted(results.glob("runs/*/samples-*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        for line in (each["measurement"] for each in lines if each["event"] == "measurement"):
            (cycle,) = line["cycles"]
            found.append(
                {
                    "test": line["test"].rpartition("[")[2].rstrip("]"),
                    "worker": path.stem.removeprefix("samples-"),
                    "gpus": cycle["gpus"],
                    "launch": cycle["launch"],
                    "stopped": cycle["stopped"],
                    "seconds": cycle["seconds"],
                    "load_s": cycle["load_seconds"],
                }
            )
    return found


def all_measure(results: Path) -> bool:
    """Whether every worker that has measured warms up for its next now: the one that is killed loses what it runs."""
    newest = [path.read_text().splitlines() for path in sorted(results.glob("runs/*/samples-*.jsonl"))]
    return bool(newest) and all(lines and '"phase": "warmup"' in lines[-1] for lines in newest)


def workers(pytest: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes of the workers: pytest's own children that live."""
    children = psutil.Process(pytest.pid).children()
    return [each for each in children if each.status() != psutil.STATUS_ZOMBIE]


def killed(results: Results, folder: Path, options: Sequence[str]) -> None:
    """Run the matrix, kill a worker half way, continue the run."""
    command = pytest_run(folder, "-n", "auto", *(options or MATRIX))
    planned = _planned(command)
    first: Json = {"planned": planned}
    began = time.monotonic()
    with (folder.parent / "killed.log").open("wb") as log:
        pytest = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while pytest.poll() is None and time.monotonic() - began < LIMIT_S:
            if "killed_after" not in first and len(measured(folder)) >= planned / 2 and all_measure(folder):
                here = workers(pytest)
                first |= {"killed_after": len(measured(folder)), "workers": len(here)}
                here[0].kill()
                results.log(f"killed a worker after {first['killed_after']} of {planned}")
            time.sleep(0.2)
    first |= {"exit": pytest.wait(), "seconds": time.monotonic() - began, "measured": measured(folder)}
    results.data["killed"] = {"first": first}
    results.write()
    began = time.monotonic()
    with (folder.parent / "resumed.log").open("wb") as log:
        done = subprocess.run(
            [*command, "--lem-resume", "--lem-retry-failed"],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    report = json.loads(next(folder.glob("runs/*/report.json")).read_text())
    results.data["killed"]["resumed"] = {
        "exit": done.returncode,
        "seconds": time.monotonic() - began,
        "measured": measured(folder),
        "missing": report["missing"],
        "complete": report["run"]["complete"],
        "experiments": len(report["measurements"]),
        "cycles": sum(len(measurement["cycles"]) for measurement in report["measurements"]),
    }
    results.write()


def _planned(command: Sequence[str]) -> int:
    """How many tests the run has."""
    done = subprocess.run([*command, "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found := sum(line.startswith("benchmarks/") for line in done.stdout.splitlines()):
        return found
    raise RuntimeError(f"pytest (exit {done.returncode}) collects no test: {(done.stderr or done.stdout)[-1000:]}")


def speed(results: Results, folder: Path, options: Sequence[str]) -> None:
    """The same items of equal length on one worker and on all."""
    rows = results.data["speed"] = []
    for name in ("1", "auto"):
        place = folder / name
        began = time.monotonic()
        with (folder.parent / f"speed-{name}.log").open("wb") as log:
            command = pytest_run(place, "-n", name, *options, tests="campaigns/equal.py")
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        found = measured(place)
        seconds = time.monotonic() - began
        gpus = sorted({gpu for each in found for gpu in each["gpus"]})
        used = len({each["worker"] for each in found})
        rows.append({"n": name, "workers": used, "gpus": gpus, "exit": done.returncode, "cycles": len(found)})
        rows[-1] |= {"seconds": seconds, "cycles_per_hour": 3600 * len(found) / seconds, "measured": found}
        results.log(f"-n {name}: {used} worker(s), {len(found)} cycles in {seconds:.0f} s, exit {done.returncode}")
        results.write()


def waiting(results: Results, folder: Path, options: Sequence[str]) -> None:
    """A run on one GPU, and a second one that is started on it while the first starts its engine."""
    gpu = next(iter(each["uuid"] for each in results.data["gpus"]), "")
    began = time.monotonic()
    with ExitStack() as stack:
        runs = {}
        for name in ("first", "second"):
            log = stack.enter_context((folder.parent / f"waiting-{name}.log").open("wb"))
            command = pytest_run(folder / name, *(options or ALONE))
            runs[name] = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu}, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(runs[name].terminate)  # an ended one does not mind
            while not any(folder.glob("first/runs/*/logs/*.log")) and runs["first"].poll() is None:
                time.sleep(0.1)
        first, second = [
            {"pid": run.pid, "exit": run.wait(LIMIT_S), **_spans(folder / name)} for name, run in runs.items()
        ]
    said = (folder.parent / "waiting-second.log").read_text(errors="replace")
    told = next((line.strip() for line in said.splitlines() if "waiting for" in line), "")
    second["told"] = re.sub(r"--lem-results=[^\s`]*", "--lem-results=DIR", told) or None
    results.data["waiting"] = {"seconds": time.monotonic() - began, "first": first, "second": second}
    results.write()


def _spans(results: Path) -> Json:
    """When a run's windows began and ended (s, the host's monotonic clock), and on which GPUs."""
    found = next(results.glob("runs/*/report.json"), None)
    if found is None:
        raise RuntimeError(f"the {results.name} run left no report; its log says why")
    (cycle,) = (cycle for each in json.loads(found.read_text())["measurements"] for cycle in each["cycles"])
    rounds = [*cycle["warmup_rounds"], *cycle["rounds"]]
    return {"gpus": cycle["gpus"], "began_s": rounds[0]["start_ns"] / NS, "ended_s": rounds[-1]["end_ns"] / NS}


def render(data: Json) -> str:
    """The evidence page's generated part."""
    lines = [f"- {by_uuid(data['gpus'])}.", f"- Errors on the way: {'; '.join(data['errors']) or 'none'}."]
    if "killed" in data:
        lines += _killed_lines(data["killed"])
    if "speed" in data:
        one, many = data["speed"]
        gain = many["cycles_per_hour"] / one["cycles_per_hour"]
        lines += [
            "",
            f"Equal items: {many['workers']} workers measure ×{gain:.2f} as many cycles an hour as one.",
            "",
            table(
                ["`-n`", "workers", "GPUs", "cycles", "s", "cycles an hour"],
                [
                    [
                        each["n"],
                        *(str(count) for count in (each["workers"], len(each["gpus"]), each["cycles"])),
                        *(f"{each[name]:.0f}" for name in ("seconds", "cycles_per_hour")),
                    ]
                    for each in data["speed"]
                ],
            ),
        ]
        lines += _items(data["speed"])
    if "waiting" in data:
        lines += ["", *_waiting_lines(data["waiting"])]
    return "\n".join(lines)


def _items(runs: Sequence[Json]) -> list[str]:
    """What each item took in each run, where the run kept it."""
    items = [(run["n"], each) for run in runs for each in run.get("measured", ())]
    rows = [
        [name, each["test"], ", ".join(gpu[:12] for gpu in each["gpus"]) or "–", each["launch"]]
        + [f"{each[key]:.1f}" for key in ("load_s", "seconds")]
        for name, each in items
    ]
    return ["", table(["`-n`", "test", "GPU", "engine's process", "load s", "s"], rows)] if rows else []


def _waiting_lines(data: Json) -> list[str]:
    first, second = data["first"], data["second"]
    free = second["began_s"] - first["ended_s"]
    return [
        f"A second run on {', '.join(second['gpus']) or 'the same GPU'} while the first (PID {first['pid']}) held it "
        f"said: ``{second['told']}``. Its first window began {free:.1f} s after the first run's last one had ended; "
        f"exits {first['exit']} and {second['exit']}."
    ]


def _killed_lines(data: Json) -> list[str]:
    first, then = data["first"], data["resumed"]
    often = Counter(each["test"] for each in then["measured"])
    twice = sorted(test for test, count in often.items() if count > 1)
    return [
        f"- First run: {first['planned']} tests on {first.get('workers', 0)} workers, one of them killed after "
        f"{first.get('killed_after', 0)} had measured; exit {first['exit']}, {len(first['measured'])} measured in "
        f"{first['seconds']:.0f} s.",
        f"- Continued: exit {then['exit']} after {then['seconds']:.0f} s, {then['experiments']} experiments with "
        f"{then['cycles']} cycles in the report, {'complete' if then['complete'] else 'incomplete'}, "
        f"{len(then['missing'])} missing; measured twice: {', '.join(twice) or 'none'}.",
        "",
        table(
            ["test", "worker", "GPU", "engine's process", "load s", "s", "ended"],
            [
                [
                    each["test"],
                    each["worker"],
                    ", ".join(gpu[:12] for gpu in each["gpus"]) or "–",
                    each["launch"],
                    *(f"{each[name]:.1f}" for name in ("load_s", "seconds")),
                    each["stopped"],
                ]
                for each in sorted(then["measured"], key=lambda each: each["test"])
            ],
        ),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for lanes.json")
    parser.add_argument("--only", choices=["killed", "speed", "waiting"])
    asked, options = parser.parse_known_args(argv)
    from pytest_lem.meters.nvml import visible_gpus

    asked.out.mkdir(parents=True, exist_ok=True)
    results = Results(asked.out / "lanes.json", "One worker a GPU", gpus=boards(visible_gpus(os.environ)))
    for name, part in (("killed", killed), ("speed", speed), ("waiting", waiting)):
        if asked.only in (None, name):
            (asked.out / name).mkdir(exist_ok=True)
            part(results, asked.out / name, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
