"""`lem merge`: shards that ran on machines of their own become one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_gpu, a_measurement, a_verdict, an_environment
from typer.testing import CliRunner
from users_project import TEST

from pytest_lem.cli import app
from pytest_lem.store.report import read_report
from pytest_lem.store.run import Run

STARTED = "import sys; from pytest_lem.cli import main; sys.argv[0] = 'lem'; "


def lem(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def only_run(results: Path) -> Path:
    (found,) = (results / "runs").glob("*/")
    return found


def shard(folder: Path, number: int, of: int = 2, verdicts=(), missing=(), **changes) -> Path:
    """A shard's folder, which measured one experiment and judged it."""
    test = f"test_it.py::test_decode[fake-bf16-b{number}-c0]"
    options = {"command": {"lem_shard": f"{number}/{of}"}, "settings": {}, "machine": {}}
    asked = {"options": options, "environment": an_environment(), "quick": False, "plan": [test]} | changes
    run = Run.create(folder, **asked)
    run.samples().measurement(a_measurement(test))
    for verdict in verdicts:
        run.samples().verdict(verdict)
    run.write_report([a_measurement(test)], verdicts, missing)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_two_shards_come_to_what_one_run_measures(project):
    project.write(TEST.replace("[1, 8]", "[1, 4, 8]"))
    asked = ("--lem-cycles=2", "--lem-budget=tokens_per_second:1")
    project.run("--lem-results=whole", *asked).assert_outcomes(passed=6)
    project.run("--lem-results=shards/b", "--lem-shard=1/2", *asked).assert_outcomes(passed=4)
    project.run("--lem-results=shards/a", "--lem-shard=2/2", *asked).assert_outcomes(passed=2)
    path = project.pytester.path
    result = lem("merge", path / "shards" / "a", path / "shards" / "b", "--results", path / "new", "--json", path / "j")
    assert (result.exit_code, result.stderr) == (0, "")
    folder = only_run(path / "new")
    merged, whole = read_report(folder), read_report(only_run(path / "whole"))
    assert [(each.id, [cycle.index for cycle in each.cycles]) for each in merged.measurements] == [
        (each.id, [cycle.index for cycle in each.cycles]) for each in whole.measurements
    ]
    assert sorted(Run.open(folder).record.plan) == sorted(Run.open(only_run(path / "whole")).record.plan)
    spread = [[(key, value.n, value.covers) for key, value in each.metrics.items()] for each in whole.measurements]
    assert [
        [(key, value.n, value.covers) for key, value in each.metrics.items()] for each in merged.measurements
    ] == spread
    assert ("tokens_per_second", 2, "range") in spread[0]
    assert sorted((each.test, each.status) for each in merged.verdicts) == sorted(
        (each.test, each.status) for each in whole.verdicts
    )
    assert (merged.run.complete, merged.missing) == (True, ())
    assert len(list((folder / "logs").iterdir())) == len(list((only_run(path / "whole") / "logs").iterdir())) + 2
    assert read_report(path / "j") == merged
    assert result.stdout.splitlines()[0].startswith("3 measurements")
    *_, place, cheapest = result.stdout.splitlines()
    assert place == f"report: {folder / 'report.json'}"
    assert cheapest.startswith("cheapest configuration: test_decode[fake-bf16-b")
    assert sorted(each.name for each in path.iterdir() if "merge" in each.name) == []


def test_what_failed_on_a_shard_is_missing_in_the_merged_run(project):
    broken = TEST.replace("    lem_energy.measure", "    assert lem_workload.batch == 1, 'no'\n    lem_energy.measure")
    project.write(broken)
    for number in (1, 2):
        project.run(f"--lem-results=shard-{number}", f"--lem-shard={number}/2")
    path = project.pytester.path
    result = lem("merge", path / "shard-1", path / "shard-2", "--results", path / "new")
    assert result.exit_code == 1
    merged = read_report(only_run(path / "new"))
    assert merged.missing == read_report(only_run(path / "shard-2")).missing
    assert merged.missing[0].startswith("test_it.py::test_decode[fake-bf16-b8-c0]: failed: ")
    assert "incomplete, 1 missing:" in result.stdout


def test_a_shard_that_never_came_is_told_and_the_run_is_incomplete(tmp_path):
    folders = [shard(tmp_path / str(number), number, 5) for number in (1, 3, 4)]
    result = lem("merge", *folders, "--results", tmp_path / "new")
    assert result.exit_code == 1
    assert "  shards 2 and 5 of 5 are missing" in result.stdout.splitlines()
    assert read_report(only_run(tmp_path / "new")).missing == ("shards 2 and 5 of 5 are missing",)


@pytest.mark.parametrize(("status", "code"), [("passed", 0), ("unavailable", 0), ("failed", 1)])
def test_a_broken_budget_fails_the_merge(tmp_path, status, code):
    verdict = a_verdict(status=status, line=f"joules_per_token: {status}")
    folders = [shard(tmp_path / "1", 1), shard(tmp_path / "2", 2, verdicts=[verdict])]
    result = lem("merge", *folders, "--results", tmp_path / "new")
    assert result.exit_code == code
    assert (verdict.line in result.stdout) == (status != "passed")


def test_runs_that_cannot_be_mixed_are_refused_and_nothing_is_left(tmp_path):
    one = shard(tmp_path / "1", 1)
    gpu = a_gpu().replace(driver="580.1")
    two = shard(tmp_path / "2", 2, quick=True, environment=an_environment(gpus=[gpu]))
    before = files(tmp_path)
    result = lem("merge", one, two, "--results", tmp_path / "new", "--json", tmp_path / "copy.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"lem merge: {one} and {two} cannot be merged: driver 570.86.15 and 580.1",
        f"lem merge: {one} and {two} cannot be merged: --lem-quick off and on",
    ]
    assert files(tmp_path) == before


