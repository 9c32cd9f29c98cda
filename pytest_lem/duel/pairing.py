"""One pair of a duel: a round of each side, or a launch of each where both cannot be loaded at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pytest_lem.duel.corner import Corner
from pytest_lem.duel.record import DuelPair
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.round import Round
from pytest_lem.stats.launch import summarise

BUSY, BUSY_S = 0.1, 0.05
"""CPU time of a resting engine that disturbs the other's round on the CPU: this share of it, and what its end costs."""


def order(corners: Sequence[Corner], index: int) -> tuple[Corner, ...]:
    """Who comes first: A B, B A, A B, B A: whatever drifts evenly is the same for both."""
    return tuple(corners if index % 2 == 0 else reversed(corners))


def of_rounds(corners: tuple[Corner, Corner], index: int, *, hooked: bool) -> DuelPair:
    """Measure one round of each side, both engines loaded. Raises EngineError, MeterError and Unavailable."""
    rounds: dict[str, Round] = {}
    resting: dict[str, float] = {}
    for corner in order(corners, index):
        other = next(each for each in corners if each is not corner)
        before = other.cpu_seconds()
        rounds[corner.name] = corner.bout.round(hooked=hooked)
        resting[corner.name] = max(other.cpu_seconds() - before, 0.0)
    found = [(corner, rounds[corner.name], resting[corner.name]) for corner in corners]
    reason = "; ".join(filter(None, (_refusal(*each) for each in found))) or None
    a, b = (None if reason else corner.value(round_) for corner, round_, _ in found)
    return DuelPair(
        order=_letters(index),
        launches=(len(corners[0].cycles), len(corners[1].cycles)),
        rounds=(rounds[corners[0].name].index, rounds[corners[1].name].index),
        a=a,
        b=b,
        reason=reason,
        resting_cpu_s=(resting[corners[0].name], resting[corners[1].name]),
    )


def of_launches(corners: tuple[Corner, Corner], index: int) -> DuelPair:
    """Launch, measure and end one engine after the other. Raises EngineError, MeterError and Unavailable."""
    places = (len(corners[0].cycles), len(corners[1].cycles))
    values: dict[str, float | None] = {}
    for corner in order(corners, index):
        corner.launch()
        corner.bout.measure()
        values[corner.name] = _launch_value(corner)
        corner.leave(corner.bout.log.stopped)
        corner.ground.freed()
    lacking = [corner.name for corner in corners if values[corner.name] is None]
    return DuelPair(
        order=_letters(index),
        launches=places,
        a=values[corners[0].name],
        b=values[corners[1].name],
        reason=f"no round of the {' and the '.join(lacking)} is valid" if lacking else None,
    )


def _letters(index: int) -> Literal["AB", "BA"]:
    return "AB" if index % 2 == 0 else "BA"


def _refusal(corner: Corner, round_: Round, resting: float) -> str | None:
    """Why the round of `corner` does not count, in words; `resting` is the CPU time of the other engine beside it."""
    if not round_.valid:
        return f"{corner.name}: {round_.reason}"
    if corner.bout.context.device == "cpu" and resting > BUSY * round_.seconds + BUSY_S:
        return f"{corner.name}: the other engine did not rest: {resting:.2f} CPU seconds in {round_.seconds:.2f} s"
    return None


def _launch_value(corner: Corner) -> float | None:
    """The median of a launch's rounds that count; None where none does."""
    values = []
    for round_ in (each for each in corner.bout.log.rounds if each.valid):
        try:
            values.append(corner.value(round_))
        except Unavailable:
            if not corner.terms.metric.is_hooked:  # only some rounds have a pass with token times beside them
                raise
    return summarise(values).median if values else None
