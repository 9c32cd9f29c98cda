"""Which commit is checked out where we are."""

from __future__ import annotations

import os
import subprocess

from pytest_lem.model.environment import Checkout

_SECONDS = 10
_COMMAND = ("git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no")
_CI = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME")
"""Who checks out a commit and no branch, tells its name here."""


def checkout() -> Checkout | None:
    """The commit, its branch, and whether files differ from it; None where there is no git, repository or commit."""
    try:
        found = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if found.returncode != 0:
        return None
    lines = found.stdout.splitlines()
    told = dict(line.removeprefix("# branch.").split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = told.get("oid", "")
    if not commit or commit == "(initial)":
        return None
    return Checkout(commit=commit, branch=_branch(told), changed=any(not line.startswith("#") for line in lines))


def _branch(told: dict[str, str]) -> str | None:
    name = told.get("head", "(detached)")
    return next(filter(None, map(os.environ.get, _CI)), None) if name == "(detached)" else name
