"""docs/results.md: its commands do what it says of them."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from project import ROOT
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.stats.contrast import FLOOR, THRESHOLD

PAGE = (ROOT / "docs" / "results.md").read_text()
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"^    (\S.*)$", PAGE, re.M)]


@pytest.fixture
def runs(project, monkeypatch):
    """Two runs of a project, b1 and b8 in each; the second was killed before it wrote its report. The first's id."""
    project.write()
    monkeypatch.chdir(project.pytester.path)
    for _ in range(2):
        project.run("--lem-rounds=8").assert_outcomes(passed=2)
    first, second = project.runs()
    (second / "report.json").unlink()
    return first.name, second.name


def lem(command, run=""):
    result = CliRunner().invoke(app, shlex.split(command.replace("RUN", run))[1:])
    assert result.exit_code == 0, result.output
    return result.output


def test_its_commands_do_what_it_says_of_them(runs):
    first, killed = runs
    assert lem("lem results rebuild RUN", killed).endswith("report.json: 2 measurements, 1 missing\n")
    told = {command: lem(command, first) for command in COMMANDS if command != "lem results rebuild RUN"}
    assert len(told) == len(COMMANDS) - 1
    assert [line.split()[0] for line in told["lem results list"].splitlines()[2:]] == [killed, first]
    assert killed in told["lem results show"]
    assert json.loads(told["lem results show --json"])["run"]["id"] == killed
    assert "test_decode[fake-bf16-b8]" in told["lem results list -c --sort joules_per_token"].splitlines()[2]
    assert told["lem results compare b1 b8"].splitlines()[4].endswith("better: −88 % to −87 %")
    assert told["lem results verify"].startswith(f"run {killed}: 2 measurements, ")
    assert told[COMMANDS[-1]] == "0 runs would be deleted\n"


def test_a_comparison_names_what_it_compares(runs):
    first, killed = runs
    lem("lem results rebuild RUN", killed)
    for command in ("lem results compare RUN latest", "lem results compare RUN:b8 latest:b8"):
        assert lem(command, first).splitlines()[0].startswith(f"A  {first}")
        assert f"B  {killed}" in lem(command, first)


def test_its_limits_are_those_of_the_code():
    assert (FLOOR, THRESHOLD) == (0.01, 0.05)
    assert "by more than 1 %" in PAGE
    assert "`alike within 5 %`" in PAGE
