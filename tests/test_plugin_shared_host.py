"""Two engines on one host: the host's joules are those of both, and nobody may be judged by them."""

from __future__ import annotations

import pytest
from users_project import TEST

pytestmark = pytest.mark.xdist
MATRIX = TEST.replace("batch=[1, 8]", 'precision=["fp32", "bf16"], batch=1').replace(
    "\ndef test", "\n@pytest.mark.lem_budget(joules_per_token=1e9)\ndef test"
)


def test_joules_of_a_host_that_lanes_share_are_marked_and_break_no_budget(project):
    project.write(MATRIX)
    result = project.subprocess("-n2", "--lem-lanes=2", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*joules_per_token cannot be judged: other lanes shared the host*--lem-lanes=1*"])
    result.stdout.fnmatch_lines(["*other lanes measured on this host at the same time: its joules are those of*"])
    report = project.report()
    assert [m["metrics"]["joules_per_token"]["shared"] for m in report["measurements"]] == [True, True]
    assert not any(m["metrics"]["tokens_per_second"]["shared"] for m in report["measurements"])
    assert {cycle["lanes"] for m in report["measurements"] for cycle in m["cycles"]} == {2}


def test_one_lane_has_the_host_to_itself(project):
    project.write(MATRIX)
    project.subprocess("-n2", "--lem-lanes=1").assert_outcomes(passed=2)
    assert not any(m["metrics"]["joules_per_token"]["shared"] for m in project.report()["measurements"])


def test_a_second_lane_without_work_leaves_the_host_to_the_first(project):
    project.write(MATRIX.replace('["fp32", "bf16"]', '"fp32"').replace("batch=1", "batch=[1, 8], cycles=2"))
    result = project.subprocess("-n2", "--lem-lanes=2")
    result.assert_outcomes(passed=4)  # its budget on joules is judged
    assert "other lanes" not in result.stdout.str()
    report = project.report()
    assert not any(m["metrics"]["joules_per_token"]["shared"] for m in report["measurements"])
    assert {cycle["lanes"] for m in report["measurements"] for cycle in m["cycles"]} == {1}


WINDOW = """
import time

def test_window(lem_energy):
    with lem_energy.window("work"):
        time.sleep(0.01)
"""


def test_a_window_that_is_gated_may_fill_a_lane_beside_an_engine(project):
    project.write(MATRIX.replace('["fp32", "bf16"]', '"fp32"') + WINDOW)
    project.run("--lem-save=main")
    project.subprocess("-n2", "--lem-lanes=2", "--lem-baseline=main", "--lem-fail-on=seconds:50%")
    cycles = [(m["engine"] is not None, c["lanes"]) for m in project.report()["measurements"] for c in m["cycles"]]
    assert sorted(cycles) == [(False, 2), (True, 2)]
