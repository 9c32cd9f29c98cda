"""A run that ended too early goes on where it was: nothing is measured twice, nothing is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
from builders import GPU, a_gpu, an_environment
from users_project import SHORT, TEST

from pytest_lem.model.errors import EngineError
from pytest_lem.plugin.breaker import Breaker
from pytest_lem.plugin.resume import differences

KILLED = TEST.replace(
    "    lem_energy.measure(lem_backend, lem_workload)",
    """    import os, pathlib
    if lem_workload.batch == 8 and not pathlib.Path("again").exists():
        pathlib.Path("again").touch()
        os.kill(os.getpid(), 9)
    lem_energy.measure(lem_backend, lem_workload)""",
)
"""Pytest is killed while it runs the second batch, the first time."""

BROKEN = TEST.replace(
    "    lem_energy.measure(lem_backend, lem_workload)",
    """    import pathlib
    if lem_workload.batch == 8 and not pathlib.Path("mended").exists():
        lem_backend.engine.kill()
    lem_energy.measure(lem_backend, lem_workload)""",
)
"""The engine of the second batch dies until the file `mended` is there."""


def cycles(project) -> list[tuple[str, int, str]]:
    """Experiment, cycle and launch of all that the report shows."""
    return [
        (measurement["id"].partition("[")[2], cycle["index"], cycle["launch"])
        for measurement in project.report()["measurements"]
        for cycle in measurement["cycles"]
    ]


@contextmanager
def holding(run):
    """Another process that has the run open, until the end of the block."""
    program = f"from pathlib import Path; from pytest_lem.store.run import Run; Run.open(Path({str(run)!r})).hold()"
    command = [sys.executable, "-c", f"{program}; print('held', flush=True); input()"]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        yield
    finally:
        other.kill()
        other.communicate()


def measured(project) -> list[str]:
    """The items whose end is in the samples of the one run, each as often as it was measured."""
    (run,) = project.runs()
    lines = [json.loads(line) for path in run.glob("samples-*.jsonl") for line in path.read_text().splitlines()]
    return sorted(line["measurement"]["test"] for line in lines if line["event"] == "measurement")


def starts(project) -> int:
    (run,) = project.runs()
    return len(list((run / "logs").glob("*.log")))


def test_a_killed_run_goes_on_with_what_it_has_not_measured(project):
    project.write(KILLED)
    project.subprocess("--lem-cycles=2", "-k", "c0")
    assert measured(project) == ["test_it.py::test_decode[fake-bf16-b1-c0]"]
    result = project.subprocess("--lem-resume", "--lem-cycles=2")
    result.assert_outcomes(passed=4)
    assert measured(project) == [f"test_it.py::test_decode[fake-bf16-b{b}-c{c}]" for b in (1, 8) for c in (0, 1)]
    assert [found[:2] for found in cycles(project)] == [
        ("fake-bf16-b1]", 0),
        ("fake-bf16-b1]", 1),
        ("fake-bf16-b8]", 0),
        ("fake-bf16-b8]", 1),
    ]
    assert project.report()["run"]["complete"] is True


def test_what_was_measured_is_given_back_so_that_asserts_and_budgets_judge_it_again(project):
    text = TEST.replace("[1, 8]", "1").replace(
        "    lem_energy.measure(lem_backend, lem_workload)",
        "    result = lem_energy.measure(lem_backend, lem_workload)\n"
        "    assert lem_backend.observed['precision'] == 'bfloat16'\n"
        "    print('tokens', result.tokens_per_second, 'of cycle', lem_backend.cycle)\n",
    )
    project.write(text)
    first = project.run("-s", "--lem-budget=tokens_per_second:1e9")
    first.assert_outcomes(failed=1)
    second = project.run("-s", "--lem-budget=tokens_per_second:1e9", "--lem-resume")
    second.assert_outcomes(failed=1)
    told = [next(line for line in run.outlines if line.startswith("tokens")) for run in (first, second)]
    assert told[0] == told[1]
    assert starts(project) == 1
    assert len(project.report()["verdicts"]) == 1


def test_an_engine_starts_for_what_was_not_measured_and_only_then(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run().assert_outcomes(passed=1)
    more = (
        TEST.replace("[1, 8]", "1") + "    lem_energy.measure(lem_backend, lem_workload.replace(batch=2), name='two')\n"
    )
    project.write(more)
    project.run("--lem-resume").assert_outcomes(passed=1)
    assert starts(project) == 2
    assert [m["name"] for m in project.report()["measurements"]] == ["", "two"]


@pytest.mark.parametrize(
    ("now", "options", "told"),
    [
        (("output_tokens=4", "output_tokens=16"), (), (16, 4, 0.001)),
        (("", ""), ("--lem-rounds=5",), (4, 5, 0.001)),
        (("0.001", "0.002"), (), (4, 4, 0.002)),
    ],
    ids=["workload", "protocol", "engine"],
)
def test_another_experiment_of_the_same_name_is_measured_anew(project, now, options, told):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    project.write(TEST.replace("[1, 8]", "1").replace(*now))
    project.run("--lem-resume", *options).assert_outcomes(passed=1)
    assert len(measured(project)) == 2
    (found,) = project.report()["measurements"]
    (cycle,) = found["cycles"]  # never mixed with what was before
    pace = found["engine"]["requested"]["options"]["token_seconds"]
    assert (found["workload"]["output_tokens"], len(cycle["rounds"]), pace) == told
    assert found["metrics"]["tokens_per_second"]["covers"] == "this session only"


def test_a_window_runs_again_and_its_last_time_counts(project):
    project.write("def test_window(lem_energy):\n    with lem_energy.window('w'): pass\n")
    for _ in range(3):
        project.run("--lem-resume" if project.runs() else "-q").assert_outcomes(passed=1)
    (found,) = project.report()["measurements"]
    assert [cycle["index"] for cycle in found["cycles"]] == [0]


def test_a_run_that_still_goes_on_is_not_continued(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    with holding(project.runs()[0]):
        result = project.run("--lem-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-resume: run * is still running; wait for its end, or begin a new one"])
    project.run("--lem-resume").assert_outcomes(passed=1)


def test_looking_at_what_is_left_changes_no_report(project):
    project.write(BROKEN)
    project.run()
    report = project.report()
    for options in (["--collect-only"], ["-k", "nothing"]):
        project.run("--lem-resume", *options)
        assert project.report() == report
    project.run("--lem-resume", "-k", "b1").assert_outcomes(passed=1, deselected=1)
    assert "b8-c0]: failed: engine 'fake' is not running" in project.report()["missing"][0]


def test_rounds_that_a_stranger_spoiled_are_measured_again(project, monkeypatch):
    project.write(TEST.replace("[1, 8]", "1"))
    monkeypatch.setenv("FAKE_METER", "fault")
    project.run()
    monkeypatch.delenv("FAKE_METER")
    project.run("--lem-resume").assert_outcomes(passed=1)
    assert project.metric("joules_per_token")["value"] > 0


def test_other_meters_measure_another_run(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    result = project.run("--lem-resume", "--lem-meter=auto")
    result.stderr.fnmatch_lines(["ERROR: --lem-resume: run * cannot be continued here: --lem-meter was fake then; *"])


@pytest.mark.parametrize("again", [("--lem-meter=auto,fake",), ("--lem-meter=auto", "--lem-meter=fake")])
def test_several_meters_are_the_same_in_one_word_and_in_two(project, again):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run("--lem-meter=auto,fake").assert_outcomes(passed=1)
    project.run("--lem-resume", *again).assert_outcomes(passed=1)
    result = project.run("--lem-resume", "--lem-meter=auto")
    result.stderr.fnmatch_lines(["ERROR: *: --lem-meter was auto,fake then; begin a new one"])
    assert len(measured(project)) == 1


@pytest.mark.parametrize(
    ("then", "now", "line"),
    [
        ("--lem-shard=1/2", "--lem-shard=2/2", "--lem-shard was 1/2 then"),
        ("--lem-shard=1/2", "--lem-shard=1/3", "--lem-shard was 1/2 then"),
        ("--lem-shard=1/2", "-q", "--lem-shard was 1/2 then"),
        ("-q", "--lem-shard=1/2", "--lem-shard was not given then"),
    ],
)
def test_a_run_goes_on_as_no_other_part_of_the_whole(project, then, now, line):
    project.write()
    project.run(then)
    before = measured(project)
    result = project.run("--lem-resume", now)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (run,) = project.runs()
    result.stderr.fnmatch_lines(
        [f"ERROR: --lem-resume: run {run.name} cannot be continued here: {line}; begin a new one"]
    )
    assert measured(project) == before


def test_a_shard_goes_on_as_the_same_shard_wherever_it_is_said(project):
    project.write(BROKEN)
    project.run("--lem-shard=2/2").assert_outcomes(failed=1, deselected=1)
    (project.pytester.path / "mended").touch()
    project.pytester.makefile(".ini", pytest=f"{SHORT}lem_shard = 2/2\n")
    project.run("--lem-retry-failed").assert_outcomes(passed=1, deselected=1)
    assert (len(project.runs()), project.report()["run"]["complete"]) == (1, True)


def test_only_the_budgets_of_the_last_judgement_stand_in_the_report(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run("--lem-budget=tokens_per_second:1e9").assert_outcomes(failed=1)
    result = project.run("--lem-resume", "--lem-budget=tokens_per_second:1")
    result.assert_outcomes(passed=1)
    assert [verdict["limit"] for verdict in project.report()["verdicts"]] == [1]
    result.stdout.no_fnmatch_line("*breaks its budget*")


def test_samples_that_cannot_be_read_are_one_line(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    (run,) = project.runs()
    (run / "samples-gw0.jsonl").write_text('{"a": 1}\n')
    result = project.run("--lem-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *samples-gw0.jsonl line 1: *"])


def test_what_failed_is_told_and_not_tried_again_until_it_is_asked_for(project):
    project.write(BROKEN)
    project.run().assert_outcomes(passed=1, failed=1)
    again = project.run("--lem-resume")
    again.assert_outcomes(passed=1, errors=1)
    again.stdout.fnmatch_lines(["*failed before in this run: engine 'fake'*(--lem-retry-failed tries it again)*"])
    assert starts(project) == 1
    assert "b8-c0]: failed: failed before" in project.report()["missing"][0]
    (project.pytester.path / "mended").touch()
    project.run("--lem-retry-failed").assert_outcomes(passed=2)
    assert project.report()["missing"] == []
    assert measured(project)[:1] == ["test_it.py::test_decode[fake-bf16-b1-c0]"]


def test_a_run_is_named_or_the_newest_is_taken(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    project.run()
    first, second = project.runs()
    project.run("--lem-resume").stdout.fnmatch_lines([f"report: *{second.name}*"])
    project.run(f"--lem-resume-run={first.name}").stdout.fnmatch_lines([f"report: *{first.name}*"])
    assert len(project.runs()) == 2


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--lem-resume", "ERROR: --lem-resume: there is no run to continue in *; leave the option out to begin one"),
        ("--lem-resume-run=other", "ERROR: --lem-resume: there is no run to continue in *"),
        ("--lem-max-engine-failures=0", "ERROR: --lem-max-engine-failures=0: at least one engine must be*"),
    ],
)
def test_a_run_that_cannot_be_continued_is_one_line(project, option, line):
    project.write()
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_a_run_of_another_name_is_told_with_the_newest(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    result = project.run("--lem-resume-run=other")
    result.stderr.fnmatch_lines(
        [f"ERROR: --lem-resume-run=other: there is no such run in *; the newest is {project.runs()[0].name}"]
    )


def test_a_run_from_another_environment_is_not_mixed_with_this_one(project):
    project.write(TEST.replace("[1, 8]", "1"))
    project.run()
    path = project.runs()[0] / "run.json"
    record = json.loads(path.read_text())
    record["environment"]["packages"]["numpy"] = "1.0"
    path.write_text(json.dumps(record))
    result = project.run("--lem-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --lem-resume: run * cannot be continued here: numpy 1.0 then, * now; begin a new one"]
    )


@pytest.mark.parametrize(
    ("now", "line"),
    [
        ({"host": "bench-2"}, "host bench-1 then, bench-2 now"),
        ({"python": "3.13.0"}, "Python 3.12.4 then, 3.13.0 now"),
        ({"cpu": "EPYC, 4 cores"}, "CPU EPYC, 8 cores then, EPYC, 4 cores now"),
        ({"packages": {}}, "pytest-lem 0.1.0 then, absent now"),
        ({"gpus": ()}, f"GPU {GPU} is not here now"),
        (
            {"gpus": (a_gpu().replace(power_limit_w=350.0),)},
            f"GPU {GPU} has another driver, power limit or clocks now",
        ),
        (
            {"gpus": (a_gpu(), a_gpu("GPU-b").replace(name="NVIDIA A100"))},
            "GPU GPU-b (NVIDIA A100) is no GPU of then",
        ),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_each_fact_of_the_environment_that_is_another_now_is_told(now, line):
    assert differences(an_environment(cpu="EPYC, 8 cores"), an_environment(**{"cpu": "EPYC, 8 cores"} | now)) == [line]


def test_what_the_numbers_do_not_depend_on_may_be_another():
    then = an_environment(platform="Linux-6.8")  # of before the CPU was told
    now = an_environment(cpu="EPYC, 8 cores", platform="Linux-6.9", gpus=(a_gpu(), a_gpu("GPU-b")))
    assert differences(then, now) == []


def test_an_engine_that_was_changed_in_its_own_environment_does_not_go_on_with_the_run(project, monkeypatch):
    project.write(TEST.replace("[1, 8]", "[1, 2, 8]"))
    monkeypatch.setenv("FAKE_VERSION", "1.0")
    project.run("-k", "b1")
    monkeypatch.setenv("FAKE_VERSION", "2.0")
    result = project.run("--lem-resume")
    result.assert_outcomes(passed=1, errors=2)  # what was measured needs no engine
    line = (
        "--lem-resume: fake is not the engine that this run measured with: fake 1.0 then, 2.0 now; give it its "
        "interpreter of then (--lem-python=fake=PATH), or begin a new run"
    )
    assert line in result.outlines
    assert [line in each for each in project.report()["missing"]] == [True, True]
    assert (len(measured(project)), starts(project)) == (1, 2)  # the second refusal starts nothing
    monkeypatch.setenv("FAKE_VERSION", "1.0")
    project.run("--lem-resume").assert_outcomes(passed=3)
    assert project.report()["missing"] == []


@pytest.mark.xdist
def test_workers_continue_a_run_too(project):
    project.write(KILLED.replace("os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"))
    project.subprocess()
    assert len(measured(project)) == 1
    project.subprocess("--lem-resume", "-n2", "--lem-lanes=2").assert_outcomes(passed=2)
    assert len(measured(project)) == 2
    assert [found[0] for found in cycles(project)] == ["fake-bf16-b1]", "fake-bf16-b8]"]


def test_after_three_engines_that_failed_in_a_row_nothing_more_is_tried(project):
    failing = TEST.replace('{"token_seconds": 0.001}', '{"at": "load", "fault": "exit"}').replace("[1, 8]", "1")
    project.write(failing.replace("batch=1", "batch=1, precision=['fp32', 'fp16', 'bf16'], cycles=2"))
    result = project.run("-rs")
    result.assert_outcomes(errors=3, skipped=3)
    result.stdout.fnmatch_lines(["*not run: 3 engines failed in a row, the last one: engine 'fake'*"])
    assert starts(project) == 3
    missing = project.report()["missing"]
    assert [": failed: " in line for line in missing] == [True] * 3 + [False] * 3
    assert all(": not run: " in line for line in missing[3:])


def test_engines_that_die_at_work_count_and_one_that_measures_ends_their_row(project):
    """The second engine of five and the last are sound; the fourth is the second in a row that is not."""
    sound = '{"token_seconds": 0.001}'
    dies = '{{"at": "run", "fault": "exit", "load_seconds": {}}}'
    sections = [dies.format(0.01), sound, dies.format(0.02), dies.format(0.03), '{"slots": 1}']
    project.write(TEST.replace("[1, 8]", "1").replace(sound, f"[{', '.join(sections)}]"))
    result = project.run("-rs", "--lem-max-engine-failures=2")
    result.assert_outcomes(failed=3, passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*not run: 2 engines failed in a row, the last one: engine 'fake'*"])
    assert starts(project) == 4


def test_what_is_measured_already_needs_no_engine_that_works(project):
    good = TEST.replace("[1, 8]", "1").replace("test_decode", "test_z")
    bad = TEST.replace('{"token_seconds": 0.001}', '{"at": "load", "fault": "exit"}').replace("[1, 8]", "[1, 2, 3]")
    project.write(bad + good.replace("import pytest", ""))
    project.run("-k", "test_z").assert_outcomes(passed=1, deselected=3)
    project.run("--lem-resume").assert_outcomes(passed=1, errors=3)


def test_expected_failures_do_not_hide_that_something_was_not_run(project):
    bad = TEST.replace('{"token_seconds": 0.001}', '{"at": "load", "fault": "exit"}').replace("[1, 8]", "[1, 2, 3]")
    good = TEST.replace("[1, 8]", "1").replace("test_decode", "test_z").replace("import pytest", "")
    project.write(bad.replace("@pytest.mark.lem", "@pytest.mark.xfail\n@pytest.mark.lem") + good)
    result = project.run()
    result.assert_outcomes(xfailed=3, skipped=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*some tests were not run: --lem-resume takes them up*"])


def test_a_batch_that_does_not_fit_says_nothing_of_the_other_batches():
    breaker = Breaker(limit=1)
    breaker.failed(EngineError("too large", kind="memory"))
    assert breaker.reason is None
    breaker.failed(EngineError("it died", kind="died"))
    assert breaker.reason == "not run: an engine failed, the last one: it died (--lem-max-engine-failures)"


def test_an_engine_that_measures_ends_the_row():
    breaker = Breaker(limit=2)
    for kind in ("died", "start"):
        breaker.failed(EngineError("no", kind=kind))
        breaker.worked()
    assert breaker.reason is None
