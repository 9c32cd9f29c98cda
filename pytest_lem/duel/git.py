"""What a duel asks of git: a commit, and a work tree of its own to put it into."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from pytest_lem.duel.sides import OPTION, GitSide
from pytest_lem.model.errors import UsageError

_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


def commit_of(side: GitSide, project: Path) -> str:
    """The commit that `side` names in the repository of the folder `project`.

    Raises UsageError where there is no git, no repository or no such commit.
    """
    place = f"{OPTION}={side.words}"
    if shutil.which("git") is None:
        raise UsageError(f"{place}: there is no git here; install it, or compare with python:PATH")
    if _git(project, "rev-parse", "--git-dir").returncode:
        raise UsageError(f"{place}: {project} is in no git repository")
    found = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{side.ref}^{{commit}}")
    if found.returncode:
        raise UsageError(
            f"{place}: git knows no commit {side.ref!r} here; fetch it first (a shallow clone of a CI holds one commit)"
        )
    return found.stdout.strip()


def subfolder(project: Path) -> str:
    """Where in its repository the folder `project` lies; empty for its top."""
    return _git(project, "rev-parse", "--show-prefix").stdout.strip()


def add_tree(project: Path, tree: Path, commit: str) -> None:
    """Check `commit` out at `tree`. Raises UsageError with git's own words."""
    done = _git(project, "worktree", "add", "--detach", "--force", str(tree), commit)
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no reason told"]
        raise UsageError(f"{OPTION}: git worktree add {tree} failed: {words[-1]}")


def remove_tree(project: Path, tree: Path) -> None:
    """Take the work tree away, whatever is in it, and let git forget it; also where Ctrl-C comes meanwhile."""
    try:
        _git(project, "worktree", "remove", "--force", "--force", str(tree))
    finally:
        shutil.rmtree(tree, ignore_errors=True)
        _git(project, "worktree", "prune")


def clean_environment() -> dict[str, str]:
    """The variables of this process but for those of a git hook, and of our own interpreter: they lead elsewhere."""
    ours = (*_HOOKS, "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`, in a session of its own: Ctrl-C must not end what removes a tree."""
    return subprocess.run(
        ["git", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**clean_environment(), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        start_new_session=True,
    )
