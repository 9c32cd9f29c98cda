"""Token times of requests."""

from __future__ import annotations

from pytest_lem.model.frozen import Frozen


class RequestTimes(Frozen):
    """Token times of `count` requests that got their tokens together (static batching), or of one.

    `ttft_ms`: first token since the request was due (its group's start, where it comes in one). `gaps_ms`: the time
    between consecutive tokens, output_tokens − 1 of them. `queue_ms`, `prefill_ms` and `decode_ms` lie between the
    engine's own stamps (queued, scheduled, first token, last token), `e2e_ms` from due to answered by the engine
    process's clock; null where the engine does not tell. `index` is the request's place in its pass; `due_ms` and
    `sent_ms` are when it was due and when it was sent, after the start of the run.
    """

    ttft_ms: float
    gaps_ms: tuple[float, ...] = ()
    queue_ms: float | None = None
    prefill_ms: float | None = None
    decode_ms: float | None = None
    e2e_ms: float | None = None
    count: int = 1
    index: int | None = None
    due_ms: float | None = None
    sent_ms: float | None = None

    @property
    def late_ms(self) -> float | None:
        """How long after it was due the request was sent; None where the engine does not tell."""
        return None if self.sent_ms is None or self.due_ms is None else self.sent_ms - self.due_ms

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first; None for a single token."""
        return sum(self.gaps_ms) / len(self.gaps_ms) if self.gaps_ms else None


class LatencyPass(Frozen):
    """One pass with token hooks: its length (s) and its requests' token times.

    It ran beside the measured round; under traffic it is the pass that the round was cut out of.
    `passes` runs were hooked back to back; `seconds` is the mean length of one.
    """

    seconds: float
    passes: int = 1
    requests: tuple[RequestTimes, ...] = ()
