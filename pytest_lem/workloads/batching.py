"""How requests are put into groups, and what the groups waste in padding. Pure.

A group is padded to its longest prompt and runs until its longest answer is complete, so what it holds is the number of
its requests times their longest prompt and longest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_lem.model.errors import UsageError
from pytest_lem.model.workload import Batching

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Size:
    """A request's real prompt tokens, and the new tokens that it gets."""

    prompt: int
    output: int


def groups(sizes: Sequence[Size], strategy: Batching, batch: int, most: int | None = None) -> Groups:
    """The requests of `sizes`, by their places, in groups of at most `batch`; each is in one of them.

    `static` fills groups to `batch` in order. `dynamic` closes a group when one request more would have it hold over
    `most` tokens. `sorted_…` does the same after sorting, the longest prompts first, and keeps the order where sorting
    would not pad less (few requests, odd remainders). Raises UsageError for a request that no group can hold, and for a
    dynamic strategy without `most`.
    """
    limit = _limit(sizes, strategy, most)
    plain = _filled(range(len(sizes)), sizes, batch, limit)
    if not strategy.startswith("sorted"):
        return plain
    order = sorted(range(len(sizes)), key=lambda index: (-sizes[index].prompt, -sizes[index].output, index))
    by_length = _filled(order, sizes, batch, limit)
    return by_length if padding(by_length, sizes) < padding(plain, sizes) else plain


def padding(found: Groups, sizes: Sequence[Size]) -> int:
    """Prompt tokens that padding adds: each prompt of a group is filled up to its longest."""
    return sum(
        max(sizes[i].prompt for i in group) * len(group) - sum(sizes[i].prompt for i in group) for group in found
    )


def overrun(found: Groups, sizes: Sequence[Size]) -> int:
    """New tokens beyond what was asked, where a group runs until its longest answer is complete."""
    return sum(
        max(sizes[i].output for i in group) * len(group) - sum(sizes[i].output for i in group) for group in found
    )


def held(group: Sequence[int], sizes: Sequence[Size]) -> int:
    """The tokens that a group holds when it is done: (longest prompt + longest answer) × requests."""
    return (max(sizes[i].prompt for i in group) + max(sizes[i].output for i in group)) * len(group)


def _limit(sizes: Sequence[Size], strategy: Batching, most: int | None) -> int | None:
    if not strategy.endswith("dynamic"):
        if most is not None:
            raise UsageError(
                f"max_tokens_per_batch={most}: batching={strategy!r} counts requests, not tokens; "
                "take 'dynamic' or 'sorted_dynamic', or leave it out"
            )
        return None
    if most is None:
        raise UsageError(f"batching={strategy!r} fills groups up to max_tokens_per_batch; give that number of tokens")
    largest = max(range(len(sizes)), key=lambda index: held([index], sizes), default=None)
    if largest is not None and held([largest], sizes) > most:
        size = sizes[largest]
        raise UsageError(
            f"max_tokens_per_batch={most}: request {largest} alone holds {size.prompt} prompt and {size.output} output "
            f"tokens; give at least {size.prompt + size.output}"
        )
    return most


def _filled(order: Sequence[int], sizes: Sequence[Size], batch: int, most: int | None) -> Groups:
    found: list[list[int]] = []
    for index in order:
        group = found[-1] if found else []
        fits = most is None or held([*group, index], sizes) <= most
        if group and len(group) < batch and fits:
            group.append(index)
        else:
            found.append([index])
    return tuple(tuple(group) for group in found)
