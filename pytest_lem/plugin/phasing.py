"""`lem_energy.phases`: the same prompts with answers of several lengths, in turn, so that drift cancels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_lem.launches import launches
from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement, Source
from pytest_lem.model.phases import Phases
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.phases import Sample, split

ROUNDS = 4
SHORTEST = 4
PLACE = "lem_energy.phases"
Measure = Callable[[WorkloadSpec, ProtocolSpec, str], Measurement]


def phases_of(item: pytest.Item, workload: WorkloadSpec, protocol: ProtocolSpec, measure: Measure, name: str) -> Phases:
    """Measure answers of one token, of half and of all that was asked, and back again; fit prefill and decode.

    Raises Unavailable where joules are, and UsageError for a workload whose answers cannot be shortened alike.
    """
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
    round_ = next(each for cycle in measured.cycles for each in cycle.rounds) if measured else None
    if round_ is None:
        raise UsageError(f"{PLACE}: no round was measured")
    requests, prompt_tokens = round_.requests / round_.passes, round_.prompt_tokens / round_.passes
    try:
        parts = split(samples, requests=round(requests), prompt_tokens=round(prompt_tokens))
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


def _asked(workload: WorkloadSpec) -> int:
    if workload.arriving is not None:
        raise UsageError(
            f"{PLACE}: requests that come over time mix the phases; hand them over in groups, without traffic"
        )
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
        Sample(output, each * round_.requests / round_.passes, length, round_.passes)
        for each, length, round_ in zip(per_request, per_pass, rounds, strict=True)
    ]
    return made, any(launch.source == "estimated" for launch in joules)
