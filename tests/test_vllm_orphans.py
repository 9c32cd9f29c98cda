"""vLLM's processes don't watch their parent; none of them outlives ours, whatever it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from engine_starts import is_gone, killed_in_the_end
from vllm_starts import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
PARENT = """
from pathlib import Path
from pytest_lem.engines import registry
from pytest_lem.engines.host import Engine
from pytest_lem.model.specs import EngineSpec, WorkloadSpec

spec = registry.validate(EngineSpec(backend="vllm", options={options!r}))
engine = Engine.start(spec, gpus=(), log_path=Path({log!r}))
engine.prepare(WorkloadSpec(batch=4, prompt_tokens=8, output_tokens=16000))
print("running", flush=True)
engine.run(1000, timeout=3600)
"""
PATIENCE = 120.0


def descendants(parent: subprocess.Popen) -> set[int]:
    return {process.pid for process in psutil.Process(parent.pid).children(recursive=True)}


def session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def shared_segments() -> set[str]:
    """The names of Python's shared memory on this machine; vLLM's processes talk through it."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "sem.mp-"))}


def mapped() -> str:
    """What every process of this machine has mapped, as Linux tells it."""
    told = []
    for pid in psutil.pids():
        with suppress(OSError):
            told.append(Path(f"/proc/{pid}/maps").read_text(errors="replace"))
    return "".join(told)


def left_behind(before: set[str]) -> set[str]:
    """Shared memory that is new and that nobody has: another vLLM may run beside this test, and has its own."""
    held = mapped()
    return {name for name in shared_segments() - before if name not in held}


def living(sessions: set[int | None]) -> set[int]:
    """The processes of these sessions that still run."""
    return {pid for pid in psutil.pids() if session(pid) in sessions and not is_gone(pid)}


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


@pytest.mark.parametrize("doing", ["load", "run"])
def test_killing_the_parent_leaves_no_process_of_vllm_while_it_is_in_a(tmp_path, doing):
    before = shared_segments()
    program = PARENT.format(options=SMALL, log=str(tmp_path / "engine.log"))
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with killed_in_the_end(parent):
        if doing == "run":
            assert parent.stdout.readline() == "running\n"
            time.sleep(1.0)
        else:
            wait_until(lambda: len(descendants(parent)) >= 3)  # ours, and what vLLM has begun to start
        pids = descendants(parent)
        sessions = {session(pid) for pid in pids} - {session(parent.pid), None}
        parent.send_signal(signal.SIGKILL)
    assert len(pids) >= 3
    wait_until(lambda: not living(sessions) and all(is_gone(pid) for pid in pids))
    wait_until(lambda: not left_behind(before))
