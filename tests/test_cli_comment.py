"""`lem comment`: one comment on a change, the same after each push."""

from __future__ import annotations

import json

import pytest
from forge_lab import Forge, github, gitlab
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.forges import MOST, PAGE

ON = {"github": "pull request 7 of some/project", "gitlab": "merge request 3 of project 5"}


@pytest.fixture(params=["github", "gitlab"])
def job(request, forge, tmp_path, monkeypatch):
    """In a job of CI, in a folder with verdicts."""
    environment = github(forge, tmp_path) if request.param == "github" else gitlab(forge)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "energy.md").write_text("### 1 REGRESSED\n")
    return request.param


def comment(*arguments: str):
    return CliRunner().invoke(app, ["comment", *arguments])


def test_a_first_push_posts_the_next_one_updates(job, forge: Forge, tmp_path):
    first = comment("energy.md")
    assert (first.exit_code, first.stdout.partition(": ")[0].strip()) == (0, f"posted on {ON[job]}")
    (body,) = forge.bodies()
    assert body.startswith("<!-- pytest-lem: ")
    assert "\n### 1 REGRESSED\n" in body
    assert "/runs/11)" in body or "/jobs/12)" in body
    (tmp_path / "energy.md").write_text("### 1 OK\n")
    told = json.loads(comment("energy.md", "--json").stdout)
    assert (told["done"], told["about"]) == ("updated", ON[job])
    (body,) = forge.bodies()
    assert "### 1 OK" in body
    assert "REGRESSED" not in body


def test_it_is_found_behind_many_others_and_theirs_stay(job, forge, tmp_path):
    forge.comments += [{"id": number, "body": f"> <!-- pytest-lem: {number}"} for number in range(PAGE + 1)]
    assert comment("energy.md").exit_code == 0
    assert comment("energy.md").exit_code == 0
    assert len(forge.comments) == PAGE + 2
    assert all(each["body"].startswith("> ") for each in forge.comments[:-1])


def test_gates_of_other_names_have_comments_of_their_own(job, forge):
    for key in ("h100", "--> <b>", "h100"):
        assert comment("energy.md", "--key", key).exit_code == 0
    assert [body.splitlines()[0] for body in forge.bodies()] == [
        "<!-- pytest-lem: h100 -->",
        "<!-- pytest-lem: ___ _b_ -->",
    ]


def test_what_is_too_long_for_a_comment_is_cut_at_a_line(job, forge, tmp_path):
    (tmp_path / "energy.md").write_text("0123456789\n" * 10_000)
    assert comment("energy.md").exit_code == 0
    (body,) = forge.bodies()
    assert MOST - 20 < len(body) < 65_536
    assert "\n0123456789\n\n… the rest is in the report of the job\n" in body


@pytest.mark.parametrize(
    ("status", "line"), [(403, "answered 403 Forbidden; give the "), (502, "answered 502 Bad Gateway; try it again")]
)
def test_a_refusal_is_one_line_with_its_mend(job, forge, status, line):
    forge.refuse = status
    done = comment("energy.md")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lem comment: {ON[job]}: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_forge_that_is_away_is_one_line(job, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CI_API_V4_URL", "http://127.0.0.1:1")
    done = comment("energy.md")
    assert done.exit_code == 2
    assert "cannot be reached" in done.stderr


@pytest.mark.parametrize(
    ("without", "line"),
    [
        (["GITHUB_ACTIONS", "GITLAB_CI"], "this is no job of GitHub Actions or GitLab CI"),
        (["GITHUB_EVENT_PATH", "CI_API_V4_URL"], "is not set in this job"),
        (["GITHUB_TOKEN", "GITLAB_TOKEN"], "TOKEN is not set in this job"),
    ],
)
def test_a_job_that_cannot_is_told_what_it_lacks(job, forge, monkeypatch, without, line):
    for name in without:
        monkeypatch.delenv(name, raising=False)
    done = comment("energy.md")
    assert done.exit_code == 2
    assert line in done.stderr
    assert forge.asked == []


def test_a_push_has_no_pull_request(job, tmp_path, monkeypatch):
    (tmp_path / "event.json").write_text('{"ref": "refs/heads/main"}')
    monkeypatch.delenv("CI_MERGE_REQUEST_IID", raising=False)
    done = comment("energy.md")
    assert done.exit_code == 2
    assert "; run it " in done.stderr


def test_a_file_that_is_not_there_names_what_writes_it(job):
    done = comment("no.md")
    assert done.stderr == (
        "lem comment: no.md: cannot be read: No such file or directory; pytest --lem-comment=no.md writes it\n"
    )
