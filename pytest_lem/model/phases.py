"""What prefill and decode cost apart. Frozen data, nothing computed here."""

from __future__ import annotations

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.measurement import Source


class PhasePart(Frozen):
    """One phase of a pass: joules and seconds for one pass, joules per token, with a 95 % interval of the latter.

    `tokens` are prompt tokens (prefill), or new tokens after each request's first (decode). A null `joules` has a
    `reason`, which says `unresolvable` where the phase is too short for the meter.
    """

    tokens: int
    seconds: float | None = None
    joules: float | None = None
    joules_per_token: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Phases(Frozen):
    """Prefill and decode of one workload, from rounds of it with answers of several lengths.

    `outputs` are those lengths, `rounds` how many rounds of them all were used. `whole_joules` is what a pass of the
    asked length was measured to cost, `sum_error` how far prefill and decode together are from it, relative. `source`
    is that of the joules.
    """

    test: str
    name: str = ""
    method: str = "regression of joules on decode tokens, answers of several lengths in turn"
    outputs: tuple[int, ...]
    rounds: int
    prefill: PhasePart
    decode: PhasePart
    whole_joules: float | None = None
    sum_error: float | None = None
    source: Source | None = None
    covers: str = "this session only"
