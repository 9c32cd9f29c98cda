"""When each token came: events on the GPU's own clock, or stamps of the host for a CPU."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
from transformers import LogitsProcessor


class TokenClock(LogitsProcessor):  # type: ignore[misc]  # transformers is not seen by mypy
    """Marks every token of every batch as its logits are ready; the requests of a batch get theirs together.

    `generate` calls it once per token, before it picks the token. Marks are made in advance: recording one costs
    microseconds and never waits for the device. `marks` is how many at most: one a token, and one a batch.
    """

    def __init__(self, device: torch.device, marks: int) -> None:
        self._cuda = device.type == "cuda"
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(marks)] if self._cuda else []
        self._stamps = [0] * (0 if self._cuda else marks)
        self._next = 0
        self._begins: list[int] = []
        self.began = 0.0

    def begin(self) -> None:
        """A batch begins."""
        if not self._begins:
            self.began = time.monotonic()
        self._begins.append(self._next)
        self._mark()

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mark a token; the scores pass unchanged."""
        self._mark()
        return scores

    def _mark(self) -> None:
        if self._cuda:
            self._events[self._next].record()
        else:
            self._stamps[self._next] = time.monotonic_ns()
        self._next += 1

    def _milliseconds(self, first: int, second: int) -> float:
        if self._cuda:
            return float(self._events[first].elapsed_time(self._events[second]))
        return (self._stamps[second] - self._stamps[first]) / 1e6

    def begun_ms(self, batch: int) -> float:
        """When a batch began, in ms after the first of them."""
        return self._milliseconds(self._begins[0], self._begins[batch])

    def times(self, batch: int, tokens: int) -> dict[str, Any]:
        """Of a request with so many tokens: `ttft_ms` after its batch began, and the `gaps_ms` after it."""
        begin = self._begins[batch]
        marks = range(begin + 1, begin + 1 + tokens)
        return {
            "ttft_ms": self._milliseconds(begin, begin + 1),
            "gaps_ms": [self._milliseconds(first, second) for first, second in pairwise(marks)],
        }
