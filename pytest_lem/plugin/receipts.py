"""Which tests xdist's workers were given, and of which a report came: a lost one must not end a run green.

A worker dies where it has to send what is no plain data, a user's own `record_property("j", quantity)` for one, and
xdist may end such a run with exit status 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

Key = tuple[str, str]
"""A worker, where each of them runs everything (`--dist=each`), else "", and a test's id."""
SHOWN = 3
"""How many lost tests are named; a worker that dies may take hundreds along."""


class Receipts:
    """The controller's books. Whatever its reports say, a test that was set up is at its end when it is torn down."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._planned: dict[Key, None] = {}
        self._begun: set[Key] = set()
        self._ended: set[Key] = set()

    @property
    def tests(self) -> list[str]:
        """What was collected, in its order; nothing without workers."""
        return list(dict.fromkeys(test for _, test in self._planned))

    @property
    def lost(self) -> list[str]:
        """The tests among them of which no report came, or none of their end."""
        return list(dict.fromkeys(test for worker, test in self._planned if (worker, test) not in self._ended))

    @property
    def line(self) -> str:
        """What was lost, in one line."""
        lost, more = self.lost, len(self.lost) - SHOWN
        named = ", ".join(lost[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        why = "a worker's INTERNALERROR above says why (a report and its properties can hold plain data only)"
        return f"the reports of {len(lost)} of {len(self.tests)} tests were lost: {named}; {why}"

    def plan(self, node: Any, tests: Iterable[str]) -> None:
        """A worker has collected; a replacement collects the same again."""
        self._planned |= dict.fromkeys((self._worker(node), test) for test in tests)

    def note(self, report: pytest.TestReport) -> None:
        """A report has come. That of a crash is the last one, and so is a lone one of a protocol of somebody's own."""
        key = (self._worker(getattr(report, "node", None)), report.nodeid)
        if report.when == "setup":
            self._begun.add(key)
            self._ended.discard(key)
        elif report.when != "call" or key not in self._begun:
            self._ended.add(key)

    def _worker(self, node: Any) -> str:
        each = node is not None and self._config.getvalue("dist") == "each"
        return str(node.gateway.id) if each else ""
