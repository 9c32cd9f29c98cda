"""What prefill and decode cost apart. Frozen data, nothing computed here."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from pytest_lem.model.frozen import Frozen
from pytest_lem.model.reading import Source

Method = Literal["windows", "regression"]


class PhasePart(Frozen):
    """One phase: its tokens, seconds and joules, and joules per token with their 95 % interval.

    By windows they are those of one pass; by regression those of the steady time of all rounds, where `seconds` is how
    long some request was in the phase: both phases may be at once. `tokens` are prompt tokens (prefill), or new tokens
    after each request's first (decode). A null `joules` has a `reason`, which says `unresolvable` where the meter
    cannot tell the phase from the rest.
    """

    tokens: int
    seconds: float | None = None
    joules: float | None = None
    joules_per_token: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class BasePart(Frozen):
    """What the engine's devices draw under the traffic however many tokens are made: watts with their 95 % interval.

    `joules` are those of all `seconds` of the steady time; null with the `reason`.
    """

    seconds: float
    joules: float | None = None
    watts: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


class Phases(Frozen):
    """Prefill and decode of one workload.

    `method` says how. `windows`: rounds with answers of several lengths, `outputs`; all that a phase draws is its own.
    `regression`: traffic, joules between ticks of the counter on time, prompt tokens and decode tokens of `windows`
    windows; a phase's is what its tokens add, and `base` what is drawn without them.

    `rounds` are those that were used; `notes` say how many were left out, and why. `whole_joules` is what was measured:
    of a pass of the asked length, or of all windows. `sum_error` is relative: how far prefill and decode together are
    from that pass; by regression how far a fit to one half of the windows is from what the other half was measured to
    cost, the worse of both halves, which tells how steady the session was and nothing of how its joules were split.
    `source` is that of the joules.
    """

    test: str
    name: str = ""
    method: Method = "windows"
    outputs: tuple[int, ...] = ()
    rounds: int
    windows: int | None = None
    prefill: PhasePart
    decode: PhasePart
    base: BasePart | None = None
    whole_joules: float | None = None
    sum_error: float | None = None
    source: Source | None = None
    covers: str = "this session only"
    notes: tuple[str, ...] = ()

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, method: object) -> object:
        """Reports from before traffic was told apart have the only method there was as a sentence."""
        return "windows" if isinstance(method, str) and " " in method else method
