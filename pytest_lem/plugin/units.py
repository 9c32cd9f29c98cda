"""What must stay in one lane: whatever needs one engine, and windows with the gates that judge them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from pytest_lem.campaign.lanes import gated_by
from pytest_lem.store.experiments import experiment_of

Engines = Sequence[int | None]
"""The engine that each item of a collection needs, as a number; None for an item without one."""


def units(ids: Sequence[str], engines: Engines) -> dict[int, Hashable]:
    """The unit of each item that has one, by the item's place in the collection."""
    gated = {gated_by(nodeid) for nodeid in ids}
    found: dict[int, Hashable] = {}
    for index, (nodeid, engine) in enumerate(zip(ids, engines, strict=True)):
        subject = gated_by(nodeid) or (nodeid if nodeid in gated else experiment_of(nodeid))
        if engine is not None:
            found[index] = engine
        elif subject in gated:
            found[index] = subject
    return found
