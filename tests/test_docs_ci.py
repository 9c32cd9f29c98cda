"""docs/ci.md: its files are valid and name inputs that exist, its commands do what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from ci_lab import documents, faults
from project import ROOT
from typer.testing import CliRunner

from pytest_lem import __version__
from pytest_lem.cli import app
from pytest_lem.plugin.options import OPTIONS

PAGE = (ROOT / "docs" / "ci.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.S))
PROSE = re.sub(r"```yaml.*?```", "", PAGE, flags=re.S)
COMMANDS = [line.partition("  #")[0].strip() for line in re.findall(r"^    (\S.*)$", PROSE, re.M)]
CALLED = {
    "OWNER/pytest-lem": ROOT / "action.yml",
    "OWNER/pytest-lem/.github/workflows/gate.yml": ROOT / ".github" / "workflows" / "gate.yml",
    "OWNER/pytest-lem/.github/workflows/accept.yml": ROOT / ".github" / "workflows" / "accept.yml",
}


def inputs_of(path: Path) -> dict:
    (found,) = documents(path.read_text())
    return found["inputs"] if "runs" in found else found["on"]["workflow_call"]["inputs"]


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_valid(name):
    schema = "vendor.gitlab-ci" if "gitlab" in name else "vendor.github-workflows"
    assert faults(schema, FILES[name]) == []


@pytest.mark.parametrize("name", [name for name in FILES if "gitlab" not in name])
def test_what_they_call_is_there_and_takes_what_it_is_given(name):
    (workflow,) = documents(FILES[name])
    jobs = workflow["jobs"].values()
    calls = [each for job in jobs for each in [job, *job.get("steps", [])] if "OWNER" in each.get("uses", "")]
    assert calls
    for each in calls:
        place, _, version = each["uses"].partition("@")
        assert version == f"v{__version__}"
        assert set(each.get("with", {})) <= set(inputs_of(CALLED[place]))


@pytest.mark.parametrize("name", [name for name in FILES if "gitlab" not in name])
def test_a_caller_grants_what_the_called_asks_for(name):
    (workflow,) = documents(FILES[name])
    for job in workflow["jobs"].values():
        if "uses" in job:
            (called,) = documents(CALLED[job["uses"].partition("@")[0]].read_text())
            (asking,) = called["jobs"].values()
            assert job["permissions"] == asking["permissions"]


def test_the_component_takes_what_it_is_given():
    (pipeline,) = documents(FILES[".gitlab-ci.yml"])
    ((include,),) = [pipeline["include"]]
    assert include["component"] == f"$CI_SERVER_FQDN/OWNER/pytest-lem/gate@v{__version__}"
    known = documents((ROOT / "templates" / "gate.yml").read_text())[0]["spec"]["inputs"]
    assert set(include["inputs"]) <= set(known)
    told = re.search(r"The inputs are those above where they make sense, with (.*?)\. It runs", PAGE, re.S)[1]
    assert set(re.findall(r"`([a-z]+)`", told)) - {"energy"} == set(known) - set(inputs_of(ROOT / "action.yml"))


def test_its_table_has_every_input():
    rows = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", PAGE, re.M)
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row)]
    workflow = inputs_of(CALLED["OWNER/pytest-lem/.github/workflows/gate.yml"])
    assert sorted(named) == sorted(workflow)


def test_its_outputs_are_those_of_the_action():
    (action,) = documents((ROOT / "action.yml").read_text())
    told = re.search(r"Its outputs are (.*?)\. With", PAGE, re.S)[1]
    assert set(re.findall(r"`([a-z-]+)`", told)) == set(action["outputs"])


def test_its_first_command_writes_what_the_second_adds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, shlex.split(COMMANDS[0])[1:]).exit_code == 0
    assert COMMANDS[1] == "git add benchmarks .github"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".github", "benchmarks"]


def test_an_accepted_run_comes_back_by_its_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    download, *rest = COMMANDS[2:6]
    assert download == "gh run download RUN --name lem-report --dir accepted"
    for name, folder in (("1", ""), ("2", "accepted")):
        (tmp_path / folder / ".lem" / "baselines" / "main").mkdir(parents=True)
        (tmp_path / folder / ".lem" / "baselines" / "main" / f"{name}.json").write_text("{}\n")
    (tmp_path / "accepted" / ".lem" / "runs").mkdir()
    who = ["-c", "user.name=me", "-c", "user.email=me@test"]
    for command in ["git init -q", *rest]:
        words = shlex.split(command)
        words[1:1] = who if words[0] == "git" else []
        subprocess.run(words, check=True, capture_output=True)
    added = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    assert added == [".lem/baselines/main/1.json", ".lem/baselines/main/2.json"]


def test_its_other_commands_are_ours():
    assert [shlex.split(command)[:2] for command in COMMANDS[6:]] == [
        ["pytest", "benchmarks/"],
        ["lem", "comment"],
    ]
    known = {option.flag for option in OPTIONS}
    assert set(re.findall(r"--lem-[a-z-]+", PAGE)) <= known
    for command in re.findall(r"`lem ([a-z]+(?: [a-z]+)?)", PAGE):
        group = [*command.split()[: 2 if command.startswith("baseline") else 1], "--help"]
        assert CliRunner().invoke(app, group).exit_code == 0, command


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", PAGE))))
def test_what_it_links_to_is_there(link):
    file, _, place = link.partition("#")
    text = (ROOT / "docs" / (file or "ci.md")).read_text()
    assert not place or place in [head.lower().replace(" ", "-") for head in re.findall(r"^## (.*)$", text, re.M)]


def test_readers_find_the_page():
    assert "](docs/ci.md)" in (ROOT / "README.md").read_text()
    assert "](ci.md)" in (ROOT / "docs" / "gates.md").read_text()
