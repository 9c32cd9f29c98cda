"""In which order a run's experiments are measured. Pure.

A *launch* is one start of an engine: all items that share an engine and a cycle. The items of a launch stay together in
every order, so a run starts as few engines as it can: one a launch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from random import Random

from pytest_lem.model.errors import UsageError

ORDERS = ("grouped", "interleaved", "shuffled", "latin")


def ordered(launches: Sequence[tuple[Hashable, int]], order: str = "grouped", seed: int = 0) -> list[int]:
    """The positions of the items in the order in which they should run; `launches` holds each one's (engine, cycle).

    `grouped` takes engine by engine, in the order in which they first appear, each through all its cycles;
    `interleaved` the first cycle of all engines, then the second; `shuffled` draws the launches, and the items inside
    each, from `seed`; `latin` takes the engines of cycle k by row k of a Williams design, and rotates the items inside
    a launch by k. Raises UsageError for another order.
    """
    found: dict[tuple[Hashable, int], list[int]] = {}
    for position, launch in enumerate(launches):
        found.setdefault(launch, []).append(position)
    engines = list(dict.fromkeys(engine for engine, _ in launches))
    cycles = sorted({cycle for _, cycle in launches})
    random = Random(seed)
    planned: list[tuple[Hashable, int]]
    match order:
        case "grouped":
            planned = [(engine, cycle) for engine in engines for cycle in cycles]
        case "interleaved":
            planned = [(engine, cycle) for cycle in cycles for engine in engines]
        case "latin":
            rows = williams(len(engines))
            planned = [(engines[number], cycle) for cycle in cycles for number in rows[cycle % len(rows)]]
            found = {launch: _rotated(items, launch[1]) for launch, items in found.items()}
        case "shuffled":
            planned = random.sample(list(found), len(found))
            found = {launch: random.sample(found[launch], len(found[launch])) for launch in planned}
        case _:
            raise UsageError(f"--lem-order={order}: there is no such order; known: {', '.join(ORDERS)}")
    return [position for launch in planned for position in found.get(launch, ())]


def williams(count: int) -> list[list[int]]:
    """Rows of 0..count-1 in which each number follows each other one equally often.

    So what an engine leaves behind for the next, heat above all, comes to each of the others alike.
    As many rows as numbers if `count` is even; an odd one needs their mirror images too. (E. J. Williams, Experimental
    designs balanced for the estimation of residual effects of treatments, 1949.)
    """
    zigzag = [(step + 1) // 2 if step % 2 else -(step // 2) for step in range(count)]
    rows = [[(start + step) % count for step in zigzag] for start in range(count)]
    return rows + [row[::-1] for row in rows] if count % 2 else rows


def _rotated(items: list[int], by: int) -> list[int]:
    first = by % len(items)
    return items[first:] + items[:first]
