"""The child's end of the pipes, and the thread that keeps no engine alive without its parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import sys
import threading
from typing import Any

from .leftovers import descendants, group_members, unlink_shared_memory

PROTOCOL = 2
# A fork of the parent may keep the pipe open after the parent is gone; then only the parent's number tells.
PARENT_CHECK_SECONDS = 2.0


class Wire:
    """Commands in, messages out. A daemon thread reads, so that the parent's death is seen at any time."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        for fd in (read_fd, write_fd):
            os.set_inheritable(fd, False)
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._parent = os.getppid()
        self._lock = threading.Lock()
        self._open: int | None = None
        self._kept: dict[str, Any] | None = None
        self._commands: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._watch, name="lem-watch", daemon=True).start()

    def hello(self) -> None:
        """Open the talk."""
        python = ".".join(str(part) for part in sys.version_info[:3])
        self.send({"type": "hello", "protocol": PROTOCOL, "pid": os.getpid(), "python": python})

    def receive(self) -> dict[str, Any]:
        """The next command; waits for it."""
        return self._commands.get()

    def begin(self, command: int) -> None:
        """A command was taken, and waits for its answer; a failure that came before it is the answer."""
        with self._lock:
            self._open, kept = command, self._kept
        if kept is not None:
            self.answer(kept)

    def answer(self, answer: dict[str, Any]) -> None:
        """Answer the open command, from whatever thread comes first; a failure while none is open is kept for it."""
        with self._lock:
            command, self._open = self._open, None
            if command is None:
                self._kept = answer
                return
        self.send({"id": command, **answer})

    def send(self, message: dict[str, Any]) -> None:
        """Write one message as a line."""
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._write_fd, data) :]

    def _watch(self) -> None:
        """Queue every command; at end-of-file, or when another process has become the parent, end them all."""
        pending = b""
        while True:
            ready, _, _ = select.select([self._read_fd], [], [], PARENT_CHECK_SECONDS)
            chunk = os.read(self._read_fd, 1 << 16) if ready else None
            if chunk == b"" or os.getppid() != self._parent:
                elsewhere = descendants()
                unlink_shared_memory({*group_members(), *elsewhere})
                for pid in elsewhere:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                # The parent started this process in a session of its own: the group is ours alone.
                os.killpg(os.getpgid(0), signal.SIGKILL)
            if chunk:
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self._commands.put(json.loads(line))
