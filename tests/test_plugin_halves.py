"""A test of two measurements that ends between them is not measured: the report, the plan and a continued run know."""

from __future__ import annotations

import signal

import pytest

from pytest_lem.store.rebuild import rebuild

TWO = """
import os
import pathlib
import signal
import pytest

@pytest.mark.lem(backend="fake", batch=[1, 8], output_tokens=4, fake={"token_seconds": 0.001})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload, name="cold")
    BETWEEN
    lem_energy.measure(lem_backend, lem_workload, name="warm")
"""
ONCE = "if lem_workload.batch == 8 and not os.path.exists('past'): pathlib.Path('past').touch(); "
ENDS = {
    "Ctrl-C": ONCE + "raise KeyboardInterrupt",
    "SIGKILL": ONCE + "os.kill(os.getpid(), signal.SIGKILL)",
    "an engine that dies": ONCE + "[os.kill(pid, signal.SIGKILL) for pid in lem_backend.engine.pids()]",
}
LAST = "test_it.py::test_decode[fake-bf16-b8-c0]"


def ended(project, how):
    project.write(TWO.replace("BETWEEN", ENDS[how]))
    return project.subprocess()


def names(project):
    return [(each["test"][-4:], each["name"]) for each in project.report()["measurements"]]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("Ctrl-C", "the run ended before it did"),
        ("an engine that dies", "failed: engine 'fake' is not running any more*"),
    ],
)
def test_what_was_not_measured_is_missing(project, how, reason):
    result = ended(project, how)

    assert result.ret != pytest.ExitCode.OK
    report = project.report()
    assert report["run"]["complete"] is False
    (line,) = [line for line in report["missing"] if ": cut short (" not in line]
    pytest.LineMatcher([line]).fnmatch_lines([f"{LAST.replace('[', '[[]')}: {reason}"])


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGKILL"])
def test_a_continued_run_plans_and_measures_the_other_half(project, how):
    ended(project, how)
    result = project.run("--lem-resume")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["lem: 2 tests of 2 experiments, 1 measured already, 1 engine start, *"])
    assert names(project) == [("-b1]", "cold"), ("-b1]", "warm"), ("-b8]", "cold"), ("-b8]", "warm")]
    assert [len(each["cycles"]) for each in project.report()["measurements"]] == [1, 1, 1, 1]
    assert project.report()["missing"] == []


def test_a_killed_one_says_so_where_its_report_is_made_of_its_samples(project):
    assert ended(project, "SIGKILL").ret == -signal.SIGKILL

    assert f"{LAST}: cut short after a measurement" in rebuild(project.runs()[-1]).missing


def test_one_whose_engine_died_is_retried_on_request(project):
    ended(project, "an engine that dies")
    project.run("--lem-resume").assert_outcomes(passed=1, errors=1)
    project.run("--lem-retry-failed").assert_outcomes(passed=2)

    assert project.report()["missing"] == []


def test_a_test_that_fails_on_what_it_measured_is_measured(project):
    project.write(TWO.replace("BETWEEN", "assert lem_workload.batch == 1"))
    project.run().assert_outcomes(passed=1, failed=1)

    assert project.report()["missing"] == []
