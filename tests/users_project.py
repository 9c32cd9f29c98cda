"""A user's project in a folder of its own: the fake engine and meter installed, short rounds, a first test."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import fake_engine
import fake_meter
import pytest
import scipy.special  # noqa: F401 - a quantile may load it; as those below, it cannot be loaded twice

# Loaded before pytester takes its snapshot of modules: numpy cannot be loaded twice in one process, and what each of
# hundreds of runs would load anew costs a tenth of a second.
import pytest_lem.campaign.lanes
import pytest_lem.campaign.loads
import pytest_lem.campaign.plan
import pytest_lem.engines.positions
import pytest_lem.plugin.accepting
import pytest_lem.plugin.aims
import pytest_lem.plugin.duels
import pytest_lem.plugin.ending
import pytest_lem.plugin.energy
import pytest_lem.plugin.gatekeeper
import pytest_lem.plugin.session
import pytest_lem.render.terminal  # noqa: F401 - for the same reason

if importlib.util.find_spec("pandas"):
    # CodeCarbon's models and a report's frames load it. Beside pyarrow it cannot be loaded twice either.
    importlib.import_module("pandas")

TEST = """
import pytest

@pytest.mark.lem(backend="fake", batch=[1, 8], output_tokens=4, fake={"token_seconds": 0.001})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
SHORT = """
[pytest]
lem_rounds = 4
lem_round_seconds = 0.02
lem_meter = fake
"""
CONFTEST = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lem(warmup_rounds=1, warmup_seconds=0))
"""


class Project:
    """Wraps pytester: `write` a test file, `run` pytest (in this process, or a real one), read the `report`."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        site = pytester.path / "site"
        fake_engine.install(site)
        fake_meter.install(site)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.delenv("FAKE_METER", raising=False)
        pytester.syspathinsert(site)
        pytester.makefile(".ini", pytest=SHORT)
        pytester.makeconftest(CONFTEST)

    def write(self, text: str = TEST, name: str = "test_it") -> None:
        self.pytester.makepyfile(**{name: text})
        # What was compiled of it before passes for this one where both have one size, and were written in one second.
        for compiled in (self.pytester.path / "__pycache__").glob(f"{name}.*"):
            compiled.unlink()

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(*arguments)

    def subprocess(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*arguments)

    def runs(self) -> list[Path]:
        return sorted((self.pytester.path / ".lem" / "runs").glob("*/"))

    def report(self) -> dict:
        return json.loads((self.runs()[-1] / "report.json").read_text())

    def metric(self, key: str, index: int = 0) -> dict:
        return self.report()["measurements"][index]["metrics"][key]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)
