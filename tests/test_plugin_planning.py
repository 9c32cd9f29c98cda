"""Before anything runs, a run says what is ahead."""

from __future__ import annotations

import json

import pytest
from users_project import TEST

MATRIX = TEST.replace("batch=[1, 8]", 'precision=["fp32", "bf16"], batch=[1, 8], cycles=2')


def said(result) -> str:
    (line,) = [line for line in result.outlines if line.startswith("lem: ") and " tests of " in line]
    return line


def test_a_plan_stands_before_the_run_and_a_mere_collection_says_it_too(project):
    project.write(MATRIX)
    for option in ("--collect-only", "-q"):
        line = said(project.run(option))
        assert line == "lem: 8 tests of 4 experiments in 2 cycles, 4 engine starts, about 2 min (a guess)"


def test_the_second_run_knows_how_long_the_first_one_took(project):
    project.write(MATRIX)
    project.run()
    assert said(project.run("--collect-only")).endswith("(as they took before)")
    known = json.loads((project.pytester.path / ".lem" / "runs" / "durations.json").read_text())
    assert len(known["items"]) == len(known["experiments"]) == 4
    assert len(known["engines"]) == 2
    assert all(0.08 < seconds < 30 for seconds in known["items"].values())
    # Another length of its rounds is another thing to do.
    assert said(project.run("--collect-only", "--lem-rounds=5")).endswith("(a guess)")


def test_the_gaps_before_engines_are_part_of_the_plan(project):
    project.write(MATRIX)
    assert said(project.run("--collect-only", "--lem-gap=600")).endswith("4 engine starts, about 32 min (a guess)")
    told = said(project.run("--collect-only", "--lem-gap=cool:600"))
    assert told.endswith("4 engine starts, about 2 min, and at most 30 min of cooling (a guess)")


@pytest.mark.xdist
def test_workers_share_a_plan(project):
    project.write(MATRIX)
    line = said(project.subprocess("-n2", "--lem-lanes=2"))
    assert line.startswith("lem: 8 tests of 4 experiments in 2 cycles, 4 engine starts, 2 lanes, about ")
    assert line.endswith("(a guess)")
    again = said(project.subprocess("-n2", "--lem-lanes=2", "-k", "c0", "--lem-gap=cool"))
    assert ", 2 engine starts, 2 lanes, about " in again  # each lane's first engine waits for nothing
    assert again.endswith("(as tests of these names took before, engine starts a guess)")


def test_a_run_that_goes_on_plans_what_is_left(project):
    project.write(MATRIX)
    project.run("-k", "c0")
    assert said(project.run("--collect-only", "--lem-resume")).startswith(
        "lem: 8 tests of 4 experiments, 4 measured already, 2 engine starts, about "
    )


def test_what_would_be_measured_anew_is_not_planned_as_measured(project):
    project.write(MATRIX)
    project.run("-k", "c0")
    asked = ["--collect-only", "--lem-resume"]
    assert "4 measured already, 2 engine starts" in said(project.run(*asked, "--lem-cycles=2"))
    assert said(project.run(*asked, "--lem-rounds=5")).startswith(
        "lem: 8 tests of 4 experiments in 2 cycles, 4 engine starts, about "
    )
    project.write(MATRIX.replace("0.001", "0.002"))
    assert "in 2 cycles, 4 engine starts" in said(project.run(*asked))


def test_a_run_that_goes_on_plans_no_engine_for_what_failed_until_another_try_is_asked_for(project):
    """One engine's tests are measured, but for a batch in cycle 1, which failed; the other engine's never ran."""
    fails = "    assert (lem_backend.cycle, lem_workload.batch) != (1, 8)\n    lem_energy.measure("
    project.write(MATRIX.replace("    lem_energy.measure(", fails))
    project.run("-k", "fp32").assert_outcomes(passed=3, failed=1, deselected=4)
    for options, line in [
        (["--lem-resume", "-k", "fp32"], "4 tests of 2 experiments, 3 measured already, 1 failed before, 0 engine"),
        (["--lem-resume"], "8 tests of 4 experiments in 2 cycles, 3 measured already, 1 failed before, 2 engine"),
        (["--lem-retry-failed"], "8 tests of 4 experiments in 1 to 2 cycles, 3 measured already, 3 engine"),
    ]:
        assert said(project.run("--collect-only", *options)).startswith(f"lem: {line} starts, ")


def test_plain_tests_have_no_plan(project):
    project.write("def test_plain(): pass")
    assert not any(line.startswith("lem:") for line in project.run().outlines)


def test_times_that_cannot_be_read_are_forgotten_and_written_anew(project):
    project.write(MATRIX)
    project.run("-k", "c0")
    path = project.pytester.path / ".lem" / "runs" / "durations.json"
    path.write_text("{")
    assert said(project.run("-k", "c0")).endswith("(a guess)")
    assert len(json.loads(path.read_text())["items"]) == 4
