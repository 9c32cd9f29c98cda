"""Waves: `generate` on one batch after the other, prepared in advance."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from .pytorch_batch import Batch
from .pytorch_decoding import Manner
from .pytorch_times import ChunkClock, TokenClock


class Waves:
    """A work of waves, ready to run. `run_pass` never waits for the device."""

    way = "waves"

    def __init__(self, model: Any, work: dict[str, Any], device: torch.device, manner: Manner) -> None:
        self.model, self.device, self.assisted = model, device, manner.assisted
        self.batches = [Batch(work, wave, device, manner) for wave in work["waves"]]
        self.seed = work["decoding"].get("seed")

    def arm(self, passes: int, hooks: bool) -> None:
        """Forget the last run; make the clock's marks."""
        marks = passes * sum(batch.longest + 1 for batch in self.batches)
        clock = ChunkClock() if self.assisted else TokenClock(self.device, marks)
        self.clock = clock if hooks else None
        self.passes = self.tokens = 0
        self.made: list[torch.Tensor] = []

    def run_pass(self) -> None:
        """All waves once."""
        if self.seed is not None:
            torch.manual_seed(self.seed)
        self.made = [batch.generate(self.model, self.clock) for batch in self.batches]
        self.tokens += sum(batch.own_count(made) for batch, made in zip(self.batches, self.made, strict=True))
        self.passes += 1

    def token_ids(self) -> list[list[int]]:
        """The last pass's new tokens, in the order of the requests."""
        rows = {
            place: row
            for batch, made in zip(self.batches, self.made, strict=True)
            for place, row in zip(batch.places, batch.own(made), strict=True)
        }
        return [rows[place] for place in sorted(rows)]

    def request_times(self, began: float) -> list[dict[str, Any]]:
        """Requests of a wave that ask for equally many tokens got them at the same times: one entry for them.

        `generate` hands all answers of a wave over when its longest is complete: each is answered then (`e2e_ms`).
        """
        clock = self.clock
        if clock is None:
            return []
        start_ms = 1e3 * (clock.began - began)
        entries = []
        for number in range(self.passes * len(self.batches)):
            batch = self.batches[number % len(self.batches)]
            sent_ms = start_ms + clock.begun_ms(number)
            longest = clock.times(number, batch.longest)
            common = {"due_ms": sent_ms, "sent_ms": sent_ms, "e2e_ms": longest["ttft_ms"] + sum(longest["gaps_ms"])}
            for length, count in sorted(Counter(batch.lengths).items()):
                entry = {**clock.times(number, length), "count": count, **common}
                if count == 1:
                    entry["index"] = batch.places[batch.lengths.index(length)]
                entries.append(entry)
        return entries

    def counters(self) -> dict[str, float]:
        """What was computed for nothing, over all passes."""
        return {
            "padding_tokens": self.passes * sum(batch.padding for batch in self.batches),
            "wasted_tokens": self.passes * sum(batch.wasted for batch in self.batches),
        }

    def close(self) -> None:
        """Nothing runs between passes."""
