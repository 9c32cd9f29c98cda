"""Beside the plugins of pytest that our users have, all of them switched on: order, reruns, time-outs, coverage."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest
from xdist_campaign import EXPERIMENTS

from pytest_lem.store.samples import MeasurementLine, read_samples

ALONE = pytest.param((), id="alone")
LANES = pytest.param(("-n2", "--lem-lanes=2"), id="lanes", marks=pytest.mark.xdist)
EVERYTHING = Counter(["test_first", *EXPERIMENTS, "test_last"])
FAKE = 'backend="fake", fake={"token_seconds": 0.001}, output_tokens=4'
FLAKY = f"""
import pytest
from pathlib import Path

@pytest.mark.lem(precision=["bf16", "fp16"], {FAKE})
def test_decode(lem_backend, lem_workload, lem_energy, request):
    lem_energy.measure(lem_backend, lem_workload)
    seen = Path(request.node.name)
    if not seen.exists():
        seen.touch()
        FAIL
"""
# The same engine for all three; what the second one asks of it takes minutes.
SLOW = f"""
import pytest

def measures(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)

test_before = pytest.mark.lem({FAKE})(measures)

@pytest.mark.timeout(2, func_only=True)
@pytest.mark.lem({FAKE.replace("=4", "=600_000")})
def test_slow(lem_backend, lem_workload, lem_energy):
    measures(lem_backend, lem_workload, lem_energy)

@pytest.mark.lem({FAKE})
def test_after(lem_backend, lem_workload, lem_energy):
    measures(lem_backend, lem_workload, lem_energy)
"""


@pytest.fixture(autouse=True)
def all_neighbours(pytester, monkeypatch):
    """Elsewhere in these tests pytest-randomly is switched off."""
    monkeypatch.delenv("PYTEST_ADDOPTS")


def launches(names):
    """The launches of a run in order, as (precision, cycle), each as often as it was interrupted by another."""
    measuring = [tuple(name.rstrip("]").split("-")[1::2]) for name in names if name in EXPERIMENTS]
    return [launch for launch, _ in groupby(measuring)]


@pytest.mark.neighbours("pytest_randomly")
def test_shuffled_tests_still_share_their_engines(campaign):
    """The seed may decide which engine comes first, and which of a launch's items."""
    runs = []
    for seed in range(1, 6):
        result = campaign.project.run("--collect-only", "-q", f"--randomly-seed={seed}")
        names = [line.partition("::")[2] for line in result.outlines if line.startswith("test_it.py::")]
        assert Counter(names) == EVERYTHING
        engines = list(dict.fromkeys(precision for precision, _ in launches(names)))
        assert launches(names) == [(engine, cycle) for engine in engines for cycle in ("c0", "c1")]
        runs.append(tuple(names))
    assert len(set(runs)) > 1  # it did shuffle


@pytest.mark.xdist
@pytest.mark.neighbours("pytest_randomly")
def test_shuffled_tests_are_the_same_ones_for_every_worker(campaign):
    result = campaign.run("-n2", "--lem-lanes=2", "--randomly-seed=1")
    result.assert_outcomes(passed=10)
    result.stdout.no_fnmatch_line("*Different tests were collected*")
    assert Counter(campaign.names()) == EVERYTHING
    for lane in "01":
        own = [name for _, number, _, _, name in campaign.ran() if number == lane]
        assert [cycle for _, cycle in launches(own)] == ["c0", "c1"]  # of one engine
    assert campaign.engine_starts() == 4
    assert campaign.project.report()["missing"] == []


@pytest.mark.neighbours("pytest_rerunfailures")
@pytest.mark.parametrize("arguments", [ALONE, LANES])
def test_a_test_that_failed_is_measured_again_and_both_attempts_are_kept(project, arguments):
    project.write(FLAKY.replace("FAIL", "pytest.fail('the first time')"))
    result = project.subprocess("--reruns=1", *arguments)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["rerun"], outcomes.get("failed")) == (2, 2, None)
    report = project.report()
    assert [[cycle["index"] for cycle in m["cycles"]] for m in report["measurements"]] == [[0, 0], [0, 0]]
    assert report["missing"] == []
    (folder,) = project.runs()
    lines = [line for path in folder.glob("samples-*.jsonl") for line in read_samples(path)[0]]
    measured = Counter(line.measurement.test.partition("-")[2] for line in lines if isinstance(line, MeasurementLine))
    assert measured == {"bf16-b1-c0]": 2, "fp16-b1-c0]": 2}


