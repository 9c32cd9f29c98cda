"""The shell completes commands and options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

LEM = [sys.executable, "-m", "pytest_lem.cli"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell_is_shown_that_the_shell_takes(shell, tmp_path):
    # Typer looks for the shell that called it; a test is called by none.
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(
        [*LEM, "--show-completion", shell], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert f"_LEM_COMPLETE=complete_{shell}" in shown
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(shown)
        subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("lem sched", ["schedule"]), ("lem schedule re", ["remove"]), ("lem doctor --pyt", ["--python"])],
)
def test_what_was_begun_is_completed(typed, offered):
    environment = {
        **os.environ,
        "_LEM_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    told = subprocess.run(LEM, env=environment, capture_output=True, text=True, check=False).stdout
    assert told.split() == offered
