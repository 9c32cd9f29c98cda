"""The environment tells where a run was measured, and only what is true."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version

import pytest
from builders import a_gpu

from pytest_lem.store.checkout import checkout
from pytest_lem.store.environment import collect_environment, installed


def test_the_environment_names_this_host_and_the_gpus_it_was_given():
    found = collect_environment([a_gpu("GPU-a")])
    assert (found.host, found.python) == (platform.node(), platform.python_version())
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-a"]
    assert found.packages["pytest"] == version("pytest")
    assert found.packages["pytest-lem"] == version("pytest-lem")


def test_a_package_that_is_not_installed_is_left_out():
    assert installed(["pytest", "no-such-package-of-ours"]) == {"pytest": version("pytest")}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository on the branch `tuning` with one committed file; gives a function that runs git in it."""
    for name in ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=tuning")
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "--quiet", "--message=first")
    return git


def test_the_commit_and_its_branch_are_told(repository):
    found = collect_environment().git
    assert (found.commit, found.branch, found.changed) == (repository("rev-parse", "HEAD"), "tuning", False)


def test_a_changed_file_is_told_and_a_new_one_is_not(repository, tmp_path):
    (tmp_path / "notes.txt").write_text("new\n")
    assert checkout().changed is False
    (tmp_path / "code.py").write_text("a = 2\n")
    assert checkout().changed is True


def test_ci_that_checks_out_a_commit_names_the_branch(repository, monkeypatch):
    repository("checkout", "--quiet", "--detach")
    assert checkout().branch is None
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "feature")
    assert checkout().branch == "feature"


def test_a_folder_that_is_no_repository_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checkout() is None
    monkeypatch.setenv("PATH", "")
    assert checkout() is None


def test_a_repository_without_a_commit_has_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert checkout() is None
