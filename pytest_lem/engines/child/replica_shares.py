"""Which requests of a pass each replica of a model answers, known before it begins, and their answers put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def shares(work: Mapping[str, Any], count: int) -> list[list[int]]:
    """The places of each replica's requests, in order; one may have one more than another.

    Request k of a pass goes to replica k mod `count`: k counts through the waves, and under traffic in the order in
    which requests come. In a closed loop the clients are dealt out so, and each asks its own replica.
    """
    dealt: list[list[int]] = [[] for _ in range(count)]
    clients = work["concurrency"] or len(work["requests"])
    for number, place in enumerate(_order(work)):
        dealt[number % clients % count].append(place)
    return [sorted(places) for places in dealt]


def _order(work: Mapping[str, Any]) -> Sequence[int]:
    if work["submission"] == "waves":
        return [place for wave in work["waves"] for place in wave]
    places = range(len(work["requests"]))
    return sorted(places, key=lambda place: work["requests"][place]["arrival_s"] or 0.0)


def too_few(work: Mapping[str, Any], count: int) -> str | None:
    """Why there is not something to do for each of `count` replicas; None: there is."""
    if len(work["requests"]) < count:
        return f"requests: a pass has {len(work['requests'])}, for {count} replicas; ask for {count} at least"
    if (work["concurrency"] or count) < count:
        return f"concurrency: {work['concurrency']} clients for {count} replicas; take {count} at least"
    return None


def part(work: dict[str, Any], count: int, rank: int) -> tuple[list[int], dict[str, Any]]:
    """The places of one replica's requests, and the work that they are: as small a one, numbered anew.

    A seed is another one on each replica, which would else draw the same for different requests.
    """
    places = shares(work, count)[rank]
    numbers = {place: number for number, place in enumerate(places)}
    waves = [[numbers[place] for place in wave if place in numbers] for wave in work["waves"]]
    clients, decoding = work["concurrency"], work["decoding"]
    if decoding.get("seed") is not None:
        decoding = {**decoding, "seed": decoding["seed"] + rank}
    return places, {
        **work,
        "requests": [work["requests"][place] for place in places],
        "waves": [wave for wave in waves if wave],
        "concurrency": clients and len(range(rank, clients, count)),
        "decoding": decoding,
    }


def in_order(told: Iterable[tuple[Sequence[int], Sequence[Any]]]) -> list[Any]:
    """What replicas say of their requests, each beside their places, in the order of the whole pass."""
    found = {place: each for places, answers in told for place, each in zip(places, answers, strict=True)}
    return [found[place] for place in sorted(found)]


def renumbered(times: Mapping[str, Any], places: Sequence[int], later_ms: float) -> dict[str, Any]:
    """A replica's times as the whole pass has them: its own window began `later_ms` after that of rank 0."""
    moved = {name: times[name] + later_ms for name in ("due_ms", "sent_ms") if name in times}
    return {**times, **moved, **({"index": places[times["index"]]} if "index" in times else {})}
