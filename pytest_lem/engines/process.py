"""The operating-system side of an engine: start its process, watch its group, end it without a trace."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from pytest_lem.engines.channel import Channel
from pytest_lem.engines.child.leftovers import unlink_shared_memory

CHILD = Path(__file__).parent / "child"
TAIL_LINES = 30
TAIL_BYTES = 8192
RANKS_READ = 16  # so many times as much is read for the tail of one rank, beside which the others write
KILL_SECONDS = 10.0


def child_environment(gpus: Sequence[str], *, hide_gpus: bool, other_python: bool) -> dict[str, str]:
    """The environment of an engine's process.

    Devices are named by UUID. `hide_gpus` is for an engine on the CPU. Another interpreter does not inherit the paths
    of ours, so that its own packages are the only ones it finds.
    """
    environment = dict(os.environ, CUDA_DEVICE_ORDER="PCI_BUS_ID")
    environment.setdefault("TQDM_DISABLE", "1")  # progress bars would fill the log, and its tail is what users see
    if gpus or hide_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = "" if hide_gpus else ",".join(gpus)
    if other_python:
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            environment.pop(name, None)
    return environment


class EngineProcess:
    """A child in a session and process group of its own, with its pipes and its log.

    Its exit is noticed without reaping it: until `reap`, the dead leader keeps its number, so the group that is
    signalled is always ours. What it started into other sessions, as Open MPI does, is known by it only while it lives:
    those processes that `remember` or `pids` has seen end with it.
    """

    def __init__(self, python: str | None, adapter: Path, environment: Mapping[str, str], log_path: Path) -> None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        child_read, write_fd = os.pipe()
        read_fd, child_write = os.pipe()
        command = [python or sys.executable, "-u", str(CHILD), "--adapter", str(adapter)]
        command += ["--read-fd", str(child_read), "--write-fd", str(child_write)]
        try:
            with log_path.open("wb") as log:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=dict(environment),
                    pass_fds=(child_read, child_write),
                    start_new_session=True,
                )
        except OSError:
            os.close(read_fd)
            os.close(write_fd)
            raise
        finally:
            os.close(child_read)
            os.close(child_write)
        self.pid = self._popen.pid
        self.log_path = log_path
        self._seen: set[psutil.Process] = set()
        self.channel = Channel(read_fd, write_fd, self.running)

    def running(self) -> bool:
        """Whether the process still executes; a dead one that waits to be reaped does not."""
        if self._popen.returncode is not None:
            return False
        try:
            return _executes(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return False

    def pids(self) -> set[int]:
        """All live processes of the engine: its session, its descendants wherever they went, and those seen before."""
        return {member.pid for member in self._members()}

    def remember(self) -> None:
        """Look at what it has started by now, to find it again when the engine that would tell is gone."""
        self._members()

    def _members(self) -> set[psutil.Process]:
        if self._popen.returncode is not None:
            return set()
        found = {process for process in self._seen if process.is_running() and _executes(process)}
        sessions = {self.pid, *(process.pid for process in found)}
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.NoSuchProcess):
                if os.getsid(process.pid) in sessions and _executes(process):
                    found.add(process)
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(psutil.Process(self.pid).children(recursive=True))
        self._seen = found
        return found

    def wait(self, seconds: float) -> bool:
        """Whether the process ended within `seconds`. Does not reap it."""
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def terminate(self) -> None:
        """Ask the whole group to end (SIGTERM)."""
        self._signal(signal.SIGTERM)

    def reap(self) -> int:
        """Kill whatever is left of the group and its descendants, take the exit status, close the pipes.

        Returns the exit status as subprocess writes it (negative: the signal). May be called twice.
        """
        if self._popen.returncode is None:
            members = self._members()
            unlink_shared_memory(member.pid for member in members)
            self._signal(signal.SIGKILL)
            for member in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            self._popen.wait()
            _wait_gone(members)
            self.channel.close()
        return self._popen.returncode

    def _signal(self, number: int) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def log_tail(self, rank: int | None = None) -> str:
        """The last lines of the engine's log; of one that runs in several ranks, those that `rank` wrote."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - TAIL_BYTES * (1 if rank is None else RANKS_READ)))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if rank in (None, _writer(line))][-TAIL_LINES:])


def _writer(line: str) -> int:
    """The rank that wrote a line; rank 0 writes its own as they are."""
    found = re.match(r"\[rank (\d+)\] ", line)
    return int(found[1]) if found else 0


def _executes(process: psutil.Process) -> bool:
    """False for a process that is gone, or dead and waiting for whoever reaps it."""
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _wait_gone(processes: set[psutil.Process]) -> None:
    """Wait for killed processes to be gone; one stuck in a driver call is given up after KILL_SECONDS."""
    deadline = time.monotonic() + KILL_SECONDS
    while any(_executes(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
