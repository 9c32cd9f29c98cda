"""Gates from the command line: what a user's project sees when its energy regresses, and when it does not."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import pytest

GATED = """
import pytest

@pytest.mark.lem(backend="fake", batch=1, output_tokens=4, fake={{"token_seconds": {seconds}}})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
ROUNDS = ("--lem-rounds=8",)
GATE = "test_it.py::test_decode[[]fake-bf16-b1-gate-joules_per_token[]]"


def write(project, seconds=0.004):
    project.write(GATED.format(seconds=seconds))


@pytest.fixture
def accepted(project):
    """A project with three accepted runs."""
    write(project)
    for _ in range(3):
        result = project.run(*ROUNDS, "--lem-save=main")
        assert result.ret == 0
    return project


def gate(project, index=0):
    found = [verdict for verdict in project.report()["verdicts"] if verdict["kind"] == "gate"]
    return found[index]


def test_a_run_that_is_saved_says_what_its_gates_still_lack(project):
    write(project)
    project.run(*ROUNDS, "--lem-save=main").stdout.fnmatch_lines(["saved to baseline main", "*1 of 3 runs needed*"])


def test_a_misspelt_baseline_is_told_what_baselines_there_are(accepted):
    result = accepted.run(*ROUNDS, "--lem-baseline=mian")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["lem: 1 gate against mian (0 runs): none of them can fail yet; there are runs of main"]
    )


def test_an_unchanged_commit_passes_and_its_gate_is_a_test_of_its_own(accepted):
    result = accepted.run(*ROUNDS, "--lem-baseline=main", "-v")
    result.stdout.fnmatch_lines(["lem: 1 gate against main (3 runs): could see a change over * %; a false alarm*2 %*"])
    result.stdout.fnmatch_lines([f"{GATE} PASSED*"])
    result.assert_outcomes(passed=2)
    assert gate(accepted)["comparison"]["outcome"] in ("OK", "INCONCLUSIVE")
    assert gate(accepted)["comparison"]["runs"] == 3


def test_a_regression_is_one_failed_test_after_one_more_launch(accepted):
    write(accepted, 0.0056)
    result = accepted.run(*ROUNDS, "--lem-baseline=main", "--junitxml=out.xml")
    result.assert_outcomes(passed=1, failed=1)
    comparison = gate(accepted)["comparison"]
    assert comparison["outcome"] == "REGRESSED"
    assert comparison["estimate"] == pytest.approx(0.4, abs=0.1)
    assert (comparison["launches"], comparison["relaunched"], comparison["rounds"]) == (2, True, 16)
    assert comparison["changes"] == ["options token_seconds=0.004 then, token_seconds=0.0056 now"]
    case = [
        each
        for each in ET.parse(accepted.pytester.path / "out.xml").iter("testcase")
        if each.find("failure") is not None
    ]
    assert [each.get("name") for each in case] == ["test_decode[fake-bf16-b1-gate-joules_per_token]"]
    assert "REGRESSED" in case[0].find("failure").get("message")


COSTS = """
from pathlib import Path
import pytest

@pytest.mark.lem(backend="fake", batch=1, output_tokens=4, fake={"token_seconds": 0.004})
@pytest.mark.lem_gate("cost", direction="lower")
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
    now, *later = Path("costs").read_text().split()
    Path("costs").write_text(" ".join(later))
    lem_energy.record("cost", float(now), better="lower")
"""


@pytest.mark.parametrize(
    ("costs", "outcome", "launches"),
    [("1.3 1 1 1", "INCONCLUSIVE", 3), ("1.3 1 1.3", "REGRESSED", 3), ("1.3 1.3 1", "REGRESSED", 2)],
)
def test_a_dear_launch_is_outvoted_by_the_two_after_it_or_confirmed(project, costs, outcome, launches):
    project.write(COSTS)
    told = project.pytester.path / "costs"
    for _ in range(3):
        told.write_text("1")
        assert project.run(*ROUNDS, "--lem-save=main").ret == 0
    told.write_text(costs)
    result = project.run(*ROUNDS, "--lem-baseline=main")
    failed = outcome == "REGRESSED"
    result.assert_outcomes(passed=2 - failed, failed=failed)
    comparison = gate(project)["comparison"]
    assert (comparison["outcome"], comparison["launches"], comparison["relaunched"]) == (outcome, launches, True)
    if not failed:
        result.stdout.fnmatch_lines(["*without the dearest of its 3 launches it is not clear enough*"])


