"""When each token came: events on the GPU's own clock, or stamps of the host for a CPU."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import LogitsProcessor


class TokenClock(LogitsProcessor):  # type: ignore[misc]  # transformers is not seen by mypy
    """Marks every token as its logits are ready; static batching gives all requests of a pass the same times.

    `generate` calls it once per token, before it picks the token. Marks are made in advance: recording one costs
    microseconds and never waits for the device.
    """

    def __init__(self, device: torch.device, passes: int, tokens: int) -> None:
        self._cuda = device.type == "cuda"
        self._width = tokens + 1
        count = passes * self._width
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(count)] if self._cuda else []
        self._stamps = [0] * (0 if self._cuda else count)
        self._next = 0

    def begin(self) -> None:
        """A pass begins."""
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

    def times(self, count: int) -> list[dict[str, Any]]:
        """One entry a pass, for its `count` requests: `ttft_ms` and the `gaps_ms` after it."""
        passes = range(0, self._next, self._width)
        return [
            {
                "ttft_ms": self._milliseconds(begin, begin + 1),
                "gaps_ms": [self._milliseconds(i, i + 1) for i in range(begin + 1, begin + self._width - 1)],
                "count": count,
            }
            for begin in passes
        ]
