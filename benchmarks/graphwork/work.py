"""The parent's side of the fixed GPU work: start the child, ask, get stamps back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.graphwork.board import Board

CHILD = Path(__file__).with_name("child.py")
SIZES = (512, 1024, 2048, 4096)
REPLAY_MS = 5.0
POWER_SHARE = 0.8
MARGIN = 1.03


@dataclass(frozen=True)
class Stamps:
    """When the work began and ended (monotonic ns), and its replays."""

    start_ns: int
    end_ns: int
    replays: int

    @property
    def seconds(self) -> float:
        """Length of the work in seconds."""
        return (self.end_ns - self.start_ns) / 1e9


class GraphWork:
    """A child process that replays one CUDA graph; `python` is its interpreter. Close it, or use it in `with`."""

    def __init__(self, uuid: str, python: str = sys.executable) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": uuid}
        pipe = subprocess.PIPE
        self._child = subprocess.Popen([python, str(CHILD)], stdin=pipe, stdout=pipe, text=True, env=environment)
        self.facts: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that work: this one alone."""
        return (self.pid,)

    @property
    def exit_code(self) -> int | None:
        """How the child ended; None while it runs."""
        return self._child.poll()

    def __enter__(self) -> GraphWork:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _send(self, **request: Any) -> None:
        if self._child.stdin is None:
            raise RuntimeError("the work's process has no input")
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        line = self._child.stdout.readline() if self._child.stdout is not None else ""
        if not line:
            raise RuntimeError(f"the work's process ended (exit {self._child.poll()}); its error output is above")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"the work's process: {reply['error']}")
        return reply

    def build(self, size: int, seed: int) -> dict[str, Any]:
        """Capture a graph of `size` × `size` products; its facts are kept in `facts`."""
        self._send(do="build", size=size, target_ms=REPLAY_MS, seed=seed)
        self.facts = self._receive()
        return self.facts

    def replays(self, seconds: float) -> int:
        """How many replays last `seconds` and a little more, so that a window is never shorter than asked."""
        return max(1, ceil(MARGIN * seconds / self.facts["replay_seconds"]))

    def run(self, replays: int, start_ns: int = 0, meanwhile: Callable[[], None] | None = None) -> Stamps:
        """Replay from `start_ns` on, wait for the end. `meanwhile` runs here once the child has been told."""
        self._send(do="run", replays=replays, start_ns=start_ns)
        try:
            if meanwhile is not None:
                meanwhile()
        finally:
            reply = self._receive()  # whatever happens here, the next request must find an empty pipe
        return Stamps(**reply)


def choose_size(work: GraphWork, board: Board, sizes: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """Build the largest product that stays well below the board's power limit; tell what every try drew, it last.

    At the limit the chip lowers its clock as it heats, and the joules of one and the same work change with it. Here
    the meter is under test, so the work must not be capped. Sizes are tried from the smallest up, so that one hungry
    try at most heats the board before the run. Where every size is too hungry the smallest is kept.
    """
    fit: list[dict[str, Any]] = []
    hungry: list[dict[str, Any]] = []
    for size in sizes:
        facts = work.build(size, seed)
        drawn = _busy_state(work, board)
        tried = {**facts, **drawn}
        if drawn["watts"] > POWER_SHARE * drawn["limit_w"]:
            hungry.append(tried)
            break
        fit.append(tried)
    if hungry and fit:
        fit[-1].update(work.build(fit[-1]["size"], seed))
    return [*hungry, *fit]


def _busy_state(work: GraphWork, board: Board) -> dict[str, Any]:
    """Watts, clock, temperature while the work has run for a second and goes on."""
    seen: dict[str, Any] = {}

    def look() -> None:
        time.sleep(1.2)
        seen.update(board.snapshot(), watts=board.average_w(), limit_w=board.limit_w())

    work.run(work.replays(1.5), meanwhile=look)
    return seen