def test_a_gate_that_failed_last_time_is_run_again_alone(accepted):
    write(accepted, 0.0056)
    accepted.run(*ROUNDS, "--lem-baseline=main")
    result = accepted.run("--lf", "--lem-resume", *ROUNDS, "--lem-baseline=main")
    result.assert_outcomes(failed=1)


def test_an_improvement_passes_and_says_so(accepted):
    write(accepted, 0.0024)
    result = accepted.run(*ROUNDS, "--lem-baseline=main")
    result.assert_outcomes(passed=2)
    assert gate(accepted)["comparison"]["outcome"] == "IMPROVED"
    result.stdout.fnmatch_lines(["*IMPROVED*"])


def test_throughput_falls_where_higher_is_better(accepted):
    write(accepted, 0.0056)
    result = accepted.run(*ROUNDS, "--lem-baseline=main", "--lem-fail-on=tokens_per_second:10%")
    result.assert_outcomes(passed=1, failed=1)
    assert gate(accepted)["comparison"]["estimate"] == pytest.approx(1 / 1.4 - 1, abs=0.08)


def test_a_gate_without_a_baseline_is_skipped_and_never_passes(project):
    write(project)
    result = project.run(*ROUNDS, "--lem-baseline=main", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    strict = project.run(*ROUNDS, "--lem-baseline=main", "--lem-missing-baseline=fail")
    assert strict.ret != 0
    strict.stderr.fnmatch_lines(["*--lem-baseline=main: no baseline of that name in *"])


def test_two_runs_are_not_enough_to_fail(project):
    write(project)
    for _ in range(2):
        project.run(*ROUNDS, "--lem-save=main")
    write(project, 0.0056)
    result = project.run(*ROUNDS, "--lem-baseline=main")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*LemGateWarning: joules_per_token: INCONCLUSIVE*"])
    assert gate(project)["comparison"]["reason"] == "insufficient"
    project.run(*ROUNDS, "--lem-baseline=main", "--lem-inconclusive=fail").assert_outcomes(passed=1, failed=1)


def test_a_gate_whose_cycles_were_not_run_judges_nothing(accepted):
    result = accepted.run(*ROUNDS, "--lem-baseline=main", "-k", "gate", "-rs")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["*nothing to judge*"])


def test_a_marker_gates_what_it_names_at_its_own_threshold(accepted):
    marker = '@pytest.mark.lem_gate("seconds", threshold=0.6)\n@pytest.mark.lem('
    accepted.write(GATED.format(seconds=0.0056).replace("@pytest.mark.lem(", marker, 1))
    result = accepted.run(*ROUNDS, "--lem-baseline=main", "-v")
    result.stdout.fnmatch_lines(["*gate-seconds[]] PASSED*"])
    assert gate(accepted)["comparison"]["threshold"] == 0.6


@pytest.mark.xdist
def test_under_xdist_gates_judge_what_the_workers_measured(accepted):
    write(accepted, 0.0056)
    result = accepted.subprocess(*ROUNDS, "--lem-baseline=main", "-n", "1", "-p", "xdist")
    result.assert_outcomes(passed=1, failed=1)
    assert gate(accepted)["comparison"]["launches"] == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--lem-fail-on=joules_per_token:5%"], "*--lem-fail-on=joules_per_token:5%: against what?*"),
        (["--lem-baseline=main", "--lem-fail-on=joules_per_tokn:5%"], "*nearest known one is 'joules_per_token'*"),
        (["--lem-baseline=main", "--lem-fail-on=seconds"], "*expected METRIC:PERCENT*"),
        (["--lem-baseline=main", "--lem-fail-on=seconds:lots"], "*expected a percentage such as 5%*"),
        (["--lem-baseline=main", "--lem-match=rack"], "*--lem-match=rack: expected board or model*"),
    ],
)
def test_what_cannot_be_gated_is_refused_before_anything_runs(project, options, line):
    write(project)
    result = project.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("gate", "line"),
    [
        (
            '"joules_per_tokn"',
            "*lem_gate: unknown metric 'joules_per_tokn'; the nearest known one is 'joules_per_token'",
        ),
        ('"joules_per_token", thresold=0.1', "*lem_gate: unknown keyword 'thresold'; it takes (metric, threshold, *)"),
        ('"joules_per_token", threshold=5', "*lem_gate('joules_per_token'): threshold is a share, 0.05 for 5 %; got 5"),
    ],
)
def test_a_gate_that_cannot_be_is_refused_also_where_nothing_is_compared(project, gate, line):
    """Or it is the first run with a baseline that tells, in CI, weeks later."""
    project.write(f"import pytest\n\n@pytest.mark.lem_gate({gate})\ndef test_window(lem_energy):\n    assert False\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([line])


def means(text):
    """What a million output tokens take, by configuration, as the comment has it."""
    lines = text.splitlines()
    begin = lines.index("| configuration | J/output token | Wh per million output tokens | CO2 | cost |")
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[begin + 2 :] if line[:1] == "|"]
    return {name: cells for name, *cells in rows}


