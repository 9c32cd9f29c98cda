"""How long `lem results` takes over ten thousand runs: whole processes, from the start of Python to its end.

    python benchmarks/results/speed.py --out docs/evidence

The runs are simulated and lie on disk as real ones do, two configurations of eight rounds in each. Their files are in
the system's page cache, as it was them that have just been written; what is measured with an index that is up to date,
and what without, is said.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.figures import quantile, table
from benchmarks.pages.simulated import BEGAN, report
from pytest_lem.model.environment import Checkout
from pytest_lem.store.environment import collect_environment
from pytest_lem.store.files import to_json

Json = dict[str, Any]
RUNS = 10_000
VARIANTS = 40
TIMES = 15
GOALS = {
    "list": ("listing the newest of them", 1.0),
    "list-all": ("listing all of them", 1.0),
    "compare": ("comparing two", 0.5),
}
HELP = ("`lem --help`", 0.3)
COMMANDS = {
    "list": ["list"],
    "list-all": ["list", "--limit", "0"],
    "list-configurations": ["list", "--configurations", "--limit", "0", "--model", "1b", "--sort", "joules_per_token"],
    "list-json": ["list", "--limit", "0", "--json"],
    "compare": ["compare", "{first}", "{second}"],
    "compare-configurations": ["compare", "b1", "b2"],
    "show": ["show"],
}


def name(number: int) -> str:
    began = BEGAN + timedelta(hours=number)
    return f"{began:%Y%m%dT%H%M%S}000Z-{number:06x}"


def write(results: Path, numbers: Sequence[int]) -> int:
    """Write the runs of these numbers, and return how many bytes that is."""
    drawn = [report(2, 1, days=day, dearer=1 + day / 500) for day in range(VARIANTS)]
    size = 0
    for number in numbers:
        found = drawn[number % VARIANTS]
        began = BEGAN + timedelta(hours=number)
        git = Checkout(commit=f"{number:040x}", branch=("main", "tuning")[number % 5 == 0])
        told = found.model_copy(
            update={
                "run": found.run.model_copy(
                    update={"id": name(number), "started": began, "ended": began + timedelta(minutes=40)}
                ),
                "environment": found.environment.model_copy(update={"git": git}),
            }
        )
        folder = results / "runs" / name(number)
        folder.mkdir(parents=True)
        text = to_json(told, indent=1)
        (folder / "report.json").write_text(text, encoding="utf-8")
        size += len(text)
    return size


def timed(results: Path, words: Sequence[str]) -> tuple[float, int]:
    """Seconds of the whole process, and how many lines it wrote."""
    command = [sys.executable, "-m", "pytest_lem.cli", "results", words[0], "--results", str(results), *words[1:]]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout.count("\n")


def measured(results: Path, runs: int, times: int) -> Json:
    """What each command takes over an index that is up to date."""
    ends = {"first": name(0), "second": name(runs - 1)}
    found: Json = {}
    for key, words in COMMANDS.items():
        asked = [word.format(**ends) for word in words]
        seconds, lines = zip(*(timed(results, asked) for _ in range(times)), strict=True)
        found[key] = {"command": " ".join(["lem results", *asked]), "seconds": list(seconds), "lines": lines[-1]}
    return found


def render(data: Json) -> str:
    """Markdown: each command's median and worst, and the goals."""
    commands = data["commands"]
    rows = [
        [f"`{each['command']}`", f"{each['lines']:,}", _told(each["seconds"]), f"{max(each['seconds']):.2f} s"]
        for each in commands.values()
    ]
    goals = [
        [
            f"{what} ≤ {limit:g} s, the worst of {len(commands[key]['seconds'])}",
            f"{max(commands[key]['seconds']):.2f} s",
        ]
        for key, (what, limit) in GOALS.items()
    ]
    goals.append([f"{HELP[0]} ≤ {HELP[1]:g} s, the worst of {len(data['python_s'])}", f"{max(data['python_s']):.2f} s"])
    start, first, fresh = data["python_s"], data["first_s"], data["one_more_s"]
    said = (
        f"{data['machine']}. {data['runs']:,} runs, {data['bytes'] / 1e6:,.0f} MB of reports with two configurations "
        f"each. The index is up to date (warm) and {data['index_bytes'] / 1e6:.1f} MB large; each time is that of a "
        f"whole process, of which `lem --help` takes {_told(start)}."
    )
    once = table(
        ["what is paid once", "seconds"],
        [
            [f"the index, made from the files of {data['runs']:,} runs (cold: there is none)", _told(first)],
            ["the next list after one new run", _told(fresh)],
        ],
    )
    heads = ["command", "lines", "median", "worst"]
    return "\n\n".join([said, table(heads, rows), table(["goal", "reached"], goals), once])


def _told(values: Sequence[float]) -> str:
    return f"{quantile(list(values), 0.5):.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("--runs", type=int, default=RUNS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / ".lem"
        size = write(results, range(asked.runs))
        first = [timed(results, ["rebuild"])[0] for _ in range(3)]
        commands = measured(results, asked.runs, asked.times)
        one_more = []
        for number in range(asked.runs, asked.runs + 5):
            write(results, [number])
            one_more.append(timed(results, ["list"])[0])
        index_bytes = (results / "runs" / "index.sqlite").stat().st_size
    found = {
        "title": "`lem results` over ten thousand runs",
        "command": "python benchmarks/results/speed.py --out docs/evidence",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{collect_environment().cpu}, Python {platform.python_version()}",
        "runs": asked.runs,
        "bytes": size,
        "index_bytes": index_bytes,
        "python_s": [_help() for _ in range(asked.times)],
        "first_s": first,
        "one_more_s": one_more,
        "commands": commands,
    }
    (asked.out / "results-index.json").write_text(json.dumps(found, indent=1) + "\n")


def _help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest_lem.cli", "--help"], capture_output=True, check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
