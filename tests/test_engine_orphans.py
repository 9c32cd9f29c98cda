"""No engine outlives the process that started it, whatever it was doing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_engine
import pytest
from engine_starts import is_gone, killed_in_the_end

from pytest_lem.engines.process import EngineProcess, child_environment

# The parent prints the engine's process number as soon as it exists, then says which step it has reached.
PARENT = """
import sys
from pathlib import Path
from pytest_lem.engines import process
from pytest_lem.engines.host import Engine
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

def say(text):
    print(text, flush=True)

start = process.EngineProcess.__init__
def tell(self, *arguments):
    start(self, *arguments)
    say(self.pid)
process.EngineProcess.__init__ = tell
options = {options!r}
engine = Engine.start(EngineSpec(backend="fake", options=options), gpus=(), log_path=Path({log!r}), on_progress=say)
engine.prepare(WorkloadSpec(output_tokens=1))
say("running")
engine.run(1, timeout=3600)
"""
HANGS = {
    "load": {"load_seconds": 3600},
    "load, deaf to SIGTERM": {"at": "load", "fault": "hang"},
    "run": {"token_seconds": 3600},
    "run, with a worker of its own": {"at": "run", "fault": "orphan", "token_seconds": 3600},
}


def start_parent(folder: Path, options) -> tuple[subprocess.Popen, int]:
    program = PARENT.format(options=options, log=str(folder / "engine.log"))
    site = fake_engine.install(folder / "site")
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    return parent, int(parent.stdout.readline())


def wait_gone(pids, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(is_gone(pid) for pid in pids):
        time.sleep(0.02)
    return [pid for pid in pids if not is_gone(pid)]


def session(pid):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(entry)) == pid:
                found.append(int(entry))
        except ProcessLookupError:
            continue
    return found


@pytest.mark.parametrize("doing", HANGS)
def test_killing_the_parent_leaves_no_process_while_the_engine_is_in_a(tmp_path, doing):
    parent, engine = start_parent(tmp_path, HANGS[doing])
    with killed_in_the_end(parent):
        last = "running" if doing.startswith("run") else "loading nothing"
        while parent.stdout.readline().strip() != last:
            pass
        pids = session(engine)
        parent.send_signal(signal.SIGKILL)
    assert engine in pids
    assert wait_gone({*pids, *session(engine)}) == []


def test_killing_the_parent_leaves_no_process_in_a_session_of_its_own(tmp_path):
    parent, engine = start_parent(tmp_path, {"at": "run", "fault": "stray", "token_seconds": 3600})
    with killed_in_the_end(parent):
        stray = int(said(tmp_path / "engine.log", r"started (\d+)\n"))
        assert os.getsid(stray) == stray
        parent.kill()
    assert wait_gone([engine, stray]) == []


@pytest.mark.parametrize("seed", range(5))
def test_killing_the_parent_at_a_drawn_instant_leaves_no_process(tmp_path, seed):
    parent, engine = start_parent(tmp_path, {"load_seconds": 0.1, "token_seconds": 3600})
    with killed_in_the_end(parent):
        time.sleep(random.Random(seed).random() * 0.3)
        parent.send_signal(signal.SIGKILL)
    assert wait_gone({engine, *session(engine)}) == []


def test_the_engine_dies_though_a_fork_of_the_parent_still_holds_its_pipe(tmp_path):
    parent, engine = start_parent(tmp_path, {"token_seconds": 3600})
    with killed_in_the_end(parent):
        while parent.stdout.readline().strip() != "running":
            pass
        time.sleep(0.3)  # it opens and closes what it waits with; the pipes to the engine stay
        pipes = [int(fd) for fd in os.listdir(f"/proc/{parent.pid}/fd") if is_pipe(parent.pid, fd)]
        held = [os.open(f"/proc/{parent.pid}/fd/{fd}", os.O_WRONLY) for fd in pipes if is_writable(parent.pid, fd)]
        parent.send_signal(signal.SIGKILL)
    assert wait_gone({engine}) == []
    for fd in held:
        os.close(fd)


def is_pipe(pid, fd):
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:") and int(fd) > 2
    except FileNotFoundError:  # closed since it was listed
        return False


def is_writable(pid, fd):
    try:
        text = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
    except FileNotFoundError:  # closed since it was listed
        return False
    flags = next(line for line in text.splitlines() if line.startswith("flags"))
    return int(flags.split()[1], 8) & os.O_WRONLY


def said(log: Path, pattern: str) -> str:
    """What the fake engine says of itself, as soon as it says so."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text() if log.exists() else "")
        if found:
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"it never said {pattern!r}")


def shared_segment(log: Path) -> Path:
    """The shared memory that the fake engine holds."""
    return Path("/dev/shm") / said(log, r"shares (psm_\w+)")


def test_shared_memory_of_an_engine_that_lost_its_parent_has_no_name_any_more(tmp_path):
    parent, engine = start_parent(tmp_path, {"at": "load", "fault": "share"})
    with killed_in_the_end(parent):
        segment = shared_segment(tmp_path / "engine.log")
        assert segment.exists()
        parent.kill()
    assert wait_gone([engine]) == []
    assert not segment.exists()


def test_shared_memory_of_a_killed_engine_has_no_name_any_more(tmp_path):
    engine = EngineProcess(
        None, Path(fake_engine.__file__), child_environment((), hide_gpus=True, other_python=False), tmp_path / "log"
    )
    engine.channel.receive(time.monotonic() + 30)
    load = {"id": 1, "command": "load", "options": {"at": "load", "fault": "share"}, "model": "x", "precision": "p"}
    engine.channel.send({**load, "device": "cpu", "gpus": []})
    segment = shared_segment(tmp_path / "log")
    assert segment.exists()
    engine.reap()
    assert not segment.exists()
