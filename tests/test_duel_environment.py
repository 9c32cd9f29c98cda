"""`--lem-duel=git:REF`: a real repository, a commit in a work tree of its own, its engine's code beside this one's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_engine
import pytest
from duel_lab import Ring
from engine_starts import is_gone

from pytest_lem.duel.environment import Checkouts
from pytest_lem.duel.git import commit_of
from pytest_lem.duel.sides import GitSide, contestants, parse
from pytest_lem.engines import registry
from pytest_lem.engines.entry import EngineEntry
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import EngineSpec
from pytest_lem.stats import Status

# An environment that holds the work tree's own code, as `pip install -e .` would make it.
SETUP = (
    f"{sys.executable} -m venv --without-pip .venv"
    " && echo $PWD > $(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/here.pth"
)
ADAPTER = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("fake_engine", {fake_engine.__file__!r})
fake_engine = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake_engine)
import shop

class Adapter(fake_engine.Adapter):
    def load(self, request, progress):
        observed = super().load(request, progress)
        self.options = {{**self.options, "token_seconds": shop.TOKEN_SECONDS}}
        return {{**observed, "shop": shop.__file__}}
"""


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-C", str(folder)]
    return subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A project whose newest commit made its code three times as slow; `main` is the one before."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=work")
    for token_seconds in (0.001, 0.003):
        (folder / "shop.py").write_text(f"TOKEN_SECONDS = {token_seconds}\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", f"take {token_seconds} s a token")
    git(folder, "branch", "main", "HEAD~1")
    return folder


@pytest.fixture
def slow_start(monkeypatch):
    """A process that has begun its work long before whoever started it hears of it."""
    popen = subprocess.Popen.__init__

    def started(self, *arguments, **keywords):
        popen(self, *arguments, **keywords)
        if keywords.get("shell"):
            time.sleep(0.5)

    monkeypatch.setattr(subprocess.Popen, "__init__", started)


@pytest.fixture
def shop_engine(tmp_path, monkeypatch, repository):
    """A custom engine that runs the project's code, which pytest's own interpreter finds in the checkout."""
    adapter = tmp_path / "shop_adapter.py"
    adapter.write_text(ADAPTER)
    made = EngineEntry("shop", adapter)
    monkeypatch.setitem(registry._BUILT_IN, "shop", made)
    monkeypatch.setenv("PYTHONPATH", str(repository))


def checkouts(folder, results, setup=SETUP):
    return Checkouts(folder, results, setup, results / "logs" / "duel-setup.log", show=lambda text: None)


def trees(folder):
    return [line for line in git(folder, "worktree", "list").splitlines()[1:] if line]


def left(results):
    return [path.name for path in (results / "worktrees").iterdir() if path.name != ".gitignore"]


def fight_main(opened, ring):
    """A duel of `main` with the checkout, as a gate runs it: what was checked out, the sides, the record."""
    side = parse("git:main")
    try:
        found = opened.open(side)
        a, b = contestants(side, EngineSpec(backend="shop"), python=found.python, commit=found.commit)
        return found, (a, b), ring.fight(a.spec, b.spec)
    finally:
        opened.close()


def test_a_commit_that_made_the_code_slower_regresses_against_the_one_before(repository, tmp_path, shop_engine):
    ring = Ring(tmp_path, "tokens_per_second")
    found, (a, b), record = fight_main(checkouts(repository, tmp_path / "results"), ring)
    assert record.verdict.status is Status.REGRESSED
    assert record.verdict.estimate < -0.3
    assert record.a.observed["shop"] == str(found.folder / "shop.py")
    assert record.b.observed["shop"] == str(repository / "shop.py")
    assert (a.commit, b.commit) == (git(repository, "rev-parse", "main"), None)
    assert trees(repository) == []
    assert left(tmp_path / "results") == []


def test_a_commit_is_built_once_for_all_gates_whatever_it_is_called(repository, tmp_path):
    (tmp_path / "count").touch()
    opened = checkouts(repository, tmp_path / "results", f"echo built >> {tmp_path}/count; echo {sys.executable}")
    first, again = opened.open(GitSide("main")), opened.open(GitSide("HEAD~1"))
    assert first is again
    assert (tmp_path / "count").read_text() == "built\n"
    assert first.python == sys.executable
    assert (first.folder / "shop.py").read_text() == "TOKEN_SECONDS = 0.001\n"
    assert len(trees(repository)) == 1
    assert git(repository, "status", "--porcelain") == ""
    opened.close()
    opened.close()
    assert trees(repository) == []


