"""When each token came: events on the GPU's own clock, or stamps of the host for a CPU."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer


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

    def watching(self) -> dict[str, Any]:
        """The keywords by which `generate` calls it."""
        return {"logits_processor": LogitsProcessorList([self])}

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


class ChunkClock(BaseStreamer):  # type: ignore[misc]  # transformers is not seen by mypy
    """Marks the tokens of assisted generation, which come several at once, one request after the other.

    transformers hands them over on the host, so that every mark waits for the device, as assisted generation itself
    does at every step.
    """

    def __init__(self) -> None:
        self._chunks: list[list[tuple[int, int]]] = []
        self._begins: list[int] = []
        self.began = 0.0

    def begin(self) -> None:
        """A request begins."""
        now = time.monotonic_ns()
        if not self._begins:
            self.began = now / 1e9
        self._begins.append(now)
        self._chunks.append([])

    def watching(self) -> dict[str, Any]:
        """The keywords by which `generate` calls it."""
        return {"streamer": self}

    def put(self, value: torch.Tensor) -> None:
        """Mark so many new tokens; the prompt comes first."""
        self._chunks[-1].append((time.monotonic_ns(), value.numel()))

    def end(self) -> None:
        """A request is answered."""

    def begun_ms(self, batch: int) -> float:
        """When a request began, in ms after the first of them."""
        return (self._begins[batch] - self._begins[0]) / 1e6

    def times(self, batch: int, tokens: int) -> dict[str, Any]:  # noqa: ARG002 - they are those that came
        """`ttft_ms` after a request began, and the `gaps_ms` after it: one between chunks, divided by its tokens."""
        (before, first), *others = self._chunks[batch][1:]
        gaps = [0.0] * (first - 1)
        ttft_ms = (before - self._begins[batch]) / 1e6
        for stamp, count in others:
            gaps += [(stamp - before) / count / 1e6] * count
            before = stamp
        return {"ttft_ms": ttft_ms, "gaps_ms": gaps}
