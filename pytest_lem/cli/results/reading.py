"""The run that a user names, read whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_lem.store.report import Report


@dataclass(frozen=True)
class Read:
    """A run's `report`, made of its samples where it `was_cut`, and the `place` that it was read from."""

    report: Report
    place: Path
    was_cut: bool = False

    @property
    def outcome(self) -> str:
        """In a word, as the list has it."""
        from pytest_lem.store.alive import is_alive
        from pytest_lem.store.indexed import outcome

        return "running" if is_alive(self.place) else "cut short" if self.was_cut else outcome(self.report)


def read(run: str | None, results: Path) -> Read:
    """The run that `run` names; None: the newest. Raises UsageError where there is none, StoreError."""
    from pytest_lem.cli.results.index import late
    from pytest_lem.store.indexed import current_report
    from pytest_lem.store.rebuild import rebuild
    from pytest_lem.store.report import read_report
    from pytest_lem.store.runs import run_place

    place = run_place(run, results, killed=True)
    if place.is_file():
        return Read(read_report(place), place)
    report = current_report(place)
    return Read(rebuild(place, aggregate=late), place, was_cut=True) if report is None else Read(report, place)
