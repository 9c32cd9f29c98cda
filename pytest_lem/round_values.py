"""One round → one value of a metric: the formula of each metric, said once.

What a launch comes to, and several launches, is made of these by `launches` and `aggregate`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING

from pytest_lem.device_joules import PARTS, Context, engine_joules, engine_readings, joules_of, whole_pass
from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.metrics import LATENCIES, Metric
from pytest_lem.model.reading import Source
from pytest_lem.model.round import Round
from pytest_lem.round_flops import flops_value, roofline_share
from pytest_lem.service import Kept, kept

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_WORK = "a window has no tokens or requests"


@dataclass(frozen=True)
class Value:
    """A value in its metric's unit; `std` is what the instrument itself does not know of it, relative (k = 1)."""

    value: float
    std: float = 0.0
    source: Source = "measured"


def round_value(metric: Metric, round_: Round, context: Context) -> Value:
    """The metric over one round. Raises Unavailable with the reason, and KeyError for one that no round has."""
    return _KINDS[metric.kind](metric, round_, context)


def launch_value(metric: Metric, cycle: Cycle, context: Context) -> Value:
    """A metric that a launch has once: a peak of memory (B), its engine's load (s), of that its build (s, J).

    Raises Unavailable with the reason.
    """
    if metric.kind == "load":
        if cycle.load_seconds is None:
            raise Unavailable(metric.key, "no engine was loaded for it")
        return Value(cycle.load_seconds) if metric.key == "load_seconds" else _build(metric.key, cycle, context)
    if context.device != "cuda":
        raise Unavailable(metric.key, "the engine uses no GPU")
    field = {"peak_memory_bytes": "allocated_bytes", "peak_reserved_bytes": "reserved_bytes"}[metric.key]
    values = [getattr(memory, field) for memory in cycle.memory]
    if not values or None in values:
        raise Unavailable(metric.key, "the engine does not report it")
    return Value(float(sum(values)))


def _build(key: str, cycle: Cycle, context: Context) -> Value:
    if cycle.build_seconds is None:
        raise Unavailable(key, "this engine built nothing before it served")
    if key == "build_seconds":
        return Value(cycle.build_seconds)
    if not cycle.build_devices:
        raise Unavailable(key, "no meter watched while the engine was built")
    faults = [fault for reading in engine_readings(cycle.build_devices, context) for fault in reading.faults]
    if faults:
        raise Unavailable(key, "; ".join(dict.fromkeys(faults)))
    found = joules_of(cycle.build_devices, context)
    if found.joules is None or found.joules <= 0:
        raise Unavailable(key, found.reason or "the meter read no energy")
    return Value(found.joules, found.std / found.joules, found.source or "measured")


def token_times(key: str, requests: Sequence[RequestTimes]) -> NDArray[np.float64]:
    """The times (ms) that the latency metric `key` is made of; none where the engine does not tell them."""
    import numpy as np  # slow to import, and means of rounds do without

    return np.asarray(_times(key, requests), dtype=float)


def _times(key: str, requests: Sequence[RequestTimes]) -> list[float]:
    stem = stem_of(key)
    values: list[float] = []
    for times in requests:
        if stem == "itl":
            values += list(times.gaps_ms) * times.count
        elif (value := _TIMES[stem](times)) is not None:
            values += [value] * times.count
    return values


def stem_of(key: str) -> str:
    """`ttft_p90_ms` → `ttft`."""
    return next(stem for stem in LATENCIES if key.startswith(f"{stem}_"))


def percent_of(key: str) -> float | None:
    """`ttft_p90_ms` → 90; None for the mean, `ttft_ms`."""
    rest = key.removeprefix(f"{stem_of(key)}_")
    return None if rest == "ms" else float(rest.removeprefix("p").removesuffix("_ms"))


def middle(times: NDArray[np.float64], percent: float | None) -> float:
    """The mean of the times, or their percentile."""
    import numpy as np

    return float(np.mean(times) if percent is None else np.percentile(times, percent))


def no_times(key: str) -> str:
    """Why the latency metric `key` has no times where others do."""
    stem = stem_of(key)
    if stem in ("tpot", "itl"):
        return f"{stem} needs at least two output tokens a request"
    if stem in ("ttft_service", "dispatch_delay"):
        return "the engine does not tell when requests were sent"
    return f"the engine does not tell {stem} times"


