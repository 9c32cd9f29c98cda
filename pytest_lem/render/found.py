"""What searches found, and what prefill and decode cost: a line each, below the table."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.search import Search
from pytest_lem.render.numbers import interval_with_unit, with_unit


def found_lines(searches: Iterable[Search], phases: Iterable[Phases]) -> list[str]:
    """One line a search, one for each split into prefill and decode."""
    return [search_line(search) for search in searches] + [phases_line(split) for split in phases]


def search_line(search: Search) -> str:
    """`test_x: best batch for joules_per_token is 8 (31.2 mJ/tok); 3 of 6 measured, 9 rounds; …`."""
    place = f"{_test(search.test)}: "
    effort = f"{len(search.points)} of {len(search.candidates)} measured, {search.rounds} rounds"
    best = next((point for point in search.points if point.value == search.best), None)
    if best is None or best.objective is None:
        return f"{place}no {search.over} keeps the service level; {effort}"
    line = (
        f"{place}best {search.over} for {search.objective} is {best.value:g} ({with_unit(best.objective, search.unit)})"
    )
    alike = ", ".join(f"{value:g}" for value in search.ties)
    line += f"; too close to tell: {alike}" if alike else ""
    front = ", ".join(f"{value:g}" for value in search.front)
    return f"{line}; {effort}; Pareto front with {search.latency}: {front or 'none, as it is absent'}"


def phases_line(phases: Phases) -> str:
    """`test_x: prefill 1.1 mJ/prompt token (1.0..1.2), decode 120 mJ/token (118..122); their sum … ; windows, …`."""
    return f"{_test(phases.test)}: {'; '.join([_parts(phases), *_sum(phases), _how(phases), *phases.notes])}"


def _parts(phases: Phases) -> str:
    prefill, decode, base = phases.prefill, phases.decode, phases.base
    if prefill.reason and prefill.reason == decode.reason:
        told = f"prefill and decode {prefill.reason}"
        return told if base is None or base.reason == prefill.reason else f"{told}, base {_base(base)}"
    told = f"prefill {_part(prefill, 'prompt token')}, decode {_part(decode, 'token')}"
    return told if base is None else f"{told}, base {_base(base)}"


def _sum(phases: Phases) -> list[str]:
    if phases.sum_error is None:
        return []
    error = f"{100 * phases.sum_error:+.1f} %"
    by_halves = phases.method == "regression"
    return [f"half of the windows miss the others by {error}" if by_halves else f"their sum is {error} from the whole"]


def _how(phases: Phases) -> str:
    windows = f"{phases.windows} windows of " if phases.windows else ""
    rounds = "1 round" if phases.rounds == 1 else f"{phases.rounds} rounds"
    guess = " (estimated)" if phases.source == "estimated" else ""
    return f"{phases.method}, {windows}{rounds}, {phases.covers}{guess}"


def _base(base: BasePart) -> str:
    if base.watts is None or base.low is None or base.high is None:
        return base.reason or "unknown"
    return f"{with_unit(base.watts, 'W')} ({interval_with_unit(base.watts, base.low, base.high, 'W')})"


def _part(part: PhasePart, per: str) -> str:
    if part.joules_per_token is None or part.low is None or part.high is None:
        return part.reason or "unknown"
    unit, value = f"J/{per}", part.joules_per_token
    return f"{with_unit(value, unit)} ({interval_with_unit(value, part.low, part.high, unit)})"


def _test(test: str) -> str:
    return test.rpartition("::")[2]
