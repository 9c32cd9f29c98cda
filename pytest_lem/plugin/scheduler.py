"""Which of xdist's workers runs what: static lanes for what measures, the rest shared out. Runs in the controller.

Written against xdist's `scheduler/protocol.py`, whose methods `DSession` calls; nothing of xdist is imported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import pytest

from pytest_lem.campaign.lanes import is_gate, spread
from pytest_lem.model.errors import LemError, UsageError
from pytest_lem.plugin.planning import announce
from pytest_lem.plugin.units import Engines, units

HELD = 2
"""Items a worker holds: it starts one only when it knows the next, for which it keeps the engine or stops it."""


class Worker(Protocol):
    """What a scheduler uses of xdist's `WorkerController`."""

    gateway: Any

    @property
    def shutting_down(self) -> bool:
        """Whether it was told to end, or is gone."""

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        """Give it items, by their places in the collection."""

    def shutdown(self) -> None:
        """Let it run what it holds, and end."""


Lane = tuple[str, int]
"""A host, and the number of one of its lanes."""
LaneOf = Callable[[Worker], Lane | None]


class ChosenScheduling:
    """The scheduler that xdist would have made, until the tests are known; then ours where some of them measure.

    `lane_of` names the lane of a worker, None for one that must not measure; `engines_of` what each of the items needs
    that a worker has collected, nothing where none is ours. `config` is public as in xdist's own: pytest-rerunfailures
    reads it.
    """

    def __init__(
        self, config: pytest.Config, theirs: Any, lane_of: LaneOf, engines_of: Callable[[Worker], Engines]
    ) -> None:
        self.config = config
        self._lane_of = lane_of
        self._engines_of = engines_of
        self._now: Any = theirs
        self._decided = False
        self._collections: dict[Worker, list[str]] = {}

    @property
    def nodes(self) -> list[Worker]:
        """The workers that are here."""
        found: list[Worker] = self._now.nodes
        return found

    @property
    def collection_is_completed(self) -> bool:
        """Whether all first workers have collected."""
        return bool(self._now.collection_is_completed)

    @property
    def tests_finished(self) -> bool:
        """Whether the session may be ended."""
        return bool(self._now.tests_finished)

    @property
    def has_pending(self) -> bool:
        """Whether anything is left to run."""
        return bool(self._now.has_pending)

    def add_node(self, node: Worker) -> None:
        """A worker is ready to collect."""
        self._now.add_node(node)

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """A worker has collected."""
        self._collections[node] = list(collection)
        self._now.add_node_collection(node, collection)

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:
        """A worker has run an item."""
        self._now.mark_test_complete(node, item_index, duration)

    def mark_test_pending(self, item: str) -> None:
        """Somebody wants a crashed item to run again."""
        self._now.mark_test_pending(item)

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        """A worker gave back items that were stolen from it."""
        self._now.remove_pending_tests_from_node(node, indices)

    def remove_node(self, node: Worker) -> str | None:
        """A worker is gone; gives the item that it was running."""
        self._collections.pop(node, None)
        crashed: str | None = self._now.remove_node(node)
        return crashed

    def schedule(self) -> None:
        """All first workers have collected, or a later one has."""
        if not self._decided:
            self._decide()
        self._now.schedule()

    def _decide(self) -> None:
        self._decided = True
        first, *others = self._collections.values()
        engines = next(filter(None, map(self._engines_of, self._collections)), [None] * len(first))
        measures = any(engine is not None for engine in engines) or any(map(is_gate, first))
        # Workers that collected different tests are theirs to report.
        if all(ids == first for ids in others) and measures:
            nodes = self.nodes
            try:
                self._now = LaneScheduling(self.config, first, engines, nodes, self._lane_of)
            except LemError as error:
                raise pytest.UsageError(str(error)) from None
            for node in nodes:
                if node in self._collections:
                    self._now.add_node_collection(node, self._collections[node])
            announce(self.config, first, engines, self._now.lanes)


