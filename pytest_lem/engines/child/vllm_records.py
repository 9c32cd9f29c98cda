"""What vLLM tells of a run: a record a step, a record a token, and each request's own stamps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .chunks import token_gaps

ID_SUFFIX = 9  # vLLM appends a dash and eight characters to the name that a request was given


@dataclass
class StepLog:
    """Sums and peaks over an engine's steps; appended to its stat loggers, so it is called once a step.

    FLOPs and bytes are the engine's own analytic counters (`enable_mfu_metrics`), summed over GPUs.
    """

    gpus: int = 1
    kv_cache_usage: float = 0.0
    preemptions: int = 0
    steps: int = 0
    flops: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None

    def reset(self) -> None:
        """Begin a run."""
        self.kv_cache_usage, self.preemptions, self.steps = 0.0, 0, 0
        self.flops = self.read_bytes = self.write_bytes = None

    def record(self, scheduler_stats: Any, iteration_stats: Any, *_: Any, **__: Any) -> None:
        """One step, as vLLM's `StatLoggerBase.record`; either part may be None."""
        self.steps += 1
        if iteration_stats is not None:
            self.preemptions += iteration_stats.num_preempted_reqs
        if scheduler_stats is None:
            return
        self.kv_cache_usage = max(self.kv_cache_usage, scheduler_stats.kv_cache_usage)
        counted = scheduler_stats.perf_stats
        if counted is not None and counted.num_flops_per_gpu:  # vLLM counts a read of all weights for an empty step
            self.flops = (self.flops or 0) + self.gpus * counted.num_flops_per_gpu
            self.read_bytes = (self.read_bytes or 0) + self.gpus * counted.num_read_bytes_per_gpu
            self.write_bytes = (self.write_bytes or 0) + self.gpus * counted.num_write_bytes_per_gpu

    def log(self, *_: Any, **__: Any) -> None:
        """Nothing is printed."""

    def log_engine_initialized(self, *_: Any, **__: Any) -> None:
        """Nothing is printed."""

    def record_sleep_state(self, *_: Any, **__: Any) -> None:
        """An engine under measurement never sleeps."""

    def record_admission_rejection(self, *_: Any, **__: Any) -> None:
        """Rejected requests fail the run where they are sent."""


@dataclass
class TokenLog:
    """When each request got its tokens, by the engine core's own stamps; watches the engine while it is attached.

    The core stamps each step with the host's monotonic clock in seconds, the one that `sent` is taken from.
    """

    chunks: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)

    def attach(self, processor: Any) -> None:
        """Listen to an engine's output processor until `detach`."""
        original = type(processor).process_outputs

        def process_outputs(outputs: Any, *args: Any, **keywords: Any) -> Any:
            self._note(outputs, args[0] if args else keywords["engine_core_timestamp"])
            return original(processor, outputs, *args, **keywords)

        processor.process_outputs = process_outputs

    @staticmethod
    def detach(processor: Any) -> None:
        """Stop listening."""
        vars(processor).pop("process_outputs", None)

    def _note(self, outputs: Any, stamp: float) -> None:
        now = time.monotonic()
        for output in outputs:
            name = output.request_id[:-ID_SUFFIX]
            if output.new_token_ids:
                self.chunks.setdefault(name, []).append((stamp, len(output.new_token_ids)))
            self.received[name] = now


@dataclass(frozen=True)
class Answer:
    """One request that was answered: its name, its place in its pass, vLLM's final output.

    It was `due` and `sent` at these monotonic seconds: at once, but for requests that come at a time of their own.
    """

    name: str
    index: int
    due: float
    sent: float
    output: Any

    @property
    def token_ids(self) -> list[int]:
        """The new tokens."""
        return list(self.output.outputs[0].token_ids)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the prefix cache."""
        return self.output.num_cached_tokens or 0


def request_times(answer: Answer, log: TokenLog, began: float) -> dict[str, Any]:
    """One request's times in ms, as `RequestTimes` holds them; `began` is when the run did (monotonic seconds).

    Queue, prefill and decode lie between the core's stamps (queued, scheduled, first token, last token); TTFT counts
    from `due`; a gap is divided by the tokens that came with its chunk; end to end, from `due` too, is by this
    process's own clock.
    """
    chunks, stamps = log.chunks[answer.name], answer.output.metrics
    first, gaps = chunks[0][0], token_gaps(chunks)
    return {
        "index": answer.index,
        "due_ms": _ms(answer.due - began),
        "sent_ms": _ms(answer.sent - began),
        "ttft_ms": _ms(first - answer.due),
        "gaps_ms": [_ms(gap) for gap in gaps],
        "queue_ms": _ms(stamps.scheduled_ts - stamps.queued_ts),
        "prefill_ms": _ms(stamps.first_token_ts - stamps.scheduled_ts),
        "decode_ms": _ms(stamps.last_token_ts - stamps.first_token_ts),
        "e2e_ms": _ms(log.received[answer.name] - answer.due),
        "count": 1,
    }


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)
