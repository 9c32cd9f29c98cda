"""What TensorRT-LLM tells of a request: its tokens, when they came, and the engine's own stamps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .chunks import token_gaps


@dataclass(frozen=True)
class Answer:
    """One request that was answered: its place in its pass, and TensorRT-LLM's `RequestOutput`.

    It was `due`, `sent` and `answered` at these monotonic seconds; `chunks` are when so many tokens came, by the same
    clock, and there are none of a request that did not stream.
    """

    index: int
    due: float
    sent: float
    output: Any
    chunks: tuple[tuple[float, int], ...] = ()
    answered: float = 0.0

    @property
    def token_ids(self) -> list[int]:
        """The new tokens."""
        return list(self.output.outputs[0].token_ids)

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens out of reused blocks; None before 1.2, which does not tell."""
        found: int | None = getattr(self.output, "cached_tokens", None)
        return found


def request_times(answer: Answer, began: float) -> dict[str, Any]:
    """One request's times in ms, as `RequestTimes` holds them; `began` is when the run did (monotonic seconds).

    TTFT, gaps and end to end are by this process's clock, which sees a token when it arrives here; a gap is divided by
    the tokens that came together. Queue, prefill and decode lie between the engine's own stamps, where it gives any.
    """
    first, gaps = answer.chunks[0][0], token_gaps(answer.chunks)
    return {
        "index": answer.index,
        "due_ms": _ms(answer.due - began),
        "sent_ms": _ms(answer.sent - began),
        "ttft_ms": _ms(first - answer.due),
        "gaps_ms": [_ms(gap) for gap in gaps],
        "e2e_ms": _ms(answer.answered - answer.due),
        "count": 1,
        **engine_times(answer.output.outputs[0]),
    }


def engine_times(completion: Any) -> dict[str, float]:
    """`queue_ms`, `prefill_ms` and `decode_ms` by the engine's own stamps; none where it gave none."""
    metrics = getattr(completion, "request_perf_metrics", None)
    stamps = getattr(metrics, "timing_metrics", None)
    if stamps is None:
        return {}
    names = ("arrival_time", "first_scheduled_time", "first_token_time", "last_token_time")
    times = [_seconds(getattr(stamps, name)) for name in names]
    if not all(times) or sorted(times) != times:
        return {}  # a stamp that was never set is 0
    parts = zip(("queue_ms", "prefill_ms", "decode_ms"), times, times[1:], strict=False)
    return {name: _ms(after - before) for name, before, after in parts}


def _seconds(stamp: Any) -> float:
    return stamp.total_seconds() if isinstance(stamp, timedelta) else float(stamp)


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)
