"""What the plugin costs: a run that does not use it (import, start-up, collection), and a matrix of many items."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.graphwork.results import Results, versions

PLUGIN = "pytest_lem.plugin"
FORBIDDEN = ("torch", "numpy", "pydantic", "pynvml", "yaml")
ITEMS = 10_000
_ONE_TEST = "def test_nothing():\n    assert True\n"
_MANY_TESTS = f"import pytest\n\n@pytest.mark.parametrize('n', range({ITEMS}))\ndef test_one(n):\n    assert True\n"
_MATRIX = """
import pytest

@pytest.mark.lem(precision=["fp32", "bf16"], batch={"min": 1, "max": 50, "num": 50},
                 prompt_tokens={"min": 16, "max": 160, "num": 10}, cycles=10)
def test_one(lem_backend, lem_workload, lem_energy):
    assert lem_energy.measure(lem_backend, lem_workload)
"""
_TELL_MODULES = """
import json, os, sys

def pytest_unconfigure():
    with open(os.environ["LOADED"], "w") as out:
        json.dump(sorted(sys.modules), out)
"""
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")


def pytest_command(folder: Path, *more: str, plugin: bool) -> list[str]:
    """A run of pytest on `folder` with our plugin or without, and with no other."""
    chosen = ["-p", PLUGIN] if plugin else []
    return [*more, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *chosen, str(folder)]


def run(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter; raises RuntimeError with the output's end when it fails."""
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "", **environment}
    env.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
    return done


def timed(arguments: Sequence[str]) -> dict[str, float]:
    """Wall and CPU seconds of one run; the latter stay sharp on a machine that others use too."""
    began, cpu = time.monotonic(), _children_cpu()
    run(arguments)
    return {"wall_s": time.monotonic() - began, "cpu_s": _children_cpu() - cpu}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pairs(results: Results, name: str, folder: Path, count: int, *more: str, plain: Path | None = None) -> None:
    """`count` pairs of runs with and without the plugin, in the order ABBA, after one of each that warms the disk.

    The run without it is of the folder `plain`, where that is another.
    """
    places = {True: folder, False: plain or folder}
    kept = results.data[name] = []
    for index in range(-1, count):
        found: dict[str, Any] = {}
        for plugin in (True, False) if index % 2 else (False, True):
            found["with" if plugin else "without"] = timed([*pytest_command(places[plugin], plugin=plugin), *more])
        if index >= 0:
            kept.append(found)
            told = (f"{seconds['wall_s']:.3f} s {which}" for which, seconds in sorted(found.items()))
            results.log(f"{name} {index + 1}: {', '.join(told)}")
    results.write()


def import_microseconds(report: str, package: str) -> int:
    """What `package` and all it imports first took, from the report of `python -X importtime`.

    Lines come as imports end, an importer after what it imported, indented less: read backwards, a line that is deeper
    than one of ours belongs to it and is already counted there.
    """
    total, inside = 0, -1
    for line in reversed(report.splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        depth, name = len(match[3]), match[4]
        if inside >= 0 and depth > inside:
            continue
        inside = -1
        if name == package or name.startswith(f"{package}."):
            total, inside = total + int(match[2]), depth
    return total


def loaded(folder: Path, *, plugin: bool) -> set[str]:
    """Top-level modules that a run of one test has loaded at its end."""
    (folder / "conftest.py").write_text(_TELL_MODULES)
    out = folder / "loaded.json"
    run(pytest_command(folder, plugin=plugin), LOADED=str(out))
    (folder / "conftest.py").unlink()
    return {name.partition(".")[0] for name in json.loads(out.read_text())}


def measure(results: Results, starts: int, collections: int) -> None:
    """Fill `results`: import times, paired runs of one test, paired collections of `ITEMS` items, modules loaded.

    The last pairs collect, order and plan a matrix of `ITEMS` experiments, beside as many parameters of a plain test.
    """
    results.data.update(
        host=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        packages=versions("pytest"),
        items=ITEMS,
        forbidden=list(FORBIDDEN),
    )
    with tempfile.TemporaryDirectory() as made:
        one, many, matrix = (Path(made) / name for name in ("one", "many", "matrix"))
        for folder, text in ((one, _ONE_TEST), (many, _MANY_TESTS), (matrix, _MATRIX)):
            folder.mkdir()
            (folder / f"test_{folder.name}.py").write_text(text)
        results.data["forbidden_loaded"] = sorted(loaded(one, plugin=True) & set(FORBIDDEN))
        pairs(results, "startup", one, starts)
        reports = [run(pytest_command(one, "-X", "importtime", plugin=True)).stderr for _ in range(5)]
        results.data["importtime_us"] = [import_microseconds(report, "pytest_lem") for report in reports]
        results.log(f"import of the plugin: {results.data['importtime_us']} µs")
        pairs(results, "collection", many, collections, "--collect-only")
        pairs(results, "matrix", matrix, collections, "--collect-only", plain=many)
