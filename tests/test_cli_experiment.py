"""`lem experiment` and `lem campaign`: pytest underneath, with its own output, exit status and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from users_project import Project

FILE = """\
config_name: decode
backend: fake
batch_size: [1, 8]
max_output_tokens: 4
fake:
  token_seconds: 0.001
"""
PROGRAM = "from pytest_lem.cli import main; main()"


@pytest.fixture
def here(project: Project) -> Path:
    (project.pytester.path / "decode.lem.yaml").write_text(FILE)
    return project.pytester.path


def lem(here, *arguments: object, **changes):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=300, **changes)


def test_a_file_is_measured_and_pytest_tells_how_it_goes(here, project):
    done = lem(here, "experiment", "decode.lem.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert any("2 passed" in line for line in lines)
    assert any(line.startswith("report: ") for line in lines)
    assert [each["test"] for each in project.report()["measurements"]] == [
        f"decode.lem.yaml::decode[fake-bf16-b{batch}]" for batch in (1, 8)
    ]


def test_what_stands_behind_two_dashes_is_pytests(here):
    done = lem(here, "experiment", "decode.lem.yaml", "--cycles", 2, "--", "--collect-only", "-q", "-k", "b8")
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        "decode.lem.yaml::decode[fake-bf16-b8-c0]",
        "decode.lem.yaml::decode[fake-bf16-b8-c1]",
    ]


def test_options_reach_the_run(here):
    assert lem(here, "experiment", ".", "--results", "out", "--quick", "--", "-k", "b1").returncode == 0
    (report,) = here.glob("out/runs/*/report.json")
    assert json.loads(report.read_text())["run"]["quick"] is True


def test_a_dry_run_shows_values_and_measures_nothing(here, project):
    done = lem(here, "experiment", "--dry-run", "decode.lem.yaml")
    assert done.returncode == 0
    assert ["fake.token_seconds", "0.001", "decode.lem.yaml:6"] in [line.split() for line in done.stdout.splitlines()]
    assert project.runs() == []


def test_as_json_the_report_is_all_that_stdout_holds(here, project):
    done = lem(here, "experiment", "--json", "decode.lem.yaml", "--", "-k", "b1")
    assert done.returncode == 0
    assert json.loads(done.stdout) == project.report()
    assert "1 passed" in done.stderr


def test_as_json_a_run_without_a_report_is_null(here):
    (here / "bad.lem.yaml").write_text("bacth: 1\n")
    done = lem(here, "experiment", "--json", "bad.lem.yaml")
    assert (done.returncode, json.loads(done.stdout)) == (2, None)
    assert "bad.lem.yaml:1: unknown key 'bacth'" in done.stderr


def test_a_budget_that_breaks_is_exit_1(here):
    (here / "decode.lem.yaml").write_text(f"{FILE}budget: {{tokens_per_second: 1000000000}}\n")
    assert lem(here, "experiment", "decode.lem.yaml", "--", "-k", "b1").returncode == 1


def test_a_campaign_takes_its_settings_unless_the_command_says_otherwise(here):
    (here / "night.lem.yaml").write_text("campaign:\n  files: [decode.lem.yaml]\n  cycles: 2\n")
    done = lem(here, "campaign", "night.lem.yaml", "--", "--collect-only", "-q")
    assert done.stdout.count("::") == 4
    assert lem(here, "campaign", "night.lem.yaml", "--cycles", 1, "--", "--co", "-q").stdout.count("::") == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["experiment", "no.lem.yaml"], "lem experiment: no.lem.yaml: there is no such file"),
        (
            ["experiment", "pytest.ini"],
            "lem experiment: pytest.ini: an experiment file is called NAME.lem.yaml; rename it",
        ),
        (
            ["experiment", "--dry-run", "--json", "decode.lem.yaml"],
            "lem experiment: --dry-run --json: nothing is measured*",
        ),
        (["campaign", "decode.lem.yaml"], "lem campaign: decode.lem.yaml: no campaign: names files in it; *"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(here, arguments, line):
    done = lem(here, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    pytest.LineMatcher(done.stderr.splitlines()).fnmatch_lines([line])
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["experiment", "campaign"])
def test_help_has_examples(here, command):
    assert f"lem {command} " in lem(here, command, "--help").stdout.partition("Examples:")[2]


@pytest.fixture
def measuring(here, project):
    """A long measurement under way: its process, and its results."""
    (here / "decode.lem.yaml").write_text(FILE.replace("0.001", "0.2") + "rounds: 1000\n")
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "experiment", "decode.lem.yaml", "--", "-k", "b1"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not list(here.glob(".lem/runs/*/samples-*.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)
    yield started
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_from_outside_reaches_pytest_which_ends_in_order(measuring, here, number):
    measuring.send_signal(number)
    output, _ = measuring.communicate(timeout=120)
    assert measuring.returncode == pytest.ExitCode.INTERRUPTED
    assert "report: " in output
    (report,) = here.glob(".lem/runs/*/report.json")
    assert json.loads(report.read_text())["run"]["complete"] is False


# Of its own process: one that has threads, as a worker of xdist has, must not fork.
TERMINAL = """
import glob, os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
pressed = False
try:
    while data := os.read(terminal, 4096):
        os.write(1, data)
        if not pressed and glob.glob(".lem/runs/*/samples-*.jsonl"):
            pressed = bool(os.write(terminal, b"\\x03"))
except OSError:
    pass  # the last process on it has ended
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_ctrl_c_of_the_terminal_ends_pytest_once_and_in_order(here):
    """Pressed by a user, it reaches both."""
    (here / "decode.lem.yaml").write_text(FILE.replace("0.001", "0.2") + "rounds: 1000\n")
    command = [sys.executable, "-c", TERMINAL, PROGRAM, "experiment", "decode.lem.yaml", "--", "-k", "b1"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=300)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stderr
    assert "report: " in done.stdout
    assert done.stdout.count("KeyboardInterrupt !!!") == 1
