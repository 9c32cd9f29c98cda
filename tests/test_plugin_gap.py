"""Gaps between engines as a user sees them: in the setup of the test, on the progress line, in the report."""

from __future__ import annotations

import sys

import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from test_plugin_progress import on_a_terminal

from pytest_lem.meters import nvml

GPU = "GPU-aaaa1111-0000"
# Writes down how long the setup of each test took.
SETUPS = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.lem(warmup_rounds=1, warmup_seconds=0))

def pytest_runtest_logreport(report):
    if report.when == "setup":
        with open("setups", "a") as file:
            print(report.duration, file=file)
"""


@pytest.fixture
def gpu(project, monkeypatch):
    """A made-up GPU that the tests of this process see."""
    made = FakeGpu(GPU)
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(made))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("LEM_LOCKS", str(project.pytester.path / "locks"))
    nvml.library.cache_clear()
    yield made
    nvml.library.cache_clear()


def gaps(project) -> dict[str, dict | None]:
    """The gap of each cycle, by batch and cycle."""
    found = [(m["workload"]["batch"], cycle) for m in project.report()["measurements"] for cycle in m["cycles"]]
    return {f"b{batch}-c{cycle['index']}": cycle["gap"] for batch, cycle in found}


def test_a_gap_comes_before_each_engine_but_the_first_and_stands_with_its_first_measurement(project):
    project.write()
    project.run("--lem-cycles=3", "--lem-gap=0.05").assert_outcomes(passed=6)
    found = gaps(project)
    assert [name for name, gap in found.items() if gap] == ["b1-c1", "b1-c2"]
    for name in ("b1-c1", "b1-c2"):
        assert found[name]["seconds"] >= 0.05
        found[name]["seconds"] = 0.05
        assert found[name] == {"asked": "0.05", "seconds": 0.05, "ended": "elapsed", "temperature_c": {}, "power_w": {}}


def test_a_gap_is_part_of_the_setup_that_durations_show(project):
    project.pytester.makeconftest(SETUPS)
    project.write()
    project.run("--lem-cycles=2", "--lem-gap=0.3", "-k", "b1").assert_outcomes(passed=2, deselected=2)
    _, second = (float(line) for line in (project.pytester.path / "setups").read_text().splitlines())
    assert second >= 0.3


def test_without_the_option_there_is_no_gap(project):
    project.write()
    project.run("--lem-cycles=2").assert_outcomes(passed=4)
    assert set(gaps(project).values()) == {None}


def test_the_ini_twin_makes_gaps_too(project):
    project.write()
    project.run("--lem-cycles=2", "-o", "lem_gap=0.01").assert_outcomes(passed=4)
    assert gaps(project)["b1-c1"]["asked"] == "0.01"


def test_cool_on_a_host_without_gpu_waits_for_nothing_and_says_so_once(project):
    project.write()
    result = project.run("--lem-cycles=3", "--lem-gap=cool")
    result.assert_outcomes(passed=6)
    assert result.stdout.str().count("lem: --lem-gap=cool: no GPU is in use here, so nothing has to cool") == 1
    assert [(gap["ended"], gap["seconds"]) for gap in gaps(project).values() if gap] == [("no-gpu", 0.0)] * 2


def test_cool_ends_at_once_on_a_gpu_that_is_cool(project, gpu):
    project.write()
    project.run("--lem-cycles=2", "--lem-gap=cool").assert_outcomes(passed=4)
    gap = gaps(project)["b1-c1"]
    assert (gap["ended"], gap["temperature_c"], gap["power_w"]) == ("cool", {GPU: 41.0}, {GPU: 120.0})


def test_cool_gives_up_at_its_cap_on_a_gpu_that_stays_hot(project, gpu, monkeypatch):
    project.write(
        """
        import pynvml, pytest

        @pytest.mark.lem(backend="fake", output_tokens=4, fake={"token_seconds": 0.001}, cycles=2)
        def test_decode(lem_backend, lem_workload, lem_energy):
            pynvml.nvmlDeviceGetHandleByIndex(0).gpu.temperature = 80
            lem_energy.measure(lem_backend, lem_workload)
        """
    )
    project.run("--lem-gap=cool:0.05").assert_outcomes(passed=2)
    first, second = gaps(project).values()
    assert (first, second["ended"], second["temperature_c"]) == (None, "cap", {GPU: 80.0})
    assert second["seconds"] >= 0.05


def test_a_terminal_counts_the_gap_down(project):
    project.write()
    said = on_a_terminal(project.pytester.path, "--lem-cycles=2", "--lem-gap=0.1")
    assert "test_decode[fake-bf16-b1-c1]: gap 1 s left" in said
    assert "test_decode[fake-bf16-b1-c0]: gap" not in said


@pytest.mark.parametrize("how", [("--lem-gap=hot",), ("-o", "lem_gap=hot")])
def test_a_gap_that_cannot_be_is_refused_before_anything_is_collected(project, how):
    project.write()
    result = project.run(*how)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-gap=hot: expected seconds, cool or cool:CAP with the most seconds*"])