def counted(metric: Metric, round_: Round) -> tuple[float, float | None]:
    """What the engine counted in a round, and what it is divided by (None: the count is a level, not a sum).

    Raises Unavailable where it does not count that.
    """
    counter, divisor = _PER.get(metric.key, (metric.key, None))
    if counter not in round_.counters:
        raise Unavailable(metric.key, "the engine does not report it")
    whole = divisor(whole_pass(round_)) if divisor else None
    if metric.key == "acceptance_rate" and not whole:
        raise Unavailable(metric.key, "no token was drafted")
    return round_.counters[counter], whole


def counter_source(metric: Metric) -> Source:
    """An engine's count of FLOPs follows from its configuration: nothing was measured."""
    return "estimated" if metric.key == "engine_flops_per_token" else "measured"


def _energy(metric: Metric, round_: Round, context: Context) -> Value:
    if metric.key.startswith("joules_per") and not context.work:
        raise Unavailable(metric.key, NO_WORK)
    part = PARTS.get(metric.key)
    joules = part(whole_pass(round_), context) if part else engine_joules(round_, context)
    if joules.joules is None or joules.joules <= 0:
        raise Unavailable(metric.key, joules.reason or "the meter read no energy")
    divisor = _DIVISORS.get(metric.key, _passes)(round_)
    return Value(joules.joules / divisor, joules.std / joules.joules, joules.source or "measured")


def _rate(metric: Metric, round_: Round, context: Context) -> Value:
    if not context.work and metric.key != "seconds":
        raise Unavailable(metric.key, NO_WORK)
    return Value(_RATES[metric.key](whole_pass(round_) if metric.key == "seconds" else round_))


def _imbalance(metric: Metric, round_: Round, context: Context) -> Value:
    if not context.work:
        raise Unavailable(metric.key, "a window has no engine")
    gpus = [reading for reading in round_.devices if reading.kind == "gpu"]
    joules = [reading.joules for reading in gpus]
    if len(joules) < 2:
        raise Unavailable(metric.key, "the engine runs on one GPU or none")
    known = [each for each in joules if each is not None]
    if len(known) < len(joules) or sum(known) <= 0:
        raise Unavailable(metric.key, "not every GPU's joules are known")
    estimated = any(reading.source == "estimated" for reading in gpus)
    share = (max(known) - min(known)) * len(known) / sum(known)
    return Value(share, source="estimated" if estimated else "measured")


def _latency(metric: Metric, round_: Round, _: Context) -> Value:
    if round_.latency is None or not round_.latency.requests:
        raise Unavailable(metric.key, "token times were not recorded")
    times, percent = _times(metric.key, round_.latency.requests), percent_of(metric.key)
    if not times:
        raise Unavailable(metric.key, no_times(metric.key))
    if percent is None:
        return Value(fsum(times) / len(times))
    return Value(middle(token_times(metric.key, round_.latency.requests), percent))


def service_kept(metric: Metric, round_: Round, context: Context) -> Kept:
    """How many requests of a round met the service level. Raises Unavailable with the reason."""
    if context.slo is None:
        raise Unavailable(metric.key, "no service level was promised (slo=...)")
    if round_.latency is None or not round_.latency.requests:
        raise Unavailable(metric.key, "token times were not recorded")
    return kept(round_, round_.latency.requests, context.slo)


def _service(metric: Metric, round_: Round, context: Context) -> Value:
    if metric.key == "idle_share":
        return Value(_idle_share(metric, round_))
    found = service_kept(metric, round_, context)
    if metric.key == "slo_met":
        return Value(float(found.met))
    if metric.key == "good_share":
        return Value(found.share)
    good = found.share * round_.requests
    if metric.key == "goodput":
        return Value(good / round_.seconds)
    joules = engine_joules(round_, context)
    if joules.joules is None or joules.joules <= 0:
        raise Unavailable(metric.key, joules.reason or "the meter read no energy")
    if not good:
        raise Unavailable(metric.key, "no request met the service level")
    return Value(joules.joules / good, joules.std / joules.joules, joules.source or "measured")