def test_shards_of_code_that_was_committed_between_them_are_refused(project):
    path = project.pytester.path

    def commit(text):
        project.write(text)
        for words in (["init", "--quiet"], ["add", "test_it.py"], ["commit", "--quiet", "--message=x"]):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=path, check=True)
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=path, check=True, capture_output=True, text=True)
        return found.stdout[:12]

    commits = []
    for number, tokens in ((1, 4), (2, 8)):
        commits.append(commit(TEST.replace("output_tokens=4", f"output_tokens={tokens}")))
        project.run(f"--lem-shard={number}/2", f"--lem-results={number}").assert_outcomes(passed=1)
    result = lem("merge", path / "1", path / "2", "--results", path / "new")
    line = f"lem merge: {path / '1'} and {path / '2'} cannot be merged: commit {commits[0]} and {commits[1]}\n"
    assert (result.exit_code, result.stderr) == (2, line)
    assert not (path / "new").exists()


def test_a_run_and_its_copy_are_refused(tmp_path):
    one = shard(tmp_path / "1", 1)
    copy = shutil.copytree(one, tmp_path / "copy")
    result = lem("merge", one, copy, "--results", tmp_path / "new")
    assert (result.exit_code, result.stderr) == (2, f"lem merge: {one} and {copy} are the same run; name it once\n")


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda folder: shutil.rmtree(folder / "runs"), "lem merge: {folder}: there is no run here; name a run's*"),
        (lambda folder: (only_run(folder) / "run.json").write_text("{}"), "*run.json: id: Field required"),
        (lambda folder: (only_run(folder) / "report.json").write_text("?"), "*report.json: Invalid JSON: *"),
        (lambda folder: (only_run(folder) / "samples-main.jsonl").write_text("{}\n"), "*samples-main.jsonl line 1: *"),
    ],
)
def test_a_run_that_cannot_be_read_is_one_line(tmp_path, spoil, line):
    folder = shard(tmp_path / "1", 1)
    spoil(folder)
    result = lem("merge", folder, "--results", tmp_path / "new")
    assert result.exit_code == 2
    pytest.LineMatcher(result.stderr.splitlines()).fnmatch_lines([line.format(folder=folder)])
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_copy_that_has_no_folder_is_refused_before_anything_is_written(tmp_path):
    copy = tmp_path / "nowhere" / "report.json"
    result = lem("merge", shard(tmp_path / "1", 1), "--results", tmp_path / "new", "--json", copy)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lem merge: --json={copy}: there is no folder")
    assert not (tmp_path / "new").exists()


def test_results_that_cannot_be_written_name_the_option(tmp_path):
    (tmp_path / "file").touch()
    result = lem("merge", shard(tmp_path / "1", 1), "--results", tmp_path / "file")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lem merge: --results={tmp_path / 'file'}: results cannot be written there")


@pytest.mark.parametrize(("sign", "left"), [("SIGKILL", 1), ("SIGTERM", 0), ("SIGINT", 0)])
def test_a_merge_that_is_killed_half_way_leaves_no_half_run(tmp_path, sign, left):
    folders = [shard(tmp_path / "shards" / str(number), number) for number in (1, 2)]
    dying = f"""import os, shutil, signal
copy = shutil.copyfile
def dies(source, target):
    copy(source, target)
    if '2-main' in str(target):
        os.kill(os.getpid(), signal.{sign})
shutil.copyfile = dies
"""
    command = [sys.executable, "-c", dying + STARTED + "main()", "merge", *folders, "--results", tmp_path / "new"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode != 0
    assert not (tmp_path / "new").exists()
    assert len(list(tmp_path.glob(".new-merge-*"))) == left


def test_a_merge_where_only_the_results_can_be_written_is_made_there(tmp_path, monkeypatch):
    folders = [shard(tmp_path / "shards" / str(number), number) for number in (1, 2)]
    results = tmp_path / "disk" / "new"
    results.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: path != results.parent)
    made = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, to: made.append(path) or rename(path, to))
    assert lem("merge", *folders, "--results", results).exit_code == 0
    assert made[0].parent.parent == results
    assert sorted(path.name for path in results.iterdir()) == [".gitignore", "runs"]


def test_the_merged_run_lies_beside_others(tmp_path):
    folders = [shard(tmp_path / ".lem", number) for number in (1, 2)]
    runs = sorted((tmp_path / ".lem" / "runs").iterdir())
    assert lem("merge", folders[0], "--results", folders[0]).exit_code == 2  # there are two
    assert lem("merge", *runs, "--results", folders[0]).exit_code == 0
    assert len(list((tmp_path / ".lem" / "runs").iterdir())) == 3


def test_help_loads_nothing_that_is_heavy():
    heavy = ("numpy", "scipy", "pydantic", "rich", "yaml", "pytest", "pynvml")
    program = f"""{STARTED}
try:
    main()
except SystemExit as end:
    assert not end.code
sys.stderr.write(' '.join(name for name in {heavy!r} if name in sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, timeout=120)
    assert "merge" in found.stdout
    assert (found.stderr, found.returncode) == ("", 0)


def test_the_script_is_installed_by_the_projects_own_name():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert '[project.scripts]\nlem = "pytest_lem.cli:main"\n' in project


def test_a_report_of_a_merged_run_names_its_runs(tmp_path):
    folders = [shard(tmp_path / str(number), number) for number in (2, 1)]
    assert lem("merge", *folders, "--results", tmp_path / "new").exit_code == 0
    options = json.loads((only_run(tmp_path / "new") / "report.json").read_text())["run"]["options"]
    assert options == {
        "command": {},
        "settings": {},
        "machine": {},
        "merged": [only_run(folder).name for folder in reversed(folders)],
    }