def test_the_comment_for_a_pull_request_tells_deltas_and_what_they_mean(accepted):
    write(accepted, 0.0056)
    accepted.run(*ROUNDS, "--lem-baseline=main", "--lem-comment=out.md", "--lem-tariff=0.30EUR", "--lem-carbon=400")
    text = (accepted.pytester.path / "out.md").read_text()
    assert text.startswith("### Energy of inference: 1 REGRESSED")
    assert "| ✗ | `test_decode[fake-bf16-b1-gate-joules_per_token]` | joules_per_token | REGRESSED |" in text
    assert "\n- test_decode\\[fake-bf16-b1-gate-joules_per_token\\]: joules_per_token: REGRESSED +" in text
    joules, wh, grams, cost = (cell.split()[0] for cell in means(text)["test_decode[fake-bf16-b1]"])
    measured = accepted.metric("joules_per_token")["value"]
    assert float(joules) == pytest.approx(measured, rel=1e-3)
    assert float(wh) == pytest.approx(1e6 * measured / 3600, rel=1e-3)
    assert float(grams) == pytest.approx(400 * 1e3 * measured / 3600, rel=0.01)
    assert float(cost) == pytest.approx(0.30 * 1e3 * measured / 3600, rel=0.01)
    change, low, high = (gate(accepted)["comparison"][key] for key in ("estimate", "low", "high"))
    assert f"+{100 * change:.0f} %" in text
    assert f"+{100 * low:.0f} %" in text
    assert f"+{100 * high:.0f} %" in text
    assert text.splitlines()[-1].startswith("**cheapest configuration: test_decode")


def test_two_configurations_are_settled_side_by_side(project):
    write(project)
    duel = "--lem-duel=spec:fake.token_seconds=0.0056"
    result = project.run("--lem-rounds=4", duel)
    result.assert_outcomes(passed=1, failed=1)
    comparison = gate(project)["comparison"]
    assert comparison["estimate"] == pytest.approx(0.4, abs=0.06)
    assert (comparison["pairs"], comparison["candidate"]) == (12, "spec:fake.token_seconds=0.0056")
    assert len(list((project.runs()[-1] / "duels").glob("*.json"))) == 1
    result.stdout.fnmatch_lines(["*REGRESSED +4* with spec:fake.token_seconds=0.0056 vs this test's engine (duel of*"])


def test_what_a_baseline_left_open_goes_to_the_duel_that_was_offered(project):
    write(project)
    project.run(*ROUNDS, "--lem-save=main")
    write(project, 0.0056)
    result = project.run(*ROUNDS, "--lem-baseline=main", "--lem-duel=python:" + sys.executable)
    result.assert_outcomes(passed=2)
    comparison = gate(project)["comparison"]
    assert comparison["outcome"] in ("OK", "INCONCLUSIVE")
    assert comparison["pairs"] >= 12


def test_a_test_that_was_renamed_keeps_its_history_by_its_id(project):
    known = GATED.replace("@pytest.mark.lem(", '@pytest.mark.lem(id="decode", ', 1)
    project.write(known.format(seconds=0.004))
    for _ in range(3):
        project.run(*ROUNDS, "--lem-save=main")
    project.write(known.format(seconds=0.0056).replace("test_decode", "test_generation"))
    result = project.run(*ROUNDS, "--lem-baseline=main")
    result.stdout.fnmatch_lines(["FAILED *test_generation*-gate-joules_per_token*"])
    assert gate(project)["comparison"]["runs"] == 3


@pytest.mark.parametrize("again", ["--lf", "--ff"])
def test_a_regression_stays_one_when_what_failed_runs_again(accepted, again):
    write(accepted, 0.0056)
    assert accepted.run(*ROUNDS, "--lem-baseline=main").ret == 1
    accepted.run(*ROUNDS, "--lem-baseline=main", again).assert_outcomes(passed=1, failed=1)


