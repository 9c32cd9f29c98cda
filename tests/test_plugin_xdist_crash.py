"""A worker that dies in the middle of a campaign: one failed test, nothing twice, the rest on its replacement.

And one that cannot send what it has to report: the run is no green one.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from xdist_campaign import EXPERIMENTS

from pytest_lem.plugin.receipts import Receipts

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
    assert "were lost" not in result.stdout.str()  # the crash is told; what waited behind it never began
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


LOSSES = """
import pytest

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if (item.name, call.when) == ({name!r}, {step!r}):
        report.mine = object()  # xdist cannot send it
    return report
"""
ONE = EXPERIMENTS[0]


@pytest.mark.parametrize("step", ["setup", "call", "teardown"])
def test_a_lost_report_fails_the_run_and_names_its_test(campaign, step):
    conftest = campaign.path / "conftest.py"
    conftest.write_text(conftest.read_text() + LOSSES.format(name=ONE, step=step))
    result = campaign.run("-n1", "-k", "bf16 and b1 and c0")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"lem: the reports of 1 of 1 tests were lost: test_it.py::{ONE}; a worker's" in result.stdout.str()
    report = campaign.project.report()
    whole = step != "setup"  # what was measured by then is kept
    assert report["run"]["complete"] == whole
    assert report["missing"] == ([] if whole else [f"test_it.py::{ONE}: failed: its report was lost"])


def test_a_plain_test_whose_report_is_lost_beside_experiments_fails_the_run_too(campaign):
    test = campaign.path / "test_it.py"
    mine = "class Joules(float): pass\n\ndef test_last(record_property):\n    record_property('j', Joules(1))"
    test.write_text(test.read_text().replace("def test_last():\n    pass", mine))
    result = campaign.run("-n1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"passed": 9}
    result.stdout.fnmatch_lines(
        ["lem: the reports of 1 of 10 tests were lost: test_it.py::test_last; *plain data only*"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [("--dist=each",), ("--setup-only",), ("--deselect=test_it.py::test_last", "-k", "not b8"), ("--lem-shard=2/2",)],
    ids=" ".join,
)
def test_a_run_that_loses_no_report_is_told_of_none(campaign, options):
    result = campaign.run("-n2", "--lem-lanes=2", *options)
    assert "were lost" not in result.stdout.str()
    assert result.ret == pytest.ExitCode.OK


def books(mode, reports, workers=("gw0", "gw1")):
    """The controller's books after `workers` have collected tests a and b, and these (worker, test, phase) came."""
    nodes = {name: SimpleNamespace(gateway=SimpleNamespace(id=name)) for name in workers}
    found = Receipts(SimpleNamespace(getvalue={"dist": mode}.get))
    for node in nodes.values():
        found.plan(node, ["a", "b"])
    for worker, test, phases in reports:
        for phase in phases.split():
            found.note(SimpleNamespace(node=nodes[worker], nodeid=test, when=phase))
    return found


WHOLE = "setup call teardown"


@pytest.mark.parametrize(
    ("mode", "reports", "lost"),
    [
        ("load", [("gw0", "a", WHOLE), ("gw1", "b", WHOLE)], []),
        ("load", [("gw0", "a", "setup"), ("gw1", "a", "???"), ("gw1", "b", "setup teardown")], []),  # a crash; a skip
        ("load", [("gw0", "a", f"{WHOLE} {WHOLE}"), ("gw1", "b", "call")], []),  # a rerun; somebody's own protocol
        ("load", [("gw0", "a", WHOLE)], ["b"]),
        ("load", [("gw0", "a", "setup call"), ("gw1", "b", f"{WHOLE} setup")], ["a", "b"]),
        ("each", [(worker, test, WHOLE) for worker in ("gw0", "gw1") for test in "ab"], []),
        ("each", [("gw0", "a", WHOLE), ("gw0", "b", WHOLE), ("gw1", "a", WHOLE)], ["b"]),
    ],
)
def test_a_test_is_lost_that_never_came_to_its_end_on_a_worker_that_had_to_run_it(mode, reports, lost):
    assert books(mode, reports).lost == lost


def test_hundreds_of_lost_tests_are_counted_and_the_first_are_named():
    found = Receipts(SimpleNamespace(getvalue={"dist": "load"}.get))
    found.plan(None, [f"t{number}" for number in range(200)])
    assert found.line.startswith("the reports of 200 of 200 tests were lost: t0, t1, t2 and 197 more; a worker's")
