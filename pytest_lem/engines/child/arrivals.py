"""Requests that come one by one: a thread that sends each when it is due, or one for each that was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One request that was sent: its place in its pass, when it was due, and when it was sent (monotonic seconds)."""

    place: int
    due: float
    sent: float


class Arrivals:
    """One pass of an open or a closed loop. `send` is called once a request, and must not wait.

    An open loop sends from a thread of its own, so that no answer that takes long keeps the next request back
    (coordinated omission). A closed loop sends the next request in `answered`.
    """

    def __init__(self, work: dict[str, Any], send: Callable[[Sent], None]) -> None:
        self._send = send
        self._requests = work["requests"]
        self._opened = work["submission"] == "open"
        self._waiting = iter(range(len(self._requests)))
        self._together = work["concurrency"] or 0

    def begin(self) -> None:
        """The pass begins now."""
        if self._opened:
            threading.Thread(target=self._send_when_due, args=(time.monotonic(),), daemon=True).start()
        for _ in range(self._together):
            self.answered()

    def answered(self) -> None:
        """A request was answered: in a closed loop the next one is due."""
        if not self._opened:
            place = next(self._waiting, None)
            if place is not None:
                now = time.monotonic()
                self._send(Sent(place, now, now))

    def _send_when_due(self, begin: float) -> None:
        due = sorted((begin + request["arrival_s"], place) for place, request in enumerate(self._requests))
        for at, place in due:
            time.sleep(max(0.0, at - time.monotonic()))
            self._send(Sent(place, at, time.monotonic()))
