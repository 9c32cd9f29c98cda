"""`lem schedule`: jobs are added, listed, taken out, exported; and run for real, through kills and restarts."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import psutil
import pytest
from typer.testing import CliRunner
from users_project import TEST

from pytest_lem.cli import app
from pytest_lem.schedule.log import BeginLine, EndLine, append, read_log
from pytest_lem.schedule.place import Place

ONE = TEST.replace("[1, 8]", "1")
LEM = [sys.executable, "-m", "pytest_lem.cli", "schedule"]


def lem(*words):
    return CliRunner().invoke(app, ["schedule", *words])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file to run, where commands are called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.lem.yaml").write_text("model: synthetic:tiny\n")
    return tmp_path


def test_a_job_is_added_listed_and_taken_out(here):
    added = lem("add", "night.lem.yaml", "--at", "2:00", "--days", "mon-fri", "--tz", "Europe/Berlin")
    assert added.exit_code == 0, added.output
    assert added.output.startswith("night: at 02:00 on mon-fri, Europe/Berlin; first at ")
    (told,) = json.loads(lem("list", "--json").output)
    assert (told["name"], told["folder"], told["last"], told["running"]) == ("night", str(here), None, None)
    line, works = lem("list").output.splitlines()
    assert line.endswith("UTC; has not run yet")
    assert works == "1 job; nothing runs: lem schedule run"
    assert lem("remove", "night").output == "night is taken out\n"
    assert json.loads(lem("list", "--json").output) == []


def test_what_is_pytests_goes_behind_two_dashes(here):
    lem("add", "night.lem.yaml", "--every", "6h", "--", "--lem-backend=vllm", "-q")
    (told,) = json.loads(lem("list", "--json").output)
    assert told["options"] == ["--lem-backend=vllm", "-q"]


def test_the_list_tells_how_the_last_run_ended_and_which_is_under_way(here):
    lem("add", "night.lem.yaml", "--every", "6h")
    place, due = Place(here / ".lem"), datetime.now(UTC)
    append(place.log, BeginLine(job="night", due=due, run="r1", pid=1, began=0.0))
    append(place.log, EndLine(job="night", due=due, run="r1", outcome="failed", status=1))
    append(place.log, BeginLine(job="night", due=due, run="r2", pid=1, began=0.0))
    assert lem("list").output.splitlines()[0].endswith("last failed (r1); now at r2")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["add", "night.lem.yaml"], "lem schedule add: say either --every TIME or --at HH:MM"),
        (
            ["add", "night.lem.yaml", "--every", "1h", "--tz", "UTC"],
            "lem schedule add: --tz: goes with --at HH:MM, not with --every",
        ),
        (
            ["add", "night.lem.yaml", "--every", "1h", "--", "--lem-resume"],
            "lem schedule add: --lem-resume: a schedule continues by itself what was cut short; leave the option out",
        ),
        (
            ["remove", "day"],
            "lem schedule remove: day: there is no such job; there is none; lem schedule add makes one",
        ),
        (["export", "windows"], "lem schedule export: windows: expected systemd or cron"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(here, words, line):
    found = lem(*words)
    assert (found.exit_code, found.output.splitlines()) == (2, [line])


def test_a_file_that_is_not_there_and_a_name_that_is_taken_are_refused(here):
    assert "there is no such file or folder" in lem("add", "day.lem.yaml", "--every", "1h").output
    lem("add", "night.lem.yaml", "--every", "1h")
    again = lem("add", "night.lem.yaml", "--every", "2h")
    assert again.output.startswith(
        "lem schedule add: --name=night: there is such a job already; give this one a --name"
    )


def test_cron_gets_a_line_for_each_job_that_runs_it_once(here):
    lem("add", "night.lem.yaml", "--at", "02:05", "--days", "mon-wed,sat", "--tz", "Europe/Berlin")
    lem("add", "night.lem.yaml", "--every", "15m", "--name", "often")
    about, zone, night, _, often = lem("export", "cron").output.splitlines()
    assert (about, zone) == ("# night: at 02:05 on mon-wed,sat, Europe/Berlin", "CRON_TZ=Europe/Berlin")
    assert night.split()[:5] == ["5", "2", "*", "*", "1,2,3,6"]
    assert shlex.split(night)[5:8] == ["cd", str(here), "&&"]
    assert shlex.split(night)[-4:] == ["--once", "night", "--results", str(here / ".lem")]
    assert often.split()[:5] == ["*/15", "*", "*", "*", "*"]


def test_what_cron_cannot_say_is_told(here):
    lem("add", "night.lem.yaml", "--every", "7h")
    assert lem("export", "cron").output.splitlines() == [
        "lem schedule export: night: cron cannot run it every 7h, only what divides an hour or a day; "
        "take lem schedule export systemd"
    ]


def test_systemd_gets_a_unit_that_lets_the_round_end(here, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    text = lem("export", "systemd").output
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read_string(text)
    service = unit["Service"]
    assert service["WorkingDirectory"] == str(here)
    assert shlex.split(service["ExecStart"]) == [
        sys.executable, "-m", "pytest_lem.cli", "schedule", "run", "--results", str(here / ".lem"),
    ]  # fmt: skip
    assert (service["KillMode"], service["TimeoutStopSec"]) == ("mixed", "15min")
    assert 'Environment="CUDA_VISIBLE_DEVICES=0,1"' in text
    if shutil.which("systemd-analyze"):
        (tmp_path / "lem.service").write_text(text)
        subprocess.run(["systemd-analyze", "verify", tmp_path / "lem.service"], check=True)


def test_one_schedule_at_a_time(here):
    place = Place(here / ".lem")
    with place.held("daemon", ""):
        found = lem("run")
    assert found.exit_code == 2
    assert "another lem schedule run is at work" in found.output


class Daemon:
    """`lem schedule run` in a process of its own."""

    def __init__(self, folder):
        self.place = Place(folder / ".lem")
        self.said = folder / "daemon.txt"
        with self.said.open("a") as file:
            self.popen = subprocess.Popen([*LEM, "run"], cwd=folder, stdout=file, stderr=subprocess.STDOUT)

    def until(self, condition, seconds=60):
        """Wait for what the log says."""
        deadline = time.monotonic() + seconds
        while not condition(lines := read_log(self.place.log)):
            assert self.popen.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)
        return lines

    def sampling(self):
        """Wait until the run under way has measured something; its PID."""
        begun = self.until(lambda lines: lines and isinstance(lines[-1], BeginLine))[-1]
        folder = self.place.results / "runs" / begun.run
        deadline = time.monotonic() + 60
        while not any(folder.glob("samples*.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return begun

    def kill(self, *others):
        for pid in (self.popen.pid, *others):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


def ended(count):
    return lambda lines: sum(isinstance(line, EndLine) and line.outcome == "passed" for line in lines) >= count


def has_passed(run):
    return lambda lines: any(
        isinstance(line, EndLine) and (line.run, line.outcome) == (run, "passed") for line in lines
    )


@pytest.mark.slow
def test_kills_and_restarts_run_nothing_twice_and_lose_nothing(project):
    project.write(ONE.replace("0.001", "0.02"))
    folder = project.pytester.path
    add = [
        sys.executable,
        "-m",
        "pytest_lem.cli",
        "schedule",
        "add",
        "test_it.py",
        "--every",
        "2s",
        "--",
        "--lem-rounds=8",
    ]
    subprocess.run(add, cwd=folder, check=True, capture_output=True)

    daemon = Daemon(folder)
    daemon.until(ended(1))
    alone = daemon.sampling()  # its pytest lives on, and the next daemon waits for it
    daemon.kill()
    daemon = Daemon(folder)
    daemon.until(lambda lines: any(isinstance(line, EndLine) and line.run == alone.run for line in lines))
    both = daemon.sampling()  # its pytest dies too, and the next daemon continues the run
    daemon.kill(both.pid)
    daemon = Daemon(folder)
    lines = daemon.until(has_passed(both.run))
    assert [line.continued for line in lines if isinstance(line, BeginLine) and line.run == both.run] == [False, True]
    last = daemon.sampling()
    daemon.popen.send_signal(signal.SIGTERM)
    assert daemon.popen.wait(timeout=60) == 0
    assert not psutil.pid_exists(last.pid)

    lines = read_log(daemon.place.log)
    dues = {line.run: line.due for line in lines if isinstance(line, BeginLine)}
    assert len(set(dues.values())) == len(dues), "a time has one run"
    assert {path.name for path in (daemon.place.results / "runs").iterdir() if path.is_dir()} == set(dues)
    ends = {line.run: line.outcome for line in lines if isinstance(line, EndLine)}
    assert set(ends) == set(dues)
    assert Counter(ends.values())["passed"] + Counter(ends.values())["ended"] >= 3
    for run, outcome in ends.items():
        report = json.loads((daemon.place.results / "runs" / run / "report.json").read_text())
        assert report["run"]["complete"] is (outcome != "interrupted")
        if outcome != "interrupted":
            (measurement,) = report["measurements"]
            whole = [cycle for cycle in measurement["cycles"] if cycle["stopped"] == "rounds"]
            assert [len(cycle["rounds"]) for cycle in whole] == [8]


@pytest.mark.slow
def test_once_runs_a_job_now_and_tells_how_it_ended(project):
    project.write(ONE + "    assert False\n")
    folder = project.pytester.path
    subprocess.run([*LEM, "add", "test_it.py", "--at", "02:00"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run([*LEM, "run", "--once", "test_it"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "test_it: failed" in done.stdout