def _idle_share(metric: Metric, round_: Round) -> float:
    if round_.served is None:
        raise Unavailable(metric.key, "requests did not come over time")
    if round_.served.idle_share is None:
        raise Unavailable(metric.key, "the engine does not tell when requests were in flight")
    return round_.served.idle_share


def _counter(metric: Metric, round_: Round, _: Context) -> Value:
    count, divisor = counted(metric, round_)
    return Value(count if divisor is None else count / divisor, source=counter_source(metric))


def _arithmetic(metric: Metric, round_: Round, context: Context) -> Value:
    """FLOPs follow from a configuration: what is made of them is an estimate too."""
    value, std = flops_value(metric.key, round_, context)
    return Value(value, std, "estimated")


def _roofline(metric: Metric, round_: Round, context: Context) -> Value:
    return Value(roofline_share(metric.key, round_, context), source="estimated")


def _use(metric: Metric, round_: Round, context: Context) -> Value:
    """The mean of the round's GPUs; of a peak the sum."""
    if not context.work:
        raise Unavailable(metric.key, "a window's code runs in pytest's process, where no thread samples beside it")
    if context.device != "cuda":
        raise Unavailable(metric.key, "the engine uses no GPU")
    if not round_.use:
        raise Unavailable(
            metric.key, "no telemetry was taken: no meter gives any here, or it was off (--lem-telemetry)"
        )
    peak = metric.key == "peak_used_bytes"
    gauges = [use.gauges.get("memory_used_bytes" if peak else metric.key) for use in round_.use]
    # What ended on the way is of a part of the round: of a peak, what came after it may have been more.
    values = [None if gauge is None or gauge.reason else gauge.max if peak else gauge.mean for gauge in gauges]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        reasons = dict.fromkeys(gauge.reason for gauge in gauges if gauge is not None and gauge.reason)
        raise Unavailable(metric.key, "; ".join(reasons) or "a GPU does not tell it")
    return Value(fsum(known) if peak else fsum(known) / len(known))


def _passes(round_: Round) -> float:
    return round_.passes


_KINDS: dict[str, Callable[[Metric, Round, Context], Value]] = {
    "energy": _energy,
    "rate": _rate,
    "balance": _imbalance,
    "latency": _latency,
    "service": _service,
    "counter": _counter,
    "arithmetic": _arithmetic,
    "roofline": _roofline,
    "use": _use,
}
_DIVISORS: dict[str, Callable[[Round], float]] = {
    "joules_per_token": lambda round_: round_.tokens,
    "joules_per_total_token": lambda round_: round_.tokens + round_.prompt_tokens,
    "joules_per_request": lambda round_: round_.requests,
    "power_w": lambda round_: round_.seconds,
}
_RATES: dict[str, Callable[[Round], float]] = {
    "tokens_per_second": lambda round_: round_.tokens / round_.seconds,
    "total_tokens_per_second": lambda round_: (round_.tokens + round_.prompt_tokens) / round_.seconds,
    "requests_per_second": lambda round_: round_.requests / round_.seconds,
    "seconds": lambda round_: round_.seconds / round_.passes,
}
_TIMES: dict[str, Callable[[RequestTimes], float | None]] = {
    "ttft": lambda times: times.ttft_ms,
    "ttft_service": lambda times: None if times.late_ms is None else times.ttft_ms - times.late_ms,
    "dispatch_delay": lambda times: times.late_ms,
    "tpot": lambda times: times.tpot_ms,
    "e2el": lambda times: times.e2e_ms,
    "queue": lambda times: times.queue_ms,
    "prefill": lambda times: times.prefill_ms,
    "decode": lambda times: times.decode_ms,
}
_PER: dict[str, tuple[str, Callable[[Round], float]]] = {
    "cached_tokens": ("cached_tokens", lambda round_: round_.requests),
    "preemptions": ("preemptions", _passes),
    "padding_share": ("padding_tokens", lambda round_: round_.prompt_tokens + round_.counters["padding_tokens"]),
    "wasted_share": ("wasted_tokens", lambda round_: round_.tokens + round_.counters["wasted_tokens"]),
    "acceptance_rate": ("accepted_tokens", lambda round_: round_.counters["draft_tokens"]),
    "engine_flops_per_token": ("engine_flops", lambda round_: round_.tokens),
}
