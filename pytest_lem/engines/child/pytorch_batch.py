"""Requests that `generate` decodes together: padded on the left to the longest prompt, run to the longest answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .pytorch_decoding import Manner, generation
from .pytorch_times import ChunkClock, TokenClock


class Batch:
    """Some requests of a work (their `places` in it), as tensors on the device.

    `padding` counts the tokens that fill up the prompts, `wasted` those that are made beyond what their requests ask
    for, until the longest is done.
    """

    def __init__(self, work: dict[str, Any], places: Sequence[int], device: torch.device, manner: Manner) -> None:
        self.places = places
        rows = [work["requests"][place]["prompt"] for place in places]
        self.lengths = [work["requests"][place]["output_tokens"] for place in places]
        self.longest = max(self.lengths)
        width = max(map(len, rows))
        self.padding = sum(width - len(row) for row in rows)
        self.wasted = sum(self.longest - length for length in self.lengths)
        self.input_ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        self.attention_mask = torch.tensor(mask, device=device)
        self.generation = generation(work["decoding"], self.longest, manner)
        self.assistant = manner.assistant

    def generate(self, model: Any, clock: TokenClock | ChunkClock | None) -> torch.Tensor:
        """The new tokens, a row a request, as long as the longest; the device may still be at work on them."""
        watched: dict[str, Any] = {}
        if clock:
            clock.begin()
            watched = clock.watching()
        if self.assistant is not None:
            watched["assistant_model"] = self.assistant
        made: torch.Tensor = model.generate(
            input_ids=self.input_ids,
            attention_mask=self.attention_mask,
            generation_config=self.generation,
            **watched,
        )
        return made[:, self.input_ids.shape[1] :]

    def own(self, made: torch.Tensor) -> list[list[int]]:
        """Each request's own tokens, in the order of `places`."""
        return [row[:length] for row, length in zip(made.tolist(), self.lengths, strict=True)]

    def own_count(self, made: torch.Tensor) -> int:
        """How many tokens `own` would give; does not wait for the device."""
        return sum(min(length, made.shape[1]) for length in self.lengths)