def test_a_project_in_a_folder_of_its_repository_is_built_in_that_folder(repository, tmp_path):
    (repository / "python").mkdir()
    (repository / "python" / "shop.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "move")
    opened = checkouts(repository / "python", tmp_path / "results", f"pwd >&2; echo {sys.executable}")
    assert opened.open(GitSide("HEAD")).folder.name == "python"
    assert (tmp_path / "results" / "logs" / "duel-setup.log").read_text().splitlines()[0].endswith("/tree/python")
    with pytest.raises(UsageError, match="--lem-duel=git:main: that commit has no folder python/"):
        opened.open(GitSide("main"))
    opened.close()
    assert left(tmp_path / "results") == []


def test_results_inside_the_project_do_not_show_in_its_status(repository):
    opened = checkouts(repository, repository / ".lem", f"echo {sys.executable}")
    opened.open(GitSide("main"))
    assert "worktrees" not in git(repository, "status", "--porcelain", "--untracked-files=all")
    opened.close()
    assert left(repository / ".lem") == []


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        (None, "--lem-duel=git:main: there is no interpreter at .venv/bin/python of the commit's work tree"),
        ("true", "--lem-duel=git:main: --lem-duel-setup='true' left no interpreter at .venv/bin/python"),
        (f"echo {'long ' * 999}", "left no interpreter at .venv/bin/python"),
        ("echo no such package >&2; exit 7", "ended with exit code 7: no such package (all of it: "),
    ],
)
def test_an_environment_that_does_not_come_about_names_the_option_and_leaves_nothing(
    repository, tmp_path, setup, expected
):
    with pytest.raises(UsageError) as caught:
        checkouts(repository, tmp_path / "results", setup).open(GitSide("main"))
    assert expected in str(caught.value)
    assert "--lem-duel-setup=" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (trees(repository), left(tmp_path / "results")) == ([], [])


def test_a_ref_that_git_does_not_know_is_told_before_anything_runs(repository, tmp_path):
    with pytest.raises(UsageError, match="--lem-duel=git:mian: git knows no commit 'mian' here; fetch it first"):
        commit_of(GitSide("mian"), repository)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UsageError, match=r"--lem-duel=git:main: .*elsewhere is in no git repository"):
        commit_of(GitSide("main"), tmp_path / "elsewhere")


def test_a_git_hook_that_runs_pytest_does_not_lead_git_astray(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert len(commit_of(GitSide("main"), repository)) == 40


@pytest.mark.parametrize("seconds", [0.0, 0.8], ids=["at once", "a little later"])
def test_ctrl_c_while_the_environment_is_built_ends_the_command_and_leaves_nothing(
    repository, tmp_path, slow_start, seconds
):
    """Also where it comes before the command's process is known here."""

    def interrupt():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    command = f"echo $$ > {tmp_path}/pid; sleep 600; true"
    with pytest.raises(KeyboardInterrupt):
        checkouts(repository, tmp_path / "results", command).open(GitSide("main"))
    assert is_gone(int((tmp_path / "pid").read_text()))
    assert (trees(repository), left(tmp_path / "results")) == ([], [])


def test_ctrl_c_while_the_commits_fight_leaves_nothing(repository, tmp_path, shop_engine):
    ring = Ring(tmp_path, "tokens_per_second")
    ring.on_round = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fight_main(checkouts(repository, tmp_path / "results"), ring)
    assert len(ring.engines) == 2
    assert ring.running == []
    assert (trees(repository), left(tmp_path / "results")) == ([], [])


def test_what_a_killed_process_left_is_removed_by_the_next_duel(repository, tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from pytest_lem.duel.environment import Checkouts;"
        "from pytest_lem.duel.sides import GitSide;"
        "Checkouts(Path(sys.argv[1]), Path(sys.argv[2]), f'echo {sys.executable}', Path(sys.argv[2], 'log'), print)"
        ".open(GitSide('main')); os.kill(os.getpid(), 9)"
    )
    results = tmp_path / "results"
    done = subprocess.run([sys.executable, "-c", program, repository, results], check=False, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    killed = left(results)
    assert (len(trees(repository)), len(killed)) == (1, 1)
    opened = checkouts(repository, results, f"echo {sys.executable}")
    other = checkouts(repository, results, f"echo {sys.executable}")
    kept = opened.open(GitSide("main")).folder
    other.open(GitSide("HEAD"))
    assert kept.is_dir()
    assert killed[0] not in left(results)
    assert len(trees(repository)) == 2
    other.close()
    opened.close()
    assert (trees(repository), left(results)) == ([], [])
    assert Path(results, "worktrees", ".gitignore").read_text() == "*\n"
