"""Pytest under a schedule: a child of ours, or the orphan of a daemon that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from pytest_lem.store.names import RUN_VARIABLE

LAUNCHER = Path(__file__).with_name("launcher.py")
_CLOCK_SECONDS = 2.0  # the kernel tells when a process began by a boot time in whole seconds, which may be corrected


class Process(Protocol):
    """A pytest that runs, as the daemon sees it."""

    @property
    def pid(self) -> int:
        """The kernel's number of it."""
        ...

    def ended(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def status(self) -> int | None:
        """Its exit status, −N for signal N; None where it was not ours to wait for."""
        ...

    def stop(self, number: int) -> None:
        """Send it a signal."""
        ...


class Child:
    """Started here, in a session of its own: a terminal's Ctrl-C is the daemon's to hand on. It waits for `go`."""

    def __init__(self, arguments: Sequence[str], folder: Path, output: Path, run: str | None) -> None:
        gate, self._go = os.pipe()
        command = [sys.executable, "-m", "pytest", *arguments]
        environment = {**os.environ, RUN_VARIABLE: run} if run else None
        try:
            with output.open("ab") as file:
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(LAUNCHER), str(gate), *command],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    pass_fds=(gate,),
                    start_new_session=True,
                )
        except OSError:
            os.close(self._go)
            raise
        finally:
            os.close(gate)
        self.pid = self._popen.pid
        self.began = psutil.Process(self.pid).create_time()

    def go(self) -> None:
        """Let it run."""
        with suppress(BrokenPipeError):  # it was killed while it waited
            os.write(self._go, b"!")
        os.close(self._go)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    @property
    def status(self) -> int | None:
        """Its exit status."""
        return self._popen.returncode

    def stop(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(signal.Signals(number))


@dataclass(frozen=True)
class Orphan:
    """A process that another daemon started, known by its PID and when it `began` (s since the epoch)."""

    pid: int
    began: float
    status: int | None = None

    def ended(self) -> bool:
        """Whether it has ended; one that got its PID later is another."""
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.began) <= _CLOCK_SECONDS
            return not alive or process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True

    def stop(self, number: int) -> None:
        """Send it a signal."""
        if not self.ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
