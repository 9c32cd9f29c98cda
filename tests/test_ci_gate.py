"""The gate of CI, its steps run as they are written, in a project whose pull request makes a token dearer.

The installing step runs against a python3 that notes what pip was asked for; the others find python and lem on PATH, as
it would have left them there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ci_lab import action_steps, bash, commands, component, documents, executable
from forge_lab import Forge, github, gitlab
from project import ROOT
from users_project import Project

GATED = """
import pytest

@pytest.mark.lem(backend="fake", batch=1, output_tokens=4, fake={{"token_seconds": {seconds}}})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
SAME, DEARER = 0.004, 0.0056
BAD = ["$(touch pwned)", '"; touch pwned #', "`touch pwned`", "'; touch pwned; '", "; touch pwned", "$PWD/*"]
FILES = {"verdicts.md", "summary.md", "report.html", "report.json", "junit.xml"}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a baseline leaves it for the others."""
    return tmp_path_factory.mktemp("accepted") / "baselines"


@pytest.fixture
def accepted(project: Project, baseline: Path) -> Project:
    """A project whose baseline `main` has three runs."""
    ini = project.pytester.path / "pytest.ini"
    ini.write_text(ini.read_text().replace("lem_rounds = 4", "lem_rounds = 8"))
    project.write(GATED.format(seconds=SAME))
    here = project.pytester.path / ".lem" / "baselines"
    if baseline.exists():
        shutil.copytree(baseline, here)
    else:
        for _ in range(3):
            assert project.run("--lem-save=main").ret == 0
        shutil.copytree(here, baseline)
    return project


class GitHub:
    """Runs the steps of action.yml: inputs come as their environment, as GitHub would put them there."""

    def __init__(self, folder: Path, forge: Forge) -> None:
        self.folder = folder
        self.outputs, self.summary = folder / "outputs.txt", folder / "step.md"
        self.steps = action_steps()
        self.environment = {
            **github(forge, folder),
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(folder / "temp"),
            "PATH": f"{commands(folder / 'bin')}:/usr/bin:/bin",
        }

    def step(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        step = self.steps[name]
        given = {key: inputs.get(key.removeprefix("LEM_").lower(), "") for key in step["env"] if key.startswith("LEM_")}
        return bash(step["run"], self.folder, {**self.environment, **given})

    def gate(self, **inputs: str) -> subprocess.CompletedProcess[str]:
        return self.step("Gate", **{"paths": "test_it.py", "baseline": "main", **inputs})


class GitLab:
    """Runs the script of the component, its inputs as the variables that it makes of them."""

    def __init__(self, folder: Path, forge: Forge) -> None:
        self.folder = folder
        self.environment = gitlab(forge)
        commands(folder / ".lem-venv" / "bin")

    def script(self, name: str, environment: dict[str, str] | None = None, **inputs: str):
        (jobs,) = yaml.load_all(component(**{"paths": "test_it.py", **inputs}), yaml.CSafeLoader)
        job = jobs["energy"]
        variables = {key: each["value"] for key, each in job["variables"].items()}
        return bash("\n".join(job[name]), self.folder, {**self.environment, **variables, **(environment or {})})


def test_on_github_a_regression_fails_the_step_and_is_one_comment_until_it_is_mended(accepted, forge):
    folder = accepted.pytester.path
    job = GitHub(folder, forge)
    accepted.write(GATED.format(seconds=DEARER))
    done = job.gate(fail_on="joules_per_token:5%")
    assert done.returncode == 1
    assert "::error file=test_it.py,line=3,title=joules_per_token regressed::" in done.stdout
    assert {path.name for path in (folder / "lem-report").iterdir()} == FILES
    outputs = dict(line.split("=") for line in job.outputs.read_text().splitlines())
    assert json.loads((folder / outputs["report"]).read_text())["verdicts"][0]["comparison"]["outcome"] == "REGRESSED"
    assert outputs.keys() == {"report", "page", "verdicts"}
    assert "<html" in (folder / outputs["page"]).read_text()
    assert "1 REGRESSED" in job.summary.read_text()
    assert job.step("Comment").returncode == 0
    accepted.write(GATED.format(seconds=SAME))
    assert job.gate().returncode == 0
    assert len(forge.comments) == 1
    assert "1 REGRESSED" in forge.bodies()[0]
    assert job.step("Comment").returncode == 0
    (body,) = forge.bodies()
    assert "REGRESSED" not in body.splitlines()[1]


def test_on_githubs_default_branch_the_run_is_accepted(project, forge):
    project.write(GATED.format(seconds=SAME))
    job = GitHub(project.pytester.path, forge)
    done = job.gate(save="main", fail_on="joules_per_token:5%", options="-k decode --lem-cycles=1")
    assert done.returncode == 0
    assert len(list((project.pytester.path / ".lem" / "baselines" / "main").glob("*.json"))) == 1


def test_without_verdicts_there_is_no_comment(project, forge):
    job = GitHub(project.pytester.path, forge)
    done = job.step("Comment")
    assert (done.returncode, done.stdout) == (0, "no verdicts were written\n")
    assert forge.asked == []


@pytest.mark.parametrize(("key", "asked"), [("", []), *((text, [f"--key={text}"]) for text in ["h100", *BAD])])
def test_the_comment_of_a_key_goes_with_that_key(project, forge, key, asked):
    folder = project.pytester.path
    job = GitHub(folder, forge)
    (folder / "lem-report").mkdir()
    (folder / "lem-report" / "verdicts.md").write_text("fine\n")
    executable(folder / "bin" / "lem", 'printf "%s\\n" "$@" > asked.txt')
    assert job.step("Comment", key=key).returncode == 0
    assert (folder / "asked.txt").read_text().splitlines() == ["comment", "lem-report/verdicts.md", *asked]
    assert not list(folder.rglob("pwned"))


@pytest.mark.parametrize("name", ["paths", "baseline", "save", "fail_on", "options"])
def test_on_github_no_input_of_the_gate_is_run_as_shell(project, forge, monkeypatch, name):
    folder = project.pytester.path
    job = GitHub(folder, forge)
    executable(folder / "bin" / "python", 'printf "%s\\n" "$@" > asked.txt')
    for text in BAD:
        assert job.gate(**{name: text}).returncode == 0
        asked = (folder / "asked.txt").read_text().splitlines()
        flag = {"baseline": "--lem-baseline=", "save": "--lem-save=", "fail_on": "--lem-fail-on="}.get(name)
        if flag:
            assert f"{flag}{text}" in asked
        else:
            assert set(text.split()) <= set(asked)
    assert not list(folder.rglob("pwned"))


@pytest.mark.parametrize("name", ["extra", "version", "requirements"])
def test_on_github_pip_is_asked_for_words_and_nothing_is_run(project, forge, name):
    folder = project.pytester.path
    job = GitHub(folder, forge)
    note = 'printf "%s\\n" "$@" > asked.txt'
    executable(
        folder / "bin" / "python3",
        f'mkdir -p "$4/bin"; cp "{folder}/bin/pip" "$4/bin/python"; test "$1 $2 $3" = "-m venv --clear"',
    )
    executable(folder / "bin" / "pip", note)
    job.environment["GITHUB_PATH"] = str(folder / "path.txt")
    given = {"extra": "vllm", "version": "==0.1.0", "requirements": "-e . -r requirements.txt"}
    assert job.step("Install", **given).returncode == 0
    assert (folder / "asked.txt").read_text().split() == [
        *["-m", "pip", "install", "pytest-lem[vllm]==0.1.0", "-e", ".", "-r", "requirements.txt"]
    ]
    assert (folder / "path.txt").read_text() == f"{folder}/temp/lem/bin\n"
    for text in BAD:
        assert job.step("Install", **{**given, name: text}).returncode == 0
        assert text in " ".join((folder / "asked.txt").read_text().splitlines())
    assert not list(folder.rglob("pwned"))


def test_on_gitlab_a_regression_fails_the_job_and_is_one_note_until_it_is_mended(accepted, forge):
    folder = accepted.pytester.path
    job = GitLab(folder, forge)
    accepted.write(GATED.format(seconds=DEARER))
    assert job.script("script", fail_on="joules_per_token:5%").returncode == 1
    assert {path.name for path in (folder / "lem-report").iterdir()} == FILES
    assert job.script("after_script").returncode == 0
    (body,) = forge.bodies()
    assert "1 REGRESSED" in body
    assert "(https://gitlab.test/jobs/12)" in body
    (folder / "lem-report" / "verdicts.md").write_text("mended\n")
    assert job.script("after_script").returncode == 0
    (body,) = forge.bodies()
    assert "\nmended\n" in body


def test_on_gitlabs_default_branch_the_run_is_accepted(project, forge):
    project.write(GATED.format(seconds=SAME))
    job = GitLab(project.pytester.path, forge)
    branch = {"CI_COMMIT_BRANCH": "main", "CI_MERGE_REQUEST_IID": ""}
    assert job.script("script", branch, fail_on="joules_per_token:5%").returncode == 0
    assert len(list((project.pytester.path / ".lem" / "baselines" / "main").glob("*.json"))) == 1
    assert job.script("after_script", {"CI_MERGE_REQUEST_IID": ""}).returncode == 0
    assert forge.asked == []


def test_on_gitlab_without_a_token_the_job_says_why_there_is_no_note(project, forge):
    folder = project.pytester.path
    (folder / "lem-report").mkdir()
    (folder / "lem-report" / "verdicts.md").write_text("fine\n")
    done = GitLab(folder, forge).script("after_script", {"GITLAB_TOKEN": ""})
    assert done.stdout == "no note on the merge request: there is no variable GITLAB_TOKEN\n"
    assert forge.asked == []


@pytest.mark.parametrize("name", ["paths", "baseline", "fail_on", "options", "extra", "version", "requirements"])
def test_on_gitlab_no_input_is_run_as_shell(project, forge, name):
    folder = project.pytester.path
    job = GitLab(folder, forge)
    executable(folder / "python3", "true")
    executable(folder / ".lem-venv" / "bin" / "python", 'printf "%s\\n" "$@" >> asked.txt')
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    for text in BAD:
        for part in ("before_script", "script"):
            assert job.script(part, path, **{name: text}).returncode == 0
        assert all(word in (folder / "asked.txt").read_text() for word in text.split())
    assert not list(folder.rglob("pwned"))


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@test", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of a repository on `main`, which has gone on since; a run that was accepted lies beside it."""
    origin, clone, other = tmp_path / "origin.git", tmp_path / "clone", tmp_path / "other"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(origin))
    git(origin, "config", "receive.advertisePushOptions", "true")
    for folder in (other, clone):
        git(tmp_path, "clone", "-q", str(origin), str(folder))
        if folder is other:
            git(other, "checkout", "-q", "-b", "main")
            (other / ".lem" / "baselines" / "main").mkdir(parents=True)
            (other / ".lem" / "baselines" / "main" / "1.json").write_text("{}\n")
            git(other, "add", ".lem")
            git(other, "commit", "-qm", "one")
            git(other, "push", "-q", "origin", "main")
    (other / ".lem" / "baselines" / "main" / "2.json").write_text("{}\n")
    git(other, "add", ".lem")
    git(other, "commit", "-qm", "two")
    git(other, "push", "-q", "origin", "main")
    accepted = tmp_path / "temp" / "lem-accepted" / ".lem" / "baselines" / "main"
    accepted.mkdir(parents=True)
    (accepted / "3.json").write_text("{}\n")
    return clone


