"""The other ranks of an engine that several processes run: rank 0, which talks to the parent, starts and leads them.

Each is another copy of this child whose parent is rank 0: the same wire, the same commands, the same process group and
session, so that whatever ends the group ends all of them. torchrun is not between them: its agent starts every worker
in a session of its own, out of reach of a signal to the group. The variables that it would set are set.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .faults import exit_words

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "127.0.0.1"
LEAVE_SECONDS = 8.0
# A rank that died is the cause of whatever its peers then say, and is seen a moment later than they speak.
GRACE_SECONDS = 1.0

Tell = Callable[[dict[str, Any]], None]


def rendezvous() -> socket.socket:
    """A socket that already listens, at a port which nobody else can get: rank 0 puts the store of all ranks there."""
    return socket.create_server((HOST, 0))


def place(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would put into the environment of a rank on one host."""
    return {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "GROUP_RANK": "0",
        "WORLD_SIZE": f"{count}",
        "LOCAL_WORLD_SIZE": f"{count}",
        "MASTER_ADDR": HOST,
        "MASTER_PORT": f"{port}",
    }


class Ranks:
    """Ranks 1 and up. Their failures, and those of rank 0, are told to the parent once: the one that caused the rest.

    `tell` sends a failure while a command is carried out; the parent then ends the group.
    """

    def __init__(self, count: int, adapter_file: str, tell: Tell) -> None:
        listener = rendezvous()
        port = listener.getsockname()[1]
        self.listen_fd = listener.detach()  # it is the adapter's from now on
        os.environ.update(place(0, count, port))
        self._tell = tell
        self._lock = threading.Lock()
        self._failures: list[dict[str, Any]] = []
        self._leaving = False
        environments = [{**os.environ, **place(rank, count, port)} for rank in range(1, count)]
        self._others = [
            Other(rank, adapter_file, environment, self.failed) for rank, environment in enumerate(environments, 1)
        ]

    def send(self, request: dict[str, Any]) -> None:
        """Pass a command on to all of them."""
        self._leaving = request["command"] == "stop"
        for other in self._others:
            other.send({**request, "rank": other.rank})

    def refusals(self) -> list[str]:
        """Wait until each has carried the command out; what those said that refused it."""
        answers = [other.answers.get() for other in self._others]
        return [f"rank {answer['rank']}: {answer['message']}" for answer in answers if answer["type"] == "failed"]

    def failed(self, rank: int, failure: dict[str, Any]) -> None:
        """A rank failed: tell it at once where it died, else when none of the others turns out to have died."""
        with self._lock:
            self._failures.append({**failure, "rank": rank})
        if failure.get("gone"):
            self._tell_cause()
        else:
            timer = threading.Timer(GRACE_SECONDS, self._tell_cause)
            timer.daemon = True
            timer.start()

    def _tell_cause(self) -> None:
        with self._lock:
            if self._leaving:
                return
            cause = next((each for each in self._failures if each.get("gone")), self._failures[0])
        told = {name: value for name, value in cause.items() if name != "gone"}
        between = ": " if not cause.get("gone") else " "
        self._tell({**told, "type": "failed", "message": f"rank {cause['rank']}{between}{cause['message']}"})

    def leave(self) -> None:
        """After stop: wait until they have ended, rank 0 last, since it holds the store."""
        deadline = time.monotonic() + LEAVE_SECONDS
        for other in self._others:
            other.ended(max(0.0, deadline - time.monotonic()))


class Other:
    """One other rank: its process, its wire, and the thread that hears it and puts what it prints into the log."""

    def __init__(
        self, rank: int, adapter_file: str, environment: dict[str, str], failed: Callable[[int, dict[str, Any]], None]
    ) -> None:
        self.rank = rank
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._failed = failed
        child_read, self._write_fd = os.pipe()
        read_fd, child_write = os.pipe()
        command = [sys.executable, "-u", HERE, "--adapter", adapter_file]
        self._popen = subprocess.Popen(
            [*command, "--read-fd", str(child_read), "--write-fd", str(child_write)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(child_read, child_write),
        )
        os.close(child_read)
        os.close(child_write)
        self._log = threading.Thread(target=self._copy_log, name=f"lem-log-{rank}", daemon=True)
        self._log.start()
        threading.Thread(target=self._listen, args=(read_fd,), name=f"lem-rank-{rank}", daemon=True).start()

    def send(self, request: dict[str, Any]) -> None:
        """Write a command; a rank that is gone is told by the thread that hears it."""
        data = json.dumps(request).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except OSError:
            return

    def ended(self, seconds: float) -> bool:
        """Whether it ended within so long."""
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _listen(self, read_fd: int) -> None:
        """Queue its answers; report what ends it, once its last words are in the log."""
        with os.fdopen(read_fd, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._heard(json.loads(line))
        status = self._popen.wait()
        self._log.join(GRACE_SECONDS)
        self._failed(self.rank, {"kind": "died", "message": f"died ({exit_words(status)})", "gone": True})

    def _heard(self, message: dict[str, Any]) -> None:
        if message["type"] == "failed" and message.get("fatal", True):
            self._failed(self.rank, {"kind": message["kind"], "message": message["message"]})
        elif message["type"] in ("done", "failed"):
            self.answers.put({**message, "rank": self.rank})

    def _copy_log(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            os.write(2, f"[rank {self.rank}] ".encode() + line.rstrip(b"\n") + b"\n")
