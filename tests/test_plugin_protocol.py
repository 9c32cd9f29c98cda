"""The life of a cycle: calibration, warm-up, rounds, why they stop; token times beside them."""

from __future__ import annotations

import sys

import pytest
from users_project import TEST


def cycle(project, index: int = 0) -> dict:
    return project.report()["measurements"][index]["cycles"][0]


def seconds(round_: dict) -> float:
    return (round_["end_ns"] - round_["start_ns"]) / 1e9


def test_a_round_repeats_the_work_until_it_is_long_enough(project):
    project.write()
    project.run("--lem-round-seconds=0.05").assert_outcomes(passed=2)
    for round_ in cycle(project)["rounds"]:
        # The fake engine sleeps 4 ms a pass. A machine that was busy during warm-up lets fewer passes look long enough.
        assert seconds(round_) >= 0.03
        assert round_["passes"] >= 8
        assert round_["tokens"] == 4 * round_["passes"]


def test_work_longer_than_a_round_runs_once(project):
    project.write(TEST.replace("0.001", "0.05"))
    project.run("-k", "b1").assert_outcomes(passed=1, deselected=1)
    assert {round_["passes"] for round_ in cycle(project)["rounds"]} == {1}


def test_rounds_stop_as_soon_as_they_are_precise(project):
    project.write(TEST.replace("[1, 8]", "1").replace("0.001", "0.01"))
    project.run("-o", "lem_rounds=", "--lem-round-seconds=0.2").assert_outcomes(passed=1)
    assert cycle(project)["stopped"] == "precision"
    assert len(cycle(project)["rounds"]) % 2 == 0
    assert 8 <= len(cycle(project)["rounds"]) < 30


def test_max_seconds_cuts_warm_up_and_rounds_and_says_not_steady(project):
    project.write(TEST.replace("[1, 8]", "1").replace("output_tokens=4", "output_tokens=4, warmup_seconds=60"))
    result = project.run("--lem-rounds=1000", "--lem-max-seconds=0.6")
    result.assert_outcomes(passed=1)
    found = cycle(project)
    assert (found["steady"], found["stopped"]) == (False, "max-seconds")
    assert found["warmup_rounds"]
    assert found["rounds"]
    result.stdout.fnmatch_lines(["*not steady*"])


def test_a_warm_up_may_be_as_long_as_so_many_prompts(project):
    project.write(TEST.replace("output_tokens=4", "output_tokens=4, warmup_prompts=60"))
    project.run("-k", "b8", "--lem-rounds=1").assert_outcomes(passed=1, deselected=1)
    answered = [round_["requests"] for round_ in cycle(project)["warmup_rounds"]]
    assert sum(answered) >= 60 > sum(answered[:-1])


def test_a_warm_up_that_ran_its_course_is_steady(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    assert (cycle(project)["steady"], cycle(project)["stopped"]) == (True, "rounds")


def test_guards_that_refuse_every_round_end_the_cycle(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "fault")
    project.write(TEST.replace("[1, 8]", "1"))
    project.run("--lem-rounds=100").assert_outcomes(passed=1)
    assert cycle(project)["stopped"] == "invalid"
    assert len(cycle(project)["rounds"]) == 5  # four to spare, and the one that is too many


def test_token_times_come_from_hooked_passes_beside_the_rounds(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    hooked = [round_["latency"] for round_ in cycle(project, 1)["rounds"]]
    assert all(latency and latency["requests"][0]["count"] == 8 for latency in hooked)
    assert project.metric("ttft_ms")["value"] == pytest.approx(1.0)  # the fake engine says 1 ms a token
    assert project.metric("itl_p99_ms")["value"] == pytest.approx(1.0)


def test_a_test_may_do_without_token_times(project):
    project.write(TEST.replace("output_tokens=4", "output_tokens=4, latency=False"))
    project.run("-k", "b1").assert_outcomes(passed=1, deselected=1)
    assert all(round_["latency"] is None for round_ in cycle(project)["rounds"])
    assert project.metric("ttft_ms")["reason"] == "token times were not recorded"


def test_the_report_holds_what_was_asked_and_what_really_ran(project):
    project.write()
    project.run("-k", "b1").assert_outcomes(passed=1, deselected=1)
    engine = project.report()["measurements"][0]["engine"]
    assert engine["requested"]["device"] == "cpu"  # `auto`, resolved: no GPU is visible
    assert engine["observed"]["precision"] == engine["requested"]["precision"] == "bfloat16"


def test_an_engine_that_really_runs_something_else_is_an_error(project):
    project.write(TEST.replace('{"token_seconds": 0.001}', '{"wrong": {"precision": "float32"}}'))
    result = project.run("-k", "b1")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*precision*bfloat16*float32*"])


def test_an_engine_runs_under_the_interpreter_that_was_named(project):
    project.write(TEST + "    assert lem_backend.observed['executable']\n")
    project.run("-k", "b1", f"--lem-python=fake={sys.executable}").assert_outcomes(passed=1, deselected=1)
    engine = project.report()["measurements"][0]["engine"]
    assert engine["requested"]["python"] == sys.executable
    assert engine["observed"]["imported"] == []  # neither pytest_lem, pydantic nor pytest


def test_a_gpu_that_is_asked_for_and_not_there_is_one_line(project):
    project.write(TEST.replace("output_tokens=4", "output_tokens=4, device='cuda'"))
    result = project.run("-k", "b1")
    result.assert_outcomes(errors=1, deselected=1)
    result.stdout.fnmatch_lines(["*fake needs 1 GPU(s), 0 visible here*device='cpu'*"])
