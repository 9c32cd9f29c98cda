"""SIGTERM, as a service manager or a schedule sends it: the round under way is finished, then the run ends by order.

Without it, pytest would die on the spot, and no report be written. Ctrl-C ends a round at once, as ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Between `take` and `give_back`, SIGTERM ends the run like Ctrl-C, only not within a round; a second one does."""

    def __init__(self) -> None:
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
            raise KeyboardInterrupt
        self._asked = True