def test_a_baseline_of_another_engine_is_incomparable_and_fails_who_wants_to_be_sure(accepted):
    for path in (accepted.pytester.path / ".lem/baselines/main").glob("*.json"):
        path.write_text(path.read_text().replace('"batch 1,', '"batch 2,'))
    result = accepted.run(*ROUNDS, "--lem-baseline=main")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*LemGateWarning: joules_per_token: INCONCLUSIVE*"])
    assert gate(accepted)["comparison"]["reason"] == "incomparable"
    accepted.run(*ROUNDS, "--lem-baseline=main", "--lem-inconclusive=fail").assert_outcomes(passed=1, failed=1)


def test_runs_of_other_boards_count_where_the_model_is_enough(accepted):
    for path in (accepted.pytester.path / ".lem/baselines/main").glob("*.json"):
        path.write_text(path.read_text().replace('"fingerprint": {', '"fingerprint": {"board": "GPU-elsewhere",'))
    write(accepted, 0.008)
    accepted.run(*ROUNDS, "--lem-baseline=main").assert_outcomes(passed=2)
    assert gate(accepted)["comparison"]["differences"] == ["board GPU-elsewhere then, none now"]
    accepted.run(*ROUNDS, "--lem-baseline=main", "--lem-match=model").assert_outcomes(passed=1, failed=1)
    comparison = gate(accepted)["comparison"]
    assert (comparison["outcome"], comparison["runs"]) == ("REGRESSED", 3)


def test_a_module_that_expects_its_tests_to_fail_does_not_excuse_a_regression(accepted):
    text = GATED.format(seconds=0.0056)
    accepted.write(text.replace("import pytest\n", "import pytest\n\npytestmark = pytest.mark.xfail\n", 1))
    accepted.run(*ROUNDS, "--lem-baseline=main").assert_outcomes(xpassed=1, failed=1)


def test_measurements_with_names_are_gated_each(accepted):
    named = GATED.replace("measure(lem_backend, lem_workload)", 'measure(lem_backend, lem_workload, name="a")')
    accepted.write(named.format(seconds=0.004))
    for _ in range(3):
        accepted.run(*ROUNDS, "--lem-save=named")
    accepted.write(named.format(seconds=0.0056))
    result = accepted.run(*ROUNDS, "--lem-baseline=named")
    result.stdout.fnmatch_lines(["lem: 1 gate against named (3 runs): could see*"])
    result.assert_outcomes(passed=1, failed=1)


def test_github_shows_a_regression_at_the_line_of_its_test(accepted, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write(accepted, 0.0056)
    result = accepted.run(*ROUNDS, "--lem-baseline=main")
    result.stdout.fnmatch_lines(
        ["::error file=test_it.py,line=3,title=joules_per_token regressed::*REGRESSED +*%25 vs main*"]
    )


@pytest.mark.xdist
def test_github_is_told_once_of_what_a_worker_found(accepted, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write(accepted, 0.0056)
    result = accepted.subprocess(*ROUNDS, "--lem-baseline=main", "-n2")
    assert sum(line.startswith("::error") for line in result.outlines) == 1


def test_github_shows_what_was_failed_for_being_unsure(project, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    write(project)
    project.run(*ROUNDS, "--lem-save=main")
    result = project.run(*ROUNDS, "--lem-baseline=main", "--lem-inconclusive=fail")
    result.stdout.fnmatch_lines(["::error file=test_it.py,line=*,title=joules_per_token cannot be told::*"])


WINDOW = """
import time

def test_nap(lem_energy):
    with lem_energy.window("nap"):
        time.sleep(0.05)

def test_plain():
    pass

def test_other_plain():
    pass
"""


@pytest.mark.xdist
def test_under_xdist_a_window_and_its_gate_run_on_one_worker(project):
    project.write(WINDOW)
    for _ in range(3):
        project.run("--lem-save=main")
    options = ("--lem-baseline=main", "--lem-fail-on=seconds:5%", "-n", "2", "-p", "xdist", "-rs")
    result = project.subprocess(*options)
    assert "nothing to judge" not in result.stdout.str()
    assert gate(project)["test"] == "test_it.py::test_nap[gate-seconds]"


def test_a_creep_that_no_single_run_shows_is_told_against_the_first_runs(project):
    for step in range(9):
        write(project, 0.006 * 1.01**step)
        project.run(*ROUNDS, "--lem-save=main")
    write(project, 0.006 * 1.01**9)
    result = project.run(*ROUNDS, "--lem-baseline=main", "--lem-fail-on=joules_per_token:6%")
    result.assert_outcomes(passed=2)
    assert gate(project)["comparison"]["creep"] == pytest.approx(1.01**8 - 1, abs=0.02)
    result.stdout.fnmatch_lines(["*creeping: +* % since the first runs of this baseline*"])
