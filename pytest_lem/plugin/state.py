"""Where the run's state hangs on pytest's config; light, so that plain runs load nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_lem.plugin.session import LemSession
    from pytest_lem.store.report import Report

SESSION: pytest.StashKey[LemSession] = pytest.StashKey()
PLAN: pytest.StashKey[Sequence[str]] = pytest.StashKey()
RUN_NAME: pytest.StashKey[str] = pytest.StashKey()
GPU_COUNTS: pytest.StashKey[Collection[int]] = pytest.StashKey()
NOT_RUN = "not run: "
"""How the skip of a test begins that has to run another time: it counts as missing."""
COPIES: pytest.StashKey[list[str]] = pytest.StashKey()
"""The copies of the report that were written for people, a line each."""
SAVED: pytest.StashKey[str | None] = pytest.StashKey()
"""What was put into a baseline, in words."""
REPORT: pytest.StashKey[Report] = pytest.StashKey()


def open_session(config: pytest.Config) -> LemSession:
    """The run's session, made when a test first needs it. Raises StoreError and MeterError."""
    if SESSION not in config.stash:
        from pytest_lem.plugin.session import LemSession

        config.stash[SESSION] = LemSession(config, config.stash.get(PLAN, ()))
    return config.stash[SESSION]


def known_session(config: pytest.Config) -> LemSession | None:
    """The run's session, or None where no test needed one yet."""
    return config.stash.get(SESSION, None)


def worker_name(config: pytest.Config) -> str | None:
    """The name that xdist gave this worker process, None in the process that reports."""
    found = getattr(config, "workerinput", None)
    return str(found["workerid"]) if found else None
