"""FLOPs of one round, what its time and joules make of them, and how much of decode's time they and its bytes explain.

A round that was cut out of traffic did the part of a pass's FLOPs that its tokens are of the pass's.
"""

from __future__ import annotations

from math import fsum

from pytest_lem.device_joules import Context, engine_joules
from pytest_lem.flops.peaks import Peaks
from pytest_lem.model.arithmetic import Arithmetic
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.round import Round

OF_CONFIGURATION = frozenset(
    {"flops_per_token", "flops_per_request", "prefill_flops_per_token", "decode_flops_per_token"}
)
"""Metrics that no round changes."""


def flops_value(key: str, round_: Round, context: Context) -> tuple[float, float]:
    """The metric over one round, and what its meter does not know of it (relative, k = 1).

    Raises Unavailable with the reason.
    """
    known = _arithmetic(key, context)
    if key in OF_CONFIGURATION:
        return _of_configuration(key, known), 0.0
    done = _done(key, round_, known)
    if key == "joules_per_tflop":
        joules = engine_joules(round_, context)
        if joules.joules is None or joules.joules <= 0:
            raise Unavailable(key, joules.reason or "the meter read no energy")
        return joules.joules / (done / 1e12), joules.std / joules.joules
    per_second = done / round_.seconds
    return (per_second / _flops_peak(key, _peaks(key, context)) if key == "mfu" else per_second), 0.0


def roofline_share(key: str, round_: Round, context: Context) -> float:
    """The share of decode's time that its bytes, its FLOPs, or neither explain. Raises Unavailable with the reason.

    What its bytes explain needs no peak of FLOPs.

    Its time is that of its steps by the token times taken beside the round: their mean gap for each step.
    """
    known, peaks = _arithmetic(key, context), _peaks(key, context)
    if known.decode_steps is None or known.weights_read_bytes is None or known.kv_read_bytes is None:
        raise Unavailable(key, known.bytes_reason or "the bytes of its decoding are not known")
    if not known.decode_steps:
        raise Unavailable(key, "a single output token a request is no decoding")
    seconds = known.decode_steps * _mean_gap(key, round_)
    memory = (known.weights_read_bytes + known.kv_read_bytes) / peaks.bytes_per_second / seconds
    if key == "roofline_memory":
        return memory
    arithmetic = (known.decode_flops or 0.0) / _flops_peak(key, peaks) / seconds
    return arithmetic if key == "roofline_arithmetic" else 1 - max(memory, arithmetic)


def _arithmetic(key: str, context: Context) -> Arithmetic:
    if not context.work:
        raise Unavailable(key, "a window has no tokens or requests")
    known = context.arithmetic
    if known is None or known.method is None:
        raise Unavailable(key, (known and known.reason) or "the FLOPs of its work were not recorded")
    return known


def _of_configuration(key: str, known: Arithmetic) -> float:
    prefill, decode = known.prefill_flops or 0.0, known.decode_flops or 0.0
    if key == "prefill_flops_per_token":
        return prefill / known.prompt_tokens
    if key == "decode_flops_per_token":
        if not known.decode_tokens:
            raise Unavailable(key, "a single output token a request is no decoding")
        return decode / known.decode_tokens
    return (prefill + decode) / (known.requests if key == "flops_per_request" else known.output_tokens)


def _done(key: str, round_: Round, known: Arithmetic) -> float:
    """FLOPs that were done in the round. Raises Unavailable where some were not, as the cache had their tokens."""
    if cached := round_.counters.get("cached_tokens"):
        raise Unavailable(key, f"{cached:g} prompt tokens came out of the prefix cache: not all FLOPs were done")
    prefill, decode = known.prefill_flops or 0.0, known.decode_flops or 0.0
    return prefill * round_.prompt_tokens / known.prompt_tokens + decode * round_.tokens / known.output_tokens


def _peaks(key: str, context: Context) -> Peaks:
    if context.peaks is None:
        raise Unavailable(key, context.peaks_reason)
    return context.peaks


def _flops_peak(key: str, peaks: Peaks) -> float:
    if peaks.flops_per_second is None:
        raise Unavailable(key, peaks.flops_reason)
    return peaks.flops_per_second


def _mean_gap(key: str, round_: Round) -> float:
    """The mean time between two tokens of a request, in seconds."""
    requests = round_.latency.requests if round_.latency else ()
    count = sum(each.count * len(each.gaps_ms) for each in requests)
    total = fsum(each.count * fsum(each.gaps_ms) for each in requests)
    if not count or total <= 0:
        raise Unavailable(key, "token times were not recorded")
    return total / count / 1e3
