"""`lem_energy.phases`: groups with answers of several lengths, in turn, so that drift cancels; traffic as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_lem import mixed_phases
from pytest_lem.device_joules import Context, engine_joules, engine_readings, whole_pass
from pytest_lem.launches import context_of, launched, launches, nothing_valid, valid_rounds
from pytest_lem.model.errors import Unavailable, UsageError
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.reading import Source
from pytest_lem.model.round import Round
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.phases import TICK_SECONDS, Sample, split
from pytest_lem.steady_windows import Windows, steady_windows

ROUNDS = 4
TRAFFIC_ROUNDS = mixed_phases.BLOCKS
SHORTEST = 4
PLACE = "lem_energy.phases"
Measure = Callable[[WorkloadSpec, ProtocolSpec, str], Measurement]


def phases_of(item: pytest.Item, workload: WorkloadSpec, protocol: ProtocolSpec, measure: Measure, name: str) -> Phases:
    """Prefill and decode of the workload: by regression where it is traffic, by windows where it comes in groups.

    Raises Unavailable where joules are, and UsageError for groups whose answers cannot be shortened alike.
    """
    by = _by_windows if workload.arriving is None else _by_regression
    return by(item, workload, protocol, measure, name)


def _by_regression(
    item: pytest.Item, workload: WorkloadSpec, protocol: ProtocolSpec, measure: Measure, name: str
) -> Phases:
    """Measure the traffic as it is; what its windows hold of each phase tells what it draws."""
    measured = measure(workload, protocol.replace(rounds=protocol.rounds or TRAFFIC_ROUNDS), name or "phases")
    context = context_of(measured)
    rounds = [each for cycle in launched(measured.cycles) for each in valid_rounds(cycle)]
    source = _source(measured, rounds, context)
    windows, faults = _windows(rounds, context)
    found = mixed_phases.split(windows) if windows else _nothing(rounds, "; ".join(dict.fromkeys(faults)))
    notes = mixed_phases.left_out(faults) if windows else ()
    return Phases(
        test=item.nodeid,
        name=name,
        method="regression",
        rounds=found.rounds or len(rounds),
        windows=found.windows,
        prefill=found.prefill,
        decode=found.decode,
        base=found.base,
        whole_joules=found.whole_joules,
        sum_error=found.sum_error,
        source=source,
        notes=(*notes, *found.notes),
    )


def _source(measured: Measurement, rounds: list[Round], context: Context) -> Source | None:
    """Where the joules of whole passes are from. Raises Unavailable where no pass has any."""
    found = [engine_joules(whole_pass(each), context) for each in rounds]
    known = [each for each in found if each.joules is not None]
    if not known:
        reason = nothing_valid(measured.cycles) or next((each.reason for each in found if each.reason), None)
        raise Unavailable("joules_per_token", reason or "no reason was recorded")
    return "estimated" if any(each.source == "estimated" for each in known) else "measured"


def _windows(rounds: list[Round], context: Context) -> tuple[list[Windows], list[str]]:
    """The windows of the rounds that have some, and why the others have none."""
    found, faults = [], []
    for round_ in rounds:
        try:
            found.append(steady_windows(round_, context))
        except ValueError as error:
            faults.append(str(error))
    return found, faults


def _nothing(rounds: list[Round], why: str) -> mixed_phases.MixedSplit:
    return mixed_phases.nothing(
        why,
        prompt_tokens=sum(each.prompt_tokens for each in rounds),
        decode_tokens=sum(each.tokens - each.requests for each in rounds),
        seconds=sum(each.seconds for each in rounds),
    )


def _by_windows(
    item: pytest.Item, workload: WorkloadSpec, protocol: ProtocolSpec, measure: Measure, name: str
) -> Phases:
    """Measure answers of one token, of half and of all that was asked, and back again; fit prefill and decode."""
    output = _asked(workload)
    asked = protocol.replace(rounds=protocol.rounds or ROUNDS)
    warm = asked.replace(warmup_rounds=min(1, asked.warmup_rounds), warmup_seconds=0.0, warmup_prompts=0)
    samples: list[Sample] = []
    source: Source = "measured"
    lengths = (1, output // 2, output)
    measured = None
    for turn, length in enumerate((*lengths, *reversed(lengths))):
        own = f"{name or 'phases'}-out={length}-{turn // len(lengths)}"
        measured = measure(workload.replace(output_tokens=length), warm if turn else asked, own)
        found, estimated = _samples(measured, length)
        samples += found
        source = "estimated" if estimated else source
    round_ = next((each for cycle in measured.cycles for each in cycle.rounds), None) if measured else None
    if measured is None or round_ is None:
        raise UsageError(f"{PLACE}: no round was measured")
    requests, prompt_tokens = round_.requests / round_.passes, round_.prompt_tokens / round_.passes
    try:
        parts = split(samples, requests=round(requests), prompt_tokens=round(prompt_tokens), tick_s=_tick_s(measured))
    except ValueError as error:
        raise UsageError(f"{PLACE}: {error}") from None
    return Phases(
        test=item.nodeid,
        name=name,
        outputs=lengths,
        rounds=len(samples),
        prefill=parts.prefill,
        decode=parts.decode,
        whole_joules=parts.whole_joules,
        sum_error=parts.sum_error,
        source=source,
    )


def _tick_s(measured: Measurement) -> float:
    """The period of the slowest counter that reads the engine's devices; where none was seen that of known boards."""
    context = context_of(measured)
    devices = (engine_readings(round_.devices, context) for cycle in measured.cycles for round_ in cycle.rounds)
    return max((each.tick_s for found in devices for each in found if each.tick_s is not None), default=TICK_SECONDS)


def _cached(round_: Round) -> float:
    return round_.counters.get("cached_tokens") or 0.0


def _asked(workload: WorkloadSpec) -> int:
    if workload.generator is not None or (workload.data is not None and workload.data.output_field is not None):
        raise UsageError(f"{PLACE}: answers have lengths of their own; give output_tokens as one number")
    if not isinstance(workload.output_tokens, int) or workload.output_tokens < SHORTEST:
        raise UsageError(f"{PLACE}: output_tokens: expected one number from {SHORTEST}, got {workload.output_tokens!r}")
    return workload.output_tokens


def _samples(measured: Measurement, output: int) -> tuple[list[Sample], bool]:
    """The valid rounds as samples, and whether their joules are estimated. Raises Unavailable without joules."""
    joules = launches(measured, "joules_per_request")
    seconds = launches(measured, "seconds")
    rounds = [round_ for cycle in measured.cycles for round_ in cycle.rounds if round_.valid]
    per_request = [value for launch in joules for value in launch.values]
    per_pass = [value for launch in seconds for value in launch.values]
    made = [
        Sample(output, each * round_.requests / round_.passes, length, round_.passes, _cached(round_))
        for each, length, round_ in zip(per_request, per_pass, rounds, strict=True)
    ]
    return made, any(launch.source == "estimated" for launch in joules)
