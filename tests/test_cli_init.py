"""`lem init`: what it writes runs, validates, and stands beside what is there already."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ci_lab import bash, documents, executable, faults
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.experiment import schema as schemas
from pytest_lem.plugin.options import OPTIONS

FIRST = ["benchmarks/test_energy.py", "benchmarks/energy.lem.yaml", "benchmarks/lem.schema.json"]
GITHUB = ".github/workflows/energy.yml"
GITLAB = [".gitlab/energy.yml", ".gitlab-ci.yml"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str):
    return CliRunner().invoke(app, ["init", *arguments])


def there(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_in_an_empty_project_it_says_each_file_and_what_to_run_next(here):
    done = init()
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        *(f"written  {name}" for name in [*FIRST, GITHUB]),
        "next: pytest benchmarks --lem-quick",
        f"then: git add benchmarks {GITHUB}",
    ]
    assert there(here) == sorted([*FIRST, GITHUB])


@pytest.mark.torch
def test_the_first_test_and_the_first_file_run_as_they_were_written(pytester, monkeypatch):
    monkeypatch.chdir(pytester.path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = init("--ci", "none")
    command = done.stdout.splitlines()[-1].removeprefix("next: pytest ").split()
    short = ("--lem-rounds=2", "--lem-round-seconds=0.1", "--lem-max-seconds=1", "-k", "b8")
    result = pytester.runpytest_subprocess(*command, *short, "-v", "--strict-markers", "-W", "error")
    result.assert_outcomes(passed=2, deselected=2)
    result.stdout.fnmatch_lines_random(
        [
            "benchmarks/test_energy.py::test_decode[[]pytorch-bf16-b8-c0] PASSED*",
            "benchmarks/energy.lem.yaml::energy[[]pytorch-bf16-b8-c0] PASSED*",
        ]
    )


def test_what_the_first_test_offers_in_comments_is_collected_too(pytester, monkeypatch):
    monkeypatch.chdir(pytester.path)
    init("--ci", "none")
    path = pytester.path / FIRST[0]
    text, count = re.subn(r"^( *)# (@|assert)", r"\1\2", path.read_text(), flags=re.M)
    path.write_text(text)
    assert count == 3
    result = pytester.runpytest_inprocess("benchmarks", "--collect-only", "-q", "--lem-baseline=main")
    result.stdout.fnmatch_lines(["benchmarks/test_energy.py::test_decode[[]pytorch-bf16-b8-gate-joules_per_token]"])


def test_the_experiment_file_is_valid_and_finds_its_schema(here):
    init()
    done = CliRunner().invoke(app, ["config", "validate", "benchmarks"])
    assert (done.exit_code, done.stdout) == (0, "benchmarks/energy.lem.yaml: 2 experiments, 2 tests\n")
    assert json.loads((here / FIRST[2]).read_text())["title"] == schemas.TITLE


def test_the_workflow_for_github_is_one_and_measures_the_folder(here):
    init("perf/energy")
    workflow = here / GITHUB
    assert faults("vendor.github-workflows", workflow.read_text()) == []
    (gate,) = [step for step in documents(workflow.read_text())[0]["jobs"]["gate"]["steps"] if step.get("id")]
    assert gate["run"].splitlines()[1].startswith('python -m pytest perf/energy "$LEM_BASELINE" --lem-comment=')
    assert (here / "perf/energy/test_energy.py").is_file()


def test_the_job_for_gitlab_is_one_and_the_pipeline_includes_it(here):
    assert init("--ci", "gitlab").exit_code == 0
    assert there(here) == sorted([*FIRST, *GITLAB])
    for name in GITLAB:
        assert faults("vendor.gitlab-ci", (here / name).read_text()) == []
    assert documents((here / GITLAB[1]).read_text()) == [{"include": [{"local": GITLAB[0]}]}]
    assert " -m pytest benchmarks " in documents((here / GITLAB[0]).read_text())[0]["energy"]["script"][1]


def test_no_file_that_is_there_is_touched(here):
    (here / "benchmarks").mkdir()
    (here / FIRST[0]).write_text("mine\n")
    (here / GITLAB[1]).write_text("stages: [mine]\n")
    done = init("--ci", "gitlab")
    assert done.exit_code == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("kept")] == [
        f"kept     {FIRST[0]}: it was there already",
        f"kept     {GITLAB[1]}: it was there already",
    ]
    assert f"then: {GITLAB[1]} was there: say in it   include: [{{local: {GITLAB[0]}}}]" in done.stdout
    assert ((here / FIRST[0]).read_text(), (here / GITLAB[1]).read_text()) == ("mine\n", "stages: [mine]\n")


def test_a_second_time_it_keeps_them_all(here):
    init()
    before = {name: (here / name).read_text() for name in there(here)}
    told = json.loads(init("--json").stdout)
    assert (told["written"], told["kept"]) == ([], [*FIRST, GITHUB])
    assert {name: (here / name).read_text() for name in there(here)} == before


def test_for_programs_it_tells_the_same_as_json():
    assert json.loads(init("--ci", "none", "--json").stdout) == {
        "written": FIRST,
        "kept": [],
        "next": ["pytest benchmarks --lem-quick"],
    }


def test_where_one_file_cannot_be_written_none_is(here):
    (here / ".github").write_text("a file where a folder should be\n")
    done = init()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (f"lem init: {GITHUB} cannot be written (Not a directory), so nothing was; mend that first\n")
    assert [path.name for path in here.iterdir()] == [".github"]


@pytest.mark.parametrize("folder", ["../elsewhere", "/tmp", "a b", "-x", "$(touch pwned)", "a\nb", ""])
def test_a_folder_that_a_ci_file_could_not_name_is_refused(here, folder):
    done = init("--", folder)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "name a folder below this one" in done.stderr
    assert list(here.iterdir()) == []


def test_below_the_root_of_a_repository_ci_would_not_be_found(here, monkeypatch):
    (here / ".git").mkdir()
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    done = init()
    assert (done.exit_code, done.stderr) == (
        2,
        f"lem init: CI looks in the root of the repository only: run it in {here}, or say --ci none\n",
    )
    assert init("--ci", "none").exit_code == 0


@pytest.mark.parametrize("baseline", ["--lem-save=main", "--lem-baseline=main"])
@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_the_gate_that_it_writes_asks_pytest_for_what_there_is(here, ci, baseline):
    init("--ci", ci)
    (found,) = documents((here / (GITHUB if ci == "github" else GITLAB[0])).read_text())
    if ci == "github":
        script = next(step["run"] for step in found["jobs"]["gate"]["steps"] if step.get("id") == "gate")
    else:
        script = "\n".join(found["energy"]["script"])
    for folder in ("bin", ".lem-venv/bin"):
        (here / folder).mkdir(parents=True)
        executable(here / folder / "python", 'printf "%s\\n" "$@" > asked.txt')
    assert bash(script, here, {"LEM_BASELINE": baseline, "PATH": f"{here}/bin:/usr/bin:/bin"}).returncode == 0
    module, pytest_, folder, *asked = (here / "asked.txt").read_text().splitlines()[:8]
    assert (module, pytest_, folder, asked[0]) == ("-m", "pytest", "benchmarks", baseline)
    flags = [each.partition("=")[0] for each in asked]
    assert set(flags) - {"--junitxml"} <= {option.flag for option in OPTIONS}
    assert [each for each in asked[1:] if not each.partition("=")[2].startswith("lem-report/")] == []
