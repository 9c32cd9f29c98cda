"""A campaign over several workers in tests: who ran what, on which GPUs, and workers that die when told to."""

from __future__ import annotations

import json

import pytest

CAMPAIGN = """
import pytest

FAKE = {"backend": "fake", "fake": {"token_seconds": 0.001}, "output_tokens": 4, "cycles": 2}

def test_first():
    pass

@pytest.mark.lem(precision=["bf16", "fp16"], batch=[1, 8], **FAKE)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)

def test_last():
    pass
"""
EXPERIMENTS = [
    f"test_decode[fake-{precision}-b{batch}-c{cycle}]"
    for precision in ("bf16", "fp16")
    for cycle in (0, 1)
    for batch in (1, 8)
]
CONFTEST = """
import os, signal
from pathlib import Path
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lem(warmup_rounds=1, warmup_seconds=0))

def note(name, *words):
    with open(Path(__file__).parent / name, "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

def maybe_die(item, step):
    told = Path(__file__).parent / "die.txt"
    name, when, how = told.read_text().split() if told.exists() else (None, None, None)
    if (item.name, step) == (name, when):
        told.unlink()
        os._exit(3) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)

def pytest_runtest_setup(item):
    given = getattr(item.config, "workerinput", {})
    words = [given.get(key) for key in ("workerid", "lem_lane", "lem_lanes")]
    note("ran.txt", *words, os.environ.get("CUDA_VISIBLE_DEVICES") or "none", item.name)
    maybe_die(item, "setup")

def pytest_runtest_call(item):
    maybe_die(item, "call")

def pytest_runtest_teardown(item):
    maybe_die(item, "teardown")
"""


class Campaign:
    """A user's project that notes which worker starts which test."""

    def __init__(self, project):
        self.project = project
        self.path = project.pytester.path
        project.pytester.makeconftest(CONFTEST)
        project.write(CAMPAIGN)

    def run(self, *arguments):
        (self.path / "ran.txt").unlink(missing_ok=True)
        return self.project.subprocess(*arguments)

    def die(self, name, step, how):
        """Let the worker die once, at this step of this test's life."""
        (self.path / "die.txt").write_text(f"{name} {step} {how}")

    def ran(self):
        """(worker, lane, lanes, GPUs, test) of each start of a test, in order."""
        return [tuple(line.split()) for line in (self.path / "ran.txt").read_text().splitlines()]

    def names(self):
        return [name for *_, name in self.ran()]

    def measured(self):
        """Worker → the tests whose samples it wrote."""
        found = {}
        for file in self.project.runs()[-1].glob("samples-*.jsonl"):
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            ids = {line["measurement"]["test"] for line in lines if "measurement" in line}
            found[file.stem.removeprefix("samples-")] = {name.partition("::")[2] for name in ids}
        return found

    def engine_starts(self):
        return len(list(self.project.runs()[-1].glob("logs/*")))


@pytest.fixture
def campaign(project):
    return Campaign(project)
