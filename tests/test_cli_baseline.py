"""`lem baseline`: runs are accepted, shown and pruned, and each command says what a gate still lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from builders import a_cycle, a_measurement, a_round, an_environment
from typer.testing import CliRunner
from users_project import TEST

from pytest_lem.cli import app
from pytest_lem.model.measurement import Measurement
from pytest_lem.store.baselines import all_runs, open_baseline
from pytest_lem.store.run import Run

EXPERIMENT = "test_it.py::test_decode[fake-bf16-b8]"


def lem(*arguments: object):
    return CliRunner().invoke(app, ["baseline", *map(str, arguments)])


def measured(count: int = 8, **changes) -> Measurement:
    return a_measurement(EXPERIMENT, cycles=(a_cycle(rounds=count),), **changes)


def a_run(results: Path, *measurements: Measurement) -> Run:
    run = Run.create(results, options={}, environment=an_environment(), quick=False, plan=[EXPERIMENT])
    run.write_report(measurements or (measured(),))
    return run


def runs(results: Path, count: int) -> list[Run]:
    """Named so that they sort in the order in which they were made, within one millisecond too."""
    return sorted((a_run(results) for _ in range(count)), key=lambda run: run.id)


def test_a_run_that_pytest_measured_becomes_a_baseline(project):
    project.write(TEST.replace("[1, 8]", "[8]"))
    project.run("--lem-rounds=8").assert_outcomes(passed=1)
    results = project.pytester.path / ".lem"
    done = lem("add", "main", "--results", results)
    assert (done.exit_code, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == f"baseline main: accepted {project.runs()[0].name}.json; 1 run in epoch 1"
    assert rest == [f"{EXPERIMENT}: 1 of 3 runs needed before this gate can fail"]
    (metric,) = open_baseline(results, "main").history(EXPERIMENT, "", "tokens_per_second")
    shown = project.metric("tokens_per_second")["value"]
    assert len(metric.launches[0]) == 8
    assert min(metric.launches[0]) <= shown <= max(metric.launches[0])


def test_a_quick_run_is_refused_in_one_line(project):
    project.write(TEST.replace("[1, 8]", "[8]"))
    project.run("--lem-quick")
    done = lem("add", "main", "--results", project.pytester.path / ".lem")
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"lem baseline add: run {project.runs()[0].name} cannot enter baseline main: "
        r"test_it.py::test_decode\[.*\] is left out: it is a quick look \(--lem-quick\), too short to compare with\n",
        done.stderr,
    )


def test_the_newest_run_is_taken_unless_another_is_named(tmp_path):
    first, second, third = runs(tmp_path, 3)
    for asked in ([], [second.id], [first.directory], [third.directory / "report.json"]):
        assert lem("add", "main", *asked, "--results", tmp_path).exit_code == 0
    assert [run.id for run in all_runs(tmp_path, "main")] == [second.id, first.id, third.id]


def test_other_programs_read_what_was_done_as_json(tmp_path):
    first, second = runs(tmp_path, 2)
    told = [json.loads(lem("add", "main", run.id, "--results", tmp_path, "--json").stdout) for run in (first, second)]
    assert [len(each["runs"]) for each in told] == [1, 2]
    assert told[0]["lacking"]
    shown = json.loads(lem("show", "main", "--results", tmp_path, "--json").stdout)
    assert [run["id"] for run in shown["runs"]] == [first.id, second.id]
    gone = json.loads(lem("prune", "main", "--keep", "1", "--results", tmp_path, "--json").stdout)
    assert gone == {"baseline": "main", "deleted": 0, "kept": 2}


def test_an_artifact_of_ci_is_found_in_its_folder(tmp_path):
    run = a_run(tmp_path / "artifact")
    assert lem("add", "main", tmp_path / "artifact", "--results", tmp_path).exit_code == 0
    assert [each.id for each in all_runs(tmp_path, "main")] == [run.id]


def test_accepting_a_change_begins_an_epoch(tmp_path):
    first, second = runs(tmp_path, 2)
    lem("add", "main", first.id, "--results", tmp_path)
    done = lem("accept", "main", second.id, "--results", tmp_path)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"baseline main: accepted {second.id}.json; 1 run in epoch 2\n")
    assert [(run.id, run.epoch) for run in all_runs(tmp_path, "main")] == [(first.id, 1), (second.id, 2)]


def test_what_is_left_out_is_said(tmp_path):
    cut = a_measurement("test_cut", cycles=(a_cycle(stopped="interrupted"),))
    run = a_run(tmp_path, measured(), cut)
    done = lem("add", "main", "--results", tmp_path)
    assert done.exit_code == 0
    assert "test_cut is left out: a launch of it was cut short" in done.stdout.splitlines()
    written = json.loads((tmp_path / "baselines" / "main" / f"{run.id}.json").read_text())
    assert [entry["test"] for entry in written["entries"]] == [EXPERIMENT]


def test_a_baseline_shows_its_runs_and_what_they_came_to(tmp_path):
    for number, run in enumerate(runs(tmp_path, 3)):
        rounds = tuple(a_round(i, tokens=2_000 + 200 * number) for i in range(8))
        run.write_report([a_measurement(EXPERIMENT, cycles=(a_cycle(rounds=rounds),))])
        lem("add", "main", run.id, "--results", tmp_path)
    done = lem("show", "main", "--results", tmp_path)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "baseline main: 3 runs, epoch 1"
    assert all(
        re.fullmatch(r"  \S+: accepted [\d-]+ [\d:]+ UTC(, commit \w{12})?, 1 measurement", line) for line in lines[1:4]
    )
    assert lines[4:] == [f"{EXPERIMENT}: joules_per_token 364 mJ/tok, 333 mJ/tok to 400 mJ/tok over 3 runs"]


def test_a_single_report_is_shown_like_a_baseline(tmp_path):
    run = a_run(tmp_path)
    done = lem("show", run.directory, "--results", tmp_path)
    assert done.stdout.splitlines()[2:] == [
        f"{EXPERIMENT}: joules_per_token 400 mJ/tok",
        f"{EXPERIMENT}: 1 of 3 runs needed before this gate can fail",
    ]


def test_pruning_says_how_many_runs_are_gone(tmp_path):
    for run in runs(tmp_path, 6):
        lem("add", "main", run.id, "--results", tmp_path)
    done = lem("prune", "main", "--keep", 2, "--results", tmp_path)
    assert (done.exit_code, done.stdout) == (0, "baseline main: 1 run deleted, 5 kept\n")
    assert len(list((tmp_path / "baselines" / "main").iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["add", "main"], "lem baseline add: there is no run with a report in {results}/runs; name one, or *"),
        (
            ["accept", "main", "nope"],
            "lem baseline accept: nope: there is no such run in {results}/runs, *",
        ),
        (["add", "a/b", "{results}"], "lem baseline add: {results}: there is no run here; *"),
        (["show", "main"], "lem baseline show: NAME=main: no baseline of that name in {results}/baselines (there *"),
        (["prune", "main", "--keep", "3"], "lem baseline prune: NAME=main: no baseline of that name in *"),
        (["prune", "main", "--keep", "0"], "lem baseline prune: --keep=0: keep one run at least"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(tmp_path, arguments, line):
    done = lem(*(text.format(results=tmp_path) for text in arguments), "--results", tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    pytest.LineMatcher(done.stderr.splitlines()).fnmatch_lines([line.format(results=tmp_path)])
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "baselines").exists()


def test_a_name_that_is_no_folder_is_refused(tmp_path):
    a_run(tmp_path)
    done = lem("add", "release/1", "--results", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith("lem baseline add: 'release/1' cannot name a baseline: take up to 60 letters")


def test_help_tells_the_four_commands():
    help_text = lem("--help").stdout
    assert all(re.search(rf"^  {command} ", help_text, re.MULTILINE) for command in ("add", "accept", "show", "prune"))
