"""What an adapter is: the one class that a file named by an `EngineEntry` defines, called `Adapter`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class AdapterProtocol(Protocol):
    """One engine, driven by `lem_child.loop` in the main thread of its own process, in the order written here.

    Any method may raise MemoryError (the device is full: the parent ends the engine), `lem_child.faults.Refused` (the
    request cannot be met, the engine lives on), or anything else (the engine is broken, its traceback goes to its log).
    """

    def load(self, request: dict[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        """Load the model; return the observed configuration.

        `request` holds `source` (`synthetic`, `folder`, `hub`), `location` (a config file, folder or name), `model`,
        `precision`, `device` (`cuda`, `cpu`), `gpus` (UUIDs), `options`, `seed`. Observed, read from live objects, are
        `precision`, `device`, `gpus`, `options` (every option that was asked for), `unread` (those that nothing keeps,
        so that they cannot be read back), `vocab_size`, `notes` (lines that a reader of the numbers has to know), and
        what else the adapter can tell. `progress` shows the user a line about a long step.

        Where the entry's `ranks` is more than one, as many processes have an adapter, and each method is called in all
        of them. `request` then has `ranks` and this one's `rank`, the environment what torchrun would set, and rank 0
        the open socket `listen_fd` at MASTER_PORT, for the store where they meet. Where the entry's `own_gpu` says so,
        `request` has `own_gpu`, and CUDA_VISIBLE_DEVICES names the GPU of this rank's number alone, since before the
        adapter was imported; `gpus` are still those of all. What rank 0 answers is the engine's:
        `observed` and what `collect` gives have a list `ranks`, an entry each (see `RankRun`). `run` begins and ends
        with a barrier, so that the window covers all of them.
        """
        ...

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts. Raises Refused where the model has no tokenizer."""
        ...

    def prepare(self, work: dict[str, Any]) -> list[int]:
        """Put the work on the device; return the real prompt tokens of each request.

        `work` holds the fields of `pytest_lem.workloads.work.Work` for one pass: `requests` (each with its `prompt`'s
        token ids, its `output_tokens`, its `arrival_s`), `submission` with `waves` or `concurrency`, `batch`,
        `decoding`. What the entry's `refuses` lets through, the adapter does, all of it, or raises Refused.
        """
        ...

    def arm(self, passes: int, hooks: bool) -> None:
        """Make all ready for `passes` runs: allocate what hooks need, reset memory peaks, synchronise the device."""
        ...

    def run(self) -> None:
        """Run the passes back to back, and return when the device has finished. Nothing else: this is the window."""
        ...

    def collect(self) -> dict[str, Any]:
        """After the window: `tokens` (over all passes), `token_ids` (last pass, one list a request), `texts` or None,
        `request_times` (hooked runs: `ttft_ms`, `gaps_ms`, `count`, and what else `RequestTimes` has), `memory`
        (`device`, `allocated_bytes`, `reserved_bytes`), `counters` (the engine's own, by the names of `RunReply`).

        Where requests come one by one, each has an entry with `index`, `due_ms`, `sent_ms` and `e2e_ms`. In an open
        loop it is due at its arrival, in a closed one when its client has its last answer, in a wave when that begins.
        An engine that pads counts `padding_tokens`, and `wasted_tokens` that it made beyond what was asked; one that
        drafts counts `draft_tokens` and `accepted_tokens`.
        """
        ...

    def close(self) -> None:
        """Let go of the model before the process ends."""
        ...
