"""How the requests of a pass are handed to an engine that answers each by itself, in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")
Ask = Callable[[int, float], Awaitable[_Answer]]
"""Answers a request by its place in the pass; it is due at a time of the monotonic clock (s), and is sent then."""


async def submit(work: dict[str, Any], ask: Ask[_Answer]) -> list[_Answer]:
    """One pass, in waves, an open or a closed loop, as `work` says; answers in the order of its requests."""
    answers: dict[int, _Answer] = {}

    async def answered(index: int, due: float) -> None:
        answers[index] = await ask(index, due)

    await {"waves": _waves, "open": _open, "closed": _closed}[work["submission"]](work, answered)
    return [answers[index] for index in range(len(work["requests"]))]


async def _waves(work: dict[str, Any], ask: Ask[None]) -> None:
    for wave in work["waves"]:
        begin = time.monotonic()
        await asyncio.gather(*(ask(index, begin) for index in wave))


async def _open(work: dict[str, Any], ask: Ask[None]) -> None:
    """Each request is a task of its own, so that none waits for another's answer (no coordinated omission)."""
    begin = time.monotonic()
    await asyncio.gather(*(ask(index, begin + each["arrival_s"]) for index, each in enumerate(work["requests"])))


async def _closed(work: dict[str, Any], ask: Ask[None]) -> None:
    """So many clients: each sends the next request when it has its answer."""
    waiting = iter(range(len(work["requests"])))

    async def client() -> None:
        for index in waiting:
            await ask(index, time.monotonic())

    await asyncio.gather(*(client() for _ in range(work["concurrency"])))