def accepted_in(origin: Path) -> list[str]:
    return git(origin, "ls-tree", "-r", "--name-only", "main").split()


RUNS = [f".lem/baselines/main/{number}.json" for number in (1, 2, 3)]


def test_github_commits_the_accepted_run_though_another_push_came_first(clone, tmp_path):
    (workflow,) = documents((ROOT / ".github" / "workflows" / "accept.yml").read_text())
    (step,) = [step for step in workflow["jobs"]["accept"]["steps"] if "run" in step]
    environment = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_REF_NAME": "main"}
    assert bash(step["run"], clone, environment).returncode == 0
    assert accepted_in(tmp_path / "origin.git") == RUNS
    done = bash(step["run"], clone, environment)
    assert (done.returncode, done.stdout) == (0, "nothing was accepted\n")


def test_gitlab_commits_the_accepted_run_though_another_push_came_first(clone, tmp_path):
    job = documents(component(accept=True))[0]["energy-accept"]
    git(clone, "checkout", "-q", "--detach")  # as runners do
    shutil.copytree(tmp_path / "temp" / "lem-accepted" / ".lem", clone / ".lem", dirs_exist_ok=True)
    assert bash("\n".join(job["script"]), clone, {"CI_COMMIT_BRANCH": "main"}).returncode == 0
    assert accepted_in(tmp_path / "origin.git") == RUNS