class LaneScheduling:
    """All that needs one engine on one lane, in the collection's order; plain items when lanes are done.

    Nothing but other lanes runs beside a measurement: a plain item waits for the last of them, on whichever worker. A
    crash loses the item that ran; the rest of its lane waits for the worker's replacement, which xdist starts at once,
    or ends the session instead.
    """

    collection_is_completed = True

    def __init__(
        self,
        config: pytest.Config,
        ids: Sequence[str],
        engines: Engines,
        workers: Iterable[Worker],
        lane_of: LaneOf,
    ) -> None:
        self.config = config
        self._ids = list(ids)
        self._lane_of = lane_of
        self._lane: dict[Worker, Lane | None] = {}
        self._pending: dict[Worker, list[int]] = {}
        self._collected: set[Worker] = set()
        self._closed: set[Worker] = set()
        for worker in workers:
            self.add_node(worker)
        # Sorted: workers come in any order, and an experiment should find the same GPUs in the next run.
        lanes = sorted({lane for lane in self._lane.values() if lane is not None})
        self._home = _homes(units(self._ids, engines), lanes)
        self._lanes: dict[Lane | None, deque[int]] = {lane: deque() for lane in lanes}
        for index, lane in self._home.items():
            self._lanes[lane].append(index)
        self._plain = deque(index for index in range(len(self._ids)) if index not in self._home)

    @property
    def nodes(self) -> list[Worker]:
        """The workers that are here, in the order in which they came."""
        return list(self._pending)

    @property
    def lanes(self) -> int:
        """How many measure side by side."""
        return len(self._lanes)

    @property
    def tests_finished(self) -> bool:
        """Whether nothing waits for a worker, and no worker for us."""
        rest = self._plain or any(self._lanes.values())
        return not rest and all(worker in self._closed for worker, held in self._pending.items() if held)

    @property
    def has_pending(self) -> bool:
        """Whether anything is left to run."""
        return bool(self._plain) or any(self._lanes.values()) or any(self._pending.values())

    def add_node(self, node: Worker) -> None:
        """A worker is ready to collect; a replacement gets the lane that became free."""
        self._lane[node] = self._lane_of(node)
        self._pending[node] = []

    def add_node_collection(self, node: Worker, collection: Sequence[str]) -> None:
        """A worker has collected. One that found other tests than the first gets none, and its lane goes to others."""
        if list(collection) == self._ids:
            self._collected.add(node)
            return
        text = f"worker {node.gateway.id} collected other tests than the first one; it gets none"
        report = pytest.CollectReport(nodeid=node.gateway.id, outcome="failed", longrepr=text, result=[])
        self.config.hook.pytest_collectreport(report=report)
        self._close(node)
        self._abandon(self._lane[node])

    def schedule(self) -> None:
        """Give every worker that has collected what it can hold."""
        for worker in self.nodes:
            self._feed(worker)

    def mark_test_complete(self, node: Worker, item_index: int, duration: float = 0) -> None:  # noqa: ARG002 - xdist's
        """A worker has run an item."""
        self._pending[node].remove(item_index)
        if self._measured:
            self.schedule()
        else:
            self._feed(node)

    def mark_test_pending(self, item: str) -> None:
        """Run a crashed item again, next in its lane: pytest-rerunfailures asks for it."""
        self._give_back([self._ids.index(item)])
        self.schedule()

    def remove_pending_tests_from_node(self, node: Worker, indices: Sequence[int]) -> None:
        """Never called: nothing is stolen from a worker."""
        raise NotImplementedError

    def remove_node(self, node: Worker) -> str | None:
        """A worker is gone; gives the item that it was running. Raises KeyError for one that never was ready."""
        held = self._pending.pop(node)
        self._collected.discard(node)
        waits = len(held) == 1 and held[0] not in self._home and node not in self._closed
        crashed = held.pop(0) if held and not waits else None
        self._give_back(held)
        self.schedule()
        return None if crashed is None else self._ids[crashed]

    @property
    def _measured(self) -> bool:
        """Whether no item of a lane is left or runs."""
        return not any(self._lanes.values()) and not any(map(self._measures, self._pending))

    def _measures(self, worker: Worker) -> bool:
        return any(index in self._home for index in self._pending[worker])

    def _feed(self, worker: Worker) -> None:
        if worker not in self._collected or worker.shutting_down:
            return
        held = self._pending[worker]
        while len(held) < HELD and (index := self._next(worker)) is not None:
            held.append(index)
            worker.send_runtest_some([index])
        # The last item of a lane starts when a plain one stands behind it, or the end.
        if len(held) < HELD and (self._measured or self._measures(worker)):
            self._close(worker)

    def _next(self, worker: Worker) -> int | None:
        own = self._lanes.get(self._lane[worker])
        if own:
            return own.popleft()
        return self._plain.popleft() if self._plain and (self._measured or self._measures(worker)) else None

    def _close(self, worker: Worker) -> None:
        self._closed.add(worker)
        worker.shutdown()

    def _give_back(self, indices: Sequence[int]) -> None:
        for index in reversed(indices):
            home = self._home.get(index)
            (self._plain if home is None else self._lanes[home]).appendleft(index)

    def _abandon(self, lane: Lane | None) -> None:
        """Give the rest of a lane to the one with the least left; where there is none it stays unrun, and missing."""
        rest = list(self._lanes.get(lane, ()))
        if not rest:
            return
        self._lanes[lane].clear()
        here = [self._lane[worker] for worker in self.nodes if worker in self._collected and worker not in self._closed]
        heirs = [each for each in here if each is not None and each in self._lanes]
        if heirs:
            heir = min(heirs, key=lambda each: len(self._lanes[each]))
            self._lanes[heir].extend(rest)
            self._home |= dict.fromkeys(rest, heir)


def _homes(together: Mapping[int, Hashable], lanes: Sequence[Lane]) -> dict[int, Lane]:
    """The lane of each item that measures, by its place in the collection, in its order. Raises UsageError."""
    if not lanes:
        raise UsageError("no worker has a lane to measure in: pytest-lem must be installed where the workers run")
    chunks = spread(list(together.values()), len(lanes))
    return {index: lanes[chunk] for index, chunk in zip(together, chunks, strict=True)}
