"""One pass of traffic → one round: its steady window between counter ticks, with the work that was done inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_lem.engines.dispatch import dispatch_fault
from pytest_lem.engines.protocol import PassResult
from pytest_lem.engines.registry import entry
from pytest_lem.flow import Done, done_between, idle_share, is_timed, steady_span
from pytest_lem.meters.trail import Trail, common_edges
from pytest_lem.model.latency import LatencyPass
from pytest_lem.model.reading import DeviceReading
from pytest_lem.model.round import Round, Served
from pytest_lem.model.specs import EngineSpec
from pytest_lem.workloads.work import Work

UNTOLD = "the window is the whole pass, its ramp and drain included: the engine does not tell when requests came"
SHORT = (
    "the window is the whole pass, its ramp and drain included: the traffic has no steady time of 1 s and 3 counter "
    "ticks; give it more requests or seconds"
)

NS = 1e9


def served_round(
    index: int,
    result: PassResult,
    work: Work,
    trails: Sequence[Trail],
    whole: Sequence[DeviceReading],
    *,
    ramp_seconds: float,
) -> Round:
    """The round of one pass. `whole` are the readings of the pass, `trails` what was read during it."""
    requests = result.request_times
    timed = is_timed(requests)
    edges = _steady_edges(result, trails, ramp_seconds) if timed else None
    start, end = edges or (result.start_ns, result.end_ns)
    lengths = tuple(len(request.prompt) for request in work.requests)
    span = ((start - result.start_ns) / NS, (end - result.start_ns) / NS)
    done = done_between(requests, lengths, *span) if edges else _all(result)
    devices = tuple(_stated(trail.reading(start, end), whole) for trail in trails) if edges else tuple(whole)
    refused = refusal(devices, whole)
    fault = dispatch_fault(requests, work)
    return Round(
        index=index,
        start_ns=start,
        end_ns=end,
        passes=1,
        requests=done.requests,
        prompt_tokens=done.prompt_tokens,
        tokens=done.tokens,
        valid=refused is None,
        reason=refused,
        devices=devices,
        counters=result.counters,
        ranks=result.ranks,
        latency=LatencyPass(seconds=result.seconds, requests=requests) if requests else None,
        served=Served(
            start_ns=result.start_ns,
            end_ns=result.end_ns,
            requests=result.requests,
            prompt_tokens=result.prompt_tokens,
            tokens=result.tokens,
            prompt_lengths=lengths,
            devices=tuple(whole),
            steady=edges is not None,
            idle_share=idle_share(requests, *span) if timed else None,
        ),
        notes=tuple(note for note in (None if edges else SHORT if timed else UNTOLD, fault) if note),
    )


def work_notes(spec: EngineSpec, work: Work) -> dict[str, Any]:
    """How a work was made, as reports keep it: an engine that batches continuously pads no groups."""
    untrue = ("padding_tokens", "overrun_tokens") if entry(spec.backend).continuous else ()
    return {name: value for name, value in work.notes.items() if name not in untrue}


def submission_notes(spec: EngineSpec, work: Work) -> tuple[str, ...]:
    """What its engine makes of a work that a reader would not guess."""
    known = entry(spec.backend)
    remark = known.remarks(spec.options, work)
    submitted = (
        f"the batching strategy is a way of submitting here: {spec.backend} batches continuously, and gets each group "
        "when the one before it is answered"
    )
    regrouped = known.continuous and len(work.waves) > 1
    return tuple(note for note in (submitted if regrouped else None, remark) if note)


def refusal(*readings: Sequence[DeviceReading]) -> str | None:
    """Why the meters' guards make a round invalid, or None where none spoke."""
    faults = [f"{reading.device}: {fault}" for group in readings for reading in group for fault in reading.faults]
    return "; ".join(dict.fromkeys(faults)) or None


def _stated(reading: DeviceReading, whole: Sequence[DeviceReading]) -> DeviceReading:
    """`reading` with its device's states beside the pass: a meter asks for none inside of it."""
    states = next((each for each in whole if each.device == reading.device), reading)
    return reading.replace(before=states.before, after=states.after)


def _steady_edges(result: PassResult, trails: Sequence[Trail], ramp_seconds: float) -> tuple[int, int] | None:
    span = steady_span(result.request_times, ramp_seconds)
    if span is None:
        return None
    begin, end = (result.start_ns + round(seconds * NS) for seconds in span)
    return common_edges(trails, begin, min(end, result.end_ns))


def _all(result: PassResult) -> Done:
    return Done(result.tokens, result.prompt_tokens, result.requests)
