"""A worker that dies in the middle of a campaign: one failed test, nothing twice, the rest on its replacement."""

from __future__ import annotations

from collections import Counter

import pytest
from xdist_campaign import EXPERIMENTS

pytestmark = pytest.mark.xdist
VICTIM = "test_decode[fake-bf16-b8-c0]"


@pytest.mark.parametrize(
    ("step", "how"),
    [
        pytest.param("setup", "exit", marks=pytest.mark.slow),
        ("call", "kill"),
        pytest.param("teardown", "exit", marks=pytest.mark.slow),
        pytest.param("teardown", "kill", marks=pytest.mark.slow),
    ],
)
def test_a_crash_costs_the_test_that_ran_and_no_other(campaign, step, how):
    campaign.die(VICTIM, step, how)
    result = campaign.run("-n2", "--lem-lanes=2")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes["passed"] == (10 if step == "teardown" else 9)  # its call had passed when it died after it
    assert f"crashed while running 'test_it.py::{VICTIM}'" in result.stdout.str()
    assert Counter(campaign.names()) == Counter(["test_first", *EXPERIMENTS, "test_last"])
    lanes = {lane: {worker for worker, other, *_ in campaign.ran() if other == lane} for lane in "01"}
    assert sorted(map(len, lanes.values())) == [1, 2]  # the replacement has the lane of the one that died
    assert not lanes["0"] & lanes["1"]
    own = [name for _, lane, _, _, name in campaign.ran() if lane == "0" and name in EXPERIMENTS]
    assert own in (EXPERIMENTS[:4], EXPERIMENTS[4:])


def test_when_no_worker_may_be_replaced_the_rest_is_told_as_missing(campaign):
    campaign.die("test_decode[fake-bf16-b1-c0]", "call", "kill")
    result = campaign.run("-n1", "--max-worker-restart=0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert campaign.names() == ["test_decode[fake-bf16-b1-c0]"]


def test_a_lane_without_its_worker_is_missing_in_the_report_of_the_others(campaign):
    campaign.die(VICTIM, "call", "kill")
    result = campaign.run("-n2", "--lem-lanes=2", "--max-worker-restart=0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = campaign.project.report()["missing"]
    assert any(f"{VICTIM}: failed: worker 'gw" in line and "crashed while running" in line for line in told)
    missing = {line.partition(": ")[0].partition("::")[2] for line in told}
    whole = set().union(*campaign.measured().values()) - missing
    assert missing | whole == set(EXPERIMENTS)
    assert {VICTIM, "test_decode[fake-bf16-b1-c1]", "test_decode[fake-bf16-b8-c1]"} <= missing


@pytest.mark.slow
def test_a_crashed_test_that_is_asked_for_again_runs_again_in_its_lane(campaign):
    conftest = campaign.path / "conftest.py"
    again = """
def pytest_handlecrashitem(crashitem, report, sched):  # as pytest-rerunfailures has it
    assert sched.config.option.numprocesses == 2
    sched.mark_test_pending(crashitem)
    report.outcome = "rerun"
"""
    conftest.write_text(conftest.read_text() + again)
    campaign.die(VICTIM, "call", "kill")
    campaign.run("-n2", "--lem-lanes=2").assert_outcomes(passed=10)
    assert Counter(campaign.names()) == Counter(["test_first", *EXPERIMENTS, VICTIM, "test_last"])
    assert len({lane for _, lane, _, _, name in campaign.ran() if name == VICTIM}) == 1
