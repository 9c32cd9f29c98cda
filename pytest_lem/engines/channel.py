"""JSON lines to and from an engine's process, over its own pair of pipes."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from pytest_lem.engines.protocol import MESSAGE, Done, Failed, Hello, Progress

# How often a silent pipe is interrupted to see whether the process still lives: a worker that it forked may hold the
# pipe's other end, so that its death brings no end-of-file. Rare enough to leave a measured window alone.
LIVENESS_SECONDS = 0.5
MAX_LINE_BYTES = 1 << 28


class Closed(Exception):
    """The process at the other end is gone."""


class Garbled(Exception):
    """The process wrote something that is no message; `args[0]` shows its beginning."""


class Silent(Exception):
    """No message came before the deadline."""


class Channel:
    """Sends commands to, and reads messages from, one engine's process.

    `alive` tells whether the process still runs; it is asked at most twice a second.
    """

    def __init__(self, read_fd: int, write_fd: int, alive: Callable[[], bool]) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._alive = alive
        self._buffer = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(read_fd, selectors.EVENT_READ)

    def send(self, message: dict[str, Any]) -> None:
        """Write one message. Raises Closed when nobody reads any more."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except (BrokenPipeError, OSError) as fault:
            raise Closed from fault

    def receive(self, deadline: float) -> Hello | Progress | Done | Failed:
        """The next message, blocking until `deadline` (`time.monotonic`). Raises Closed, Garbled or Silent."""
        while b"\n" not in self._buffer:
            self._wait(deadline)
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            return MESSAGE.validate_json(line)
        except ValidationError as fault:
            raise Garbled(line[:80].decode(errors="replace")) from fault

    def _wait(self, deadline: float) -> None:
        """Take what has come, or return after a short wait. Raises Closed, Garbled or Silent."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise Silent
        if not self._selector.select(min(remaining, LIVENESS_SECONDS)):
            if not self._alive():
                raise Closed
            return
        chunk = os.read(self._read_fd, 1 << 16)
        if not chunk:
            raise Closed
        self._buffer += chunk
        if len(self._buffer) > MAX_LINE_BYTES:
            raise Garbled(bytes(self._buffer[:80]).decode(errors="replace"))

    def close(self) -> None:
        """Close both pipes; the process's watching thread takes that as the order to die. May be called twice."""
        self._selector.close()
        for fd in (self._read_fd, self._write_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._read_fd = self._write_fd = -1
