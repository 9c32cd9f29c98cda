"""Requests over one pass of traffic: when they flow steadily, what was done between two instants, when none was there.

All of it follows from the requests' stamps. Times are seconds after the run's start. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_lem.model.latency import RequestTimes

MIN_FIRST = 8
"""The first tenth of the requests, but at least so many, tell how long a request stays."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Done:
    """What was done between two instants: output tokens, prompt tokens and requests, by their parts inside."""

    tokens: float
    prompt_tokens: float
    requests: float


def is_timed(requests: Sequence[RequestTimes]) -> bool:
    """Whether the requests tell which they are, and when they were due: what all else here needs."""
    return bool(requests) and all(each.index is not None and each.due_ms is not None for each in requests)


def tells_prefills(requests: Sequence[RequestTimes]) -> bool:
    """Whether it is known of all of them when their prefill began: else what a request queued counts as its prefill."""
    return all(each.prefill_ms is not None or each.queue_ms is not None for each in requests)


def steady_span(requests: Sequence[RequestTimes], ramp_s: float = 0.0) -> tuple[float, float] | None:
    """From when to when the traffic is steady; None where that is no time at all.

    In flight at an instant is what has come within one residence before it (due → last token). So the number in flight
    no longer depends on the beginning once the rate has been full for as long as one request stays. It stays that way
    until the last request comes: after that the engine drains. The median residence of the first requests at full rate
    is taken: an engine that is asked too much is as full by then, though its queue goes on growing.
    """
    due, end = _due(requests), _last_token(requests)
    full = due.min() + ramp_s
    order = np.argsort(due, kind="stable")
    at_rate = order[due[order] >= full]
    first = at_rate[: max(MIN_FIRST, len(at_rate) // 10)]
    if not first.size:
        return None
    begin = float(full + np.median((end - due)[first]))
    last = float(due.max())
    return (begin, last) if begin < last else None


def done_between(requests: Sequence[RequestTimes], prompt_lengths: Sequence[int], start_s: float, end_s: float) -> Done:
    """What was done between two instants.

    A token is made in the time since the one before it, the first one and its prompt in the request's prefill; each
    counts by the share of that time which lies inside. A request counts by the share of its tokens.
    """
    prefill = np.array([_inside(*_prefill(each), start_s, end_s) for each in requests])
    prompts = np.array([prompt_lengths[each.index or 0] for each in requests], dtype=float)
    counts, found = np.array([len(each.gaps_ms) + 1 for each in requests]), tokens_inside(requests, start_s, end_s)
    return Done(float(found.sum()), float(prefill @ prompts), float((found / counts).sum()))


def tokens_inside(requests: Sequence[RequestTimes], start_s: float, end_s: float) -> Array:
    """Output tokens of each request between two instants, by their parts inside."""
    return np.array([_inside(*_spans(each), start_s, end_s).sum() for each in requests])


def shares_inside(requests: Sequence[RequestTimes], start_s: float, end_s: float) -> Array:
    """The share of each request's output tokens that was made between two instants."""
    counts: Array = np.array([len(each.gaps_ms) + 1 for each in requests], dtype=float)
    return tokens_inside(requests, start_s, end_s) / counts


def idle_share(requests: Sequence[RequestTimes], start_s: float, end_s: float) -> float:
    """The share of the time between two instants in which no request was in flight (sent, its last token not made)."""
    sent = np.array([_sent(each) for each in requests])
    return 1 - _covered(sent, _last_token(requests), start_s, end_s) / (end_s - start_s)


def done_by(requests: Sequence[RequestTimes], prompt_lengths: Sequence[int], instants_s: Array) -> tuple[Array, Array]:
    """Prompt tokens, and output tokens after each request's first, that were done by each of these ascending instants.

    As `done_between` has it: prompts evenly in their prefill, a token evenly in the time since the one before it.
    """
    prompts, tokens = np.zeros(len(instants_s)), np.zeros(len(instants_s))
    for each in requests:
        begins, stamps = _spans(each)
        prefill = np.array([begins[0], stamps[0]])
        _add(prompts, instants_s, prefill, np.array([0.0, prompt_lengths[each.index or 0]]))
        _add(tokens, instants_s, stamps, np.arange(len(stamps), dtype=float))
    return prompts, tokens


def _add(totals: Array, instants_s: Array, stamps: Array, counts: Array) -> None:
    """Add what one request has done: `counts` at its `stamps`, straight lines between. Few instants are among them."""
    first, last = np.searchsorted(instants_s, (stamps[0], stamps[-1]))
    totals[first:last] += np.interp(instants_s[first:last], stamps, counts)
    totals[last:] += counts[-1]


def phase_seconds(requests: Sequence[RequestTimes], start_s: float, end_s: float) -> tuple[float, float]:
    """How long some prefill, and some decode, was under way between two instants; both may be at once (s)."""
    began, first = _prefills(requests)
    return _covered(began, first, start_s, end_s), _covered(first, _last_token(requests), start_s, end_s)


def _covered(begins: Array, ends: Array, start_s: float, end_s: float) -> float:
    """How much of the time between two instants at least one span covers (s)."""
    order = np.argsort(begins, kind="stable")
    begun = np.append(begins[order], np.inf)
    until = np.concatenate(([-np.inf], np.maximum.accumulate(ends[order])))
    bare = np.clip(begun, start_s, end_s) - np.clip(until, start_s, end_s)
    return float(end_s - start_s - np.clip(bare, 0, None).sum())


def _inside(begin: Array | float, end: Array | float, start_s: float, end_s: float) -> Array:
    """The share of each span that lies inside; one without length is inside where its end is."""
    begin, end = np.asarray(begin, dtype=float), np.asarray(end, dtype=float)
    length = end - begin
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (np.clip(end, start_s, end_s) - np.clip(begin, start_s, end_s)) / length
    return np.where(length > 0, share, (end > start_s) & (end <= end_s))


def _spans(times: RequestTimes) -> tuple[Array, Array]:
    """When the making of each token began and ended."""
    began, first = _prefill(times)
    stamps = np.concatenate(([first], first + np.cumsum(times.gaps_ms) / 1e3)) if times.gaps_ms else np.array([first])
    return np.concatenate(([began], stamps[:-1])), stamps


def _prefill(times: RequestTimes) -> tuple[float, float]:
    """When the prefill of a request began and ended: from its engine's stamps, else from when it was sent."""
    first = ((times.due_ms or 0.0) + times.ttft_ms) / 1e3
    if times.prefill_ms is not None:
        return first - times.prefill_ms / 1e3, first
    return min(_sent(times) + (times.queue_ms or 0.0) / 1e3, first), first


def _prefills(requests: Sequence[RequestTimes]) -> tuple[Array, Array]:
    """When each request's prefill began and ended."""
    spans = np.array([_prefill(each) for each in requests])
    return spans[:, 0], spans[:, 1]


def _sent(times: RequestTimes) -> float:
    return (times.due_ms or 0.0 if times.sent_ms is None else times.sent_ms) / 1e3


def _due(requests: Sequence[RequestTimes]) -> Array:
    return np.array([each.due_ms or 0.0 for each in requests]) / 1e3


def _last_token(requests: Sequence[RequestTimes]) -> Array:
    return _due(requests) + np.array([each.ttft_ms + sum(each.gaps_ms) for each in requests]) / 1e3
