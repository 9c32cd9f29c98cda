"""Traffic by queueing: all that has come, up to `batch`, is decoded together; what comes meanwhile waits for it."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import Any

import torch

from .arrivals import Arrivals, Sent
from .pytorch_batch import Batch
from .pytorch_decoding import Manner
from .pytorch_times import TokenClock


@dataclass(frozen=True)
class Served:
    """One request that was answered with its batch (`number` in the run), which was taken and done at these seconds."""

    sent: Sent
    number: int
    taken: float
    done: float
    tokens: int


class Queue:
    """A work that comes over time, for models without continuous batching."""

    way = "queue"

    def __init__(self, model: Any, work: dict[str, Any], device: torch.device, manner: Manner) -> None:
        self.model, self.work, self.device, self.manner = model, work, device, manner

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run; make the clock's marks, enough for batches of one."""
        marks = passes * sum(request["output_tokens"] + 1 for request in self.work["requests"])
        self.clock = TokenClock(self.device, marks) if hooks else None
        self.tokens = self.padding = self.wasted = self.number = 0
        self.served: list[Served] = []
        self.rows: dict[int, list[int]] = {}

    def run_pass(self) -> None:
        """Serve until every request is answered."""
        inbox: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        arrivals = Arrivals(self.work, inbox.put)
        self.rows = {}
        arrivals.begin()
        while len(self.rows) < len(self.work["requests"]):
            self._answer(self._take(inbox), arrivals)

    def _take(self, inbox: queue.SimpleQueue[Sent]) -> list[Sent]:
        """All that have come, in order, up to the batch's size; waits for the first."""
        taken = [inbox.get()]
        while len(taken) < self.work["batch"] and not inbox.empty():
            taken.append(inbox.get())
        return taken

    def _answer(self, taken: list[Sent], arrivals: Arrivals) -> None:
        begin = time.monotonic()
        places = [sent.place for sent in taken]
        batch = Batch(self.work, places, self.device, self.manner)
        rows = batch.own(batch.generate(self.model, self.clock))  # waits for the device, as an answer does
        done = time.monotonic()
        for sent, row in zip(taken, rows, strict=True):
            self.rows[sent.place] = row
            self.served.append(Served(sent, self.number, begin, done, len(row)))
            arrivals.answered()
        self.tokens += sum(map(len, rows))
        self.padding += batch.padding
        self.wasted += batch.wasted
        self.number += 1

    def token_ids(self) -> list[list[int]]:
        """The last pass's new tokens, in the order of the requests."""
        return [self.rows[place] for place in sorted(self.rows)]

    def request_times(self, began: float) -> list[dict[str, Any]]:
        """One entry a request: it waits for the batch before its own, and is answered when its own is done."""
        return [self._times(served, began) for served in self.served] if self.clock else []

    def _times(self, served: Served, began: float) -> dict[str, Any]:
        assert self.clock is not None
        sent = served.sent
        times = self.clock.times(served.number, served.tokens)
        begun = self.clock.began + self.clock.begun_ms(served.number) / 1e3
        return {
            "index": sent.place,
            "due_ms": 1e3 * (sent.due - began),
            "sent_ms": 1e3 * (sent.sent - began),
            "ttft_ms": times["ttft_ms"] + 1e3 * (begun - sent.due),
            "gaps_ms": times["gaps_ms"],
            "queue_ms": 1e3 * (served.taken - sent.sent),
            "e2e_ms": 1e3 * (served.done - sent.due),
        }

    def counters(self) -> dict[str, float]:
        """What was computed for nothing, over all passes."""
        return {"padding_tokens": self.padding, "wasted_tokens": self.wasted}

    def close(self) -> None:
        """Nothing runs between passes."""
