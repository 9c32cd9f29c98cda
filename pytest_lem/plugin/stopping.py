"""SIGTERM, as a service manager or a schedule sends it: the round under way is finished, then the run ends by order.

Without it, pytest would die on the spot, and no report be written. Ctrl-C ends a round at once, as ever; so does
SIGTERM where workers of xdist measure.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest


class Stopping:
    """Between `take` and `give_back`, SIGTERM ends the run like Ctrl-C, only not within a round; a second one does.

    `tell` is called before the run ends so.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self._tell = tell
        self._asked = False
        self._measuring = False
        self._taken = False

    def take(self) -> None:
        """Take the signal over, unless somebody else has, or this is no main thread, where that cannot be."""
        free = threading.current_thread() is threading.main_thread()
        if free and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._come)
            self._taken = True

    def give_back(self) -> None:
        """Let the signal do what it did before."""
        if self._taken:
            self._taken = False
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @contextmanager
    def rounds(self) -> Iterator[None]:
        """Rounds are measured in this block, and `round_ended` is told of each."""
        self._measuring = True
        try:
            yield
        finally:
            self._measuring = False
        self.round_ended()

    def round_ended(self) -> None:
        """A round has ended and is on the disk. Raises KeyboardInterrupt where that was waited for."""
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt

    def _come(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked or not self._measuring:
            self._asked = False
            self._tell()
            raise KeyboardInterrupt
        self._asked = True


class ControllerStopping:
    """The side of xdist's controller, which measures nothing itself: SIGTERM ends it and its workers as Ctrl-C does.

    A terminal's Ctrl-C comes to every process of a run, SIGTERM to the controller alone: it hands an interrupt on to
    those of this machine. Workers elsewhere end with their connection, as ever. `measures` tells whether a node that
    has collected has items of ours.
    """

    def __init__(self, measures: Callable[[Any], object]) -> None:
        self._measures = measures
        self._stopping = Stopping(self._interrupt_workers)
        self._workers: dict[str, int] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Note the process of a worker that was started here; that of one behind a proxy may be another machine's."""
        if node.gateway.spec.popen and not node.gateway.spec.via:
            self._workers[node.gateway.id] = node.gateway._rinfo().pid

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Forget a worker that has ended: its number may become another process's."""
        self._workers.pop(node.gateway.id, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """Take the signal as soon as something is there to be measured; a run of plain tests ends as it would."""
        if self._measures(node):
            self._stopping.take()

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Let the signal go when the report is written: outside of what writes it."""
        try:
            return (yield)
        finally:
            self._stopping.give_back()

    def _interrupt_workers(self) -> None:
        for pid in self._workers.values():
            with suppress(OSError):  # it has ended meanwhile
                os.kill(pid, signal.SIGINT)