@pytest.mark.neighbours("pytest_rerunfailures")
def test_a_budget_judges_the_last_attempt(project):
    """The first one is asked for a hundred times the tokens, and so costs 40 J a request."""
    longer = "    tokens = 4 if Path(request.node.name).exists() else 400\n    lem_energy.measure("
    test = FLAKY.replace('["bf16", "fp16"]', '"bf16"').replace("FAIL", "pass")
    test = test.replace("\ndef", "\n@pytest.mark.lem_budget(joules_per_request=10)\ndef")
    test = test.replace("    lem_energy.measure(", longer)
    test = test.replace("lem_backend, lem_workload)", "lem_backend, lem_workload.replace(output_tokens=tokens))")
    project.write(test)
    result = project.subprocess("--reruns=1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert [verdict["status"] for verdict in project.report()["verdicts"]] == ["passed"]


@pytest.mark.parametrize("arguments", [ALONE, LANES])
def test_a_run_that_may_fail_once_ends_soon_and_tells_what_is_missing(campaign, arguments):
    campaign.project.write(broken(campaign, "c0"))
    campaign.run("--maxfail=1", "--lem-cycles=20", *arguments)
    assert 1 <= len(campaign.names()) <= 5  # of 82: what ran, and what the workers held
    report = campaign.project.report()
    assert report["run"]["complete"] is False
    assert len(report["missing"]) >= 76


@pytest.mark.xdist
def test_what_failed_last_runs_first_in_its_lane_and_the_rest_after_it(campaign):
    sound = campaign.path.joinpath("test_it.py").read_text()
    campaign.project.write(broken(campaign, "c1"))
    campaign.run("-n2", "--lem-lanes=2", "-k", "decode").assert_outcomes(passed=4, failed=4)
    campaign.project.write(sound)
    campaign.run("-n2", "--lem-lanes=2", "--ff").assert_outcomes(passed=10)
    assert Counter(campaign.names()) == EVERYTHING
    for lane in "01":
        own = [name for _, number, _, _, name in campaign.ran() if number == lane]
        assert [cycle for _, cycle in launches(own)] == ["c1", "c0"]


def broken(campaign, cycle):
    """The campaign's file with a test that fails in this cycle, once it has measured."""
    sound = campaign.path.joinpath("test_it.py").read_text()
    measures = "    lem_energy.measure(lem_backend, lem_workload)\n"
    return sound.replace(measures, f"{measures}    assert lem_backend.cycle != {cycle[1:]}\n")


@pytest.mark.neighbours("pytest_timeout")
def test_a_test_that_is_timed_out_fails_and_the_next_one_gets_a_fresh_engine(project):
    project.write(SLOW)
    result = project.subprocess("--timeout-method=signal", "-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    assert len(list(project.runs()[0].glob("logs/*"))) == 2
    (line,) = project.report()["missing"]
    assert line.startswith("test_it.py::test_slow[fake-bf16-b1-c0]: failed: Timeout")


@pytest.mark.xdist
@pytest.mark.neighbours("pytest_timeout")
def test_a_time_out_that_ends_the_worker_costs_one_test_of_its_lane(project):
    project.write(SLOW)
    result = project.subprocess("--timeout-method=thread", "-n2", "--lem-lanes=2", "-p", "no:randomly")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running 'test_it.py::test_slow*"])
    assert len(list(project.runs()[0].glob("logs/*"))) == 2
    report = project.report()
    assert [line.partition(": ")[0] for line in report["missing"]] == ["test_it.py::test_slow[fake-bf16-b1-c0]"]


@pytest.mark.neighbours("pytest_timeout")
def test_a_time_out_that_ends_the_run_leaves_what_it_measured_to_the_next_one(project):
    project.write(SLOW)
    assert project.subprocess("--timeout-method=thread", "-p", "no:randomly").ret == 1
    result = project.subprocess("--lem-resume", "-k", "not slow", "-p", "no:randomly")
    result.assert_outcomes(passed=2, deselected=1)
    assert len(project.runs()) == 1
    assert len(list(project.runs()[0].glob("logs/*"))) == 2  # the one that was killed, and one for what is left


@pytest.mark.neighbours("pytest_cov")
@pytest.mark.xdist
def test_coverage_is_complete_and_so_is_the_report(campaign):
    (campaign.path / "helper.py").write_text("def half(number):\n    return number / 2\n")
    test = campaign.path / "test_it.py"
    test.write_text(test.read_text().replace("    pass", "    from helper import half\n\n    assert half(4) == 2"))
    result = campaign.run("--cov=helper", "--cov-report=term", "-n2", "--lem-lanes=2")
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["helper.py * 2 * 0 * 100%"])
    report = campaign.project.report()
    assert (report["run"]["complete"], report["missing"], len(report["measurements"])) == (True, [], 4)
