"""Who measures what: lanes of a host, and chunks of a run for lanes and shards. Pure.

A *lane* is what may measure at one time on one set of GPUs. A *unit* is what must stay in one lane or shard: whatever
needs one engine in a lane, all cycles of one experiment in a shard.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from pytest_lem.model.errors import UsageError

_GATE = re.compile(r"[-\[]gate-\w+\](?:@.*)?$")
"""The end of a gate's id, in place of a cycle's, and xdist's `@<group>` behind it."""


@dataclass(frozen=True)
class LaneOptions:
    """`gpus` a lane gets, and how many lanes a host may have at most (`limit`; None: as many as it has GPUs for)."""

    gpus: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.gpus < 1:
            raise UsageError(f"--lem-gpus-per-worker={self.gpus}: a lane needs at least 1")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--lem-lanes={self.limit}: at least 1 lane must be left to measure in")


def lane_count(visible: Sequence[str], options: LaneOptions) -> int:
    """How many lanes a host has that sees these GPUs; one without GPUs has 1, or what the limit says.

    Raises UsageError where a lane would need more GPUs than there are.
    """
    if not visible:
        return options.limit or 1
    if options.gpus > len(visible):
        raise UsageError(
            f"--lem-gpus-per-worker={options.gpus}: {len(visible)} GPU(s) visible here (CUDA_VISIBLE_DEVICES counts); "
            f"ask for at most {len(visible)}"
        )
    sets = len(visible) // options.gpus
    return min(sets, options.limit) if options.limit else sets


def lane_gpus(slot: int, visible: Sequence[str], options: LaneOptions) -> tuple[str, ...] | None:
    """The GPUs (UUIDs) of a host's lane number `slot`; None where it has no such lane. Raises UsageError."""
    if slot >= lane_count(visible, options):
        return None
    return tuple(visible[slot * options.gpus : (slot + 1) * options.gpus])


def is_gate(nodeid: str) -> bool:
    """Whether an id is that of a gate: it judges what others measured."""
    return _GATE.search(nodeid) is not None


def gated_by(nodeid: str) -> str | None:
    """What a gate judges: its id without the gate's part; None for an id that is no gate's."""
    if not is_gate(nodeid):
        return None
    judged = _GATE.sub("", nodeid)
    return f"{judged}]" if "[" in judged else judged


def spread(units: Sequence[Hashable], count: int) -> list[int]:
    """For each item, named by its unit, which of `count` chunks it belongs to.

    Units stay whole, and a chunk holds neighbours: units in the order in which they first appear, cut where the largest
    chunk becomes as small as it can be. No chunk is empty while there are units for all.
    """
    sizes = Counter(units)
    most = _smallest_most(list(sizes.values()), count)
    chunks: dict[Hashable, int] = {}
    chunk = held = 0
    for number, (unit, size) in enumerate(sizes.items()):
        full = held + size > most
        needed = len(sizes) - number <= count - 1 - chunk  # the chunks to come want a unit each
        if held and (full or needed):
            chunk, held = chunk + 1, 0
        chunks[unit] = chunk
        held += size
    return [chunks[unit] for unit in units]


def _smallest_most(sizes: Sequence[int], count: int) -> int:
    """The smallest capacity with which `count` chunks of neighbours hold all sizes."""
    low, high = max(sizes, default=0), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        if _chunks_needed(sizes, middle) <= count:
            high = middle
        else:
            low = middle + 1
    return low


def _chunks_needed(sizes: Iterable[int], most: int) -> int:
    chunks, held = 1, 0
    for size in sizes:
        if held + size > most:
            chunks, held = chunks + 1, 0
        held += size
    return chunks


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8` → (2, 8). Raises UsageError for anything but I/N with I from 1 to N."""
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip(), re.ASCII)
    index, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= index <= count:
        raise UsageError(f"--lem-shard={text}: expected I/N with I from 1 to N, like 1/4")
    return index, count
