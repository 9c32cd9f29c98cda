"""docs/schedules.md: its commands are taken as they stand."""

from __future__ import annotations

import json
import re
import shlex

from project import ROOT
from typer.testing import CliRunner

from pytest_lem.cli import app

COMMANDS = re.findall(r"^    lem (\S.*)$", (ROOT / "docs" / "schedules.md").read_text(), re.M)


def test_its_commands_make_the_jobs_that_they_name(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "night.lem.yaml").write_text("model: synthetic:tiny\n")
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.chdir(tmp_path)
    said = {}
    for command in COMMANDS:
        if command != "schedule run":
            result = CliRunner().invoke(app, shlex.split(command))
            assert result.exit_code == 0, result.output
            said[command] = result.output
    assert len(said) == 5
    jobs = json.loads(CliRunner().invoke(app, ["schedule", "list", "--json"]).output)
    assert [(job["name"], job["when"]) for job in jobs] == [
        ("night", "at 02:00 on mon-fri, Europe/Berlin"),
        ("benchmarks", "every 6h"),
    ]
    assert jobs[1]["options"] == ["--lem-backend=vllm", "--lem-baseline=main"]
    assert "ExecStart=" in said["schedule export systemd"]
    assert "0 */6 * * * cd " in said["schedule export cron"]
