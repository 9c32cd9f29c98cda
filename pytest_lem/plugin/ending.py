"""The report of a run, put together by the process that reports, from what every process wrote."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from pytest_lem.model.errors import StoreError
from pytest_lem.plugin import options
from pytest_lem.plugin.state import NOT_RUN
from pytest_lem.reporting import late_metrics
from pytest_lem.store.durations import remember
from pytest_lem.store.experiments import joined
from pytest_lem.store.files import write_atomic
from pytest_lem.store.rebuild import gather, still_failed
from pytest_lem.store.report import Report, read_report, save_report
from pytest_lem.store.run import Run


def finished_report(config: pytest.Config, folder: Path, outcomes: dict[str, str]) -> Report:
    """Write `report.json`. Raises StoreError.

    `outcomes` maps a test to how it ended; what was planned, not skipped, and has no whole measurement is missing.
    """
    run = Run.open(folder)
    found = gather(folder, aggregate=late_metrics)
    whole = found.whole
    known = {test: f"failed: {reason}" for test, reason in still_failed(found).items()} | outcomes
    missing = [_reason(test, known) for test in run.record.plan if test not in whole]
    told = [line for line in missing if line is not None]
    extra = [line for line in found.remarks if not any(line.startswith(f"{test}:") for test in run.record.plan)]
    # Where nothing is missing, what a torn line held was measured or judged again.
    torn = found.torn if told or extra else ()
    measurements = joined(found.measurements, late_metrics, run.record.plan)
    lost = [*told, *extra, *torn]
    path = run.write_report(measurements, found.verdicts, lost, searches=found.searches, phases=found.phases)
    report = read_report(path)
    with suppress(StoreError):  # it only makes the next plan a better one
        remember(options.results(config), report.measurements)
    return report


def write_json(config: pytest.Config, report: Report) -> None:
    """Write the copy of `report.json` that `--lem-json` asks for. Raises StoreError."""
    copy = options.value(config, "json")
    if copy:
        save_report(report, Path(config.invocation_params.dir, copy))


def write_page(config: pytest.Config, report: Report) -> str | None:
    """Write the page that `--lem-html` asks for; a line for people. Raises StoreError."""
    page = options.value(config, "html")
    if not page:
        return None
    from pytest_lem.render.html.page import report_page

    write_atomic(Path(config.invocation_params.dir, page), report_page([report]))
    return f"page: {page}"


def write_summary(config: pytest.Config, report: Report) -> str | None:
    """Write the summary that `--lem-markdown` asks for; a line for people. Raises StoreError and UsageError."""
    said = options.value(config, "markdown")
    if not said:
        return None
    from pytest_lem.plugin.accepting import summary_of

    write_atomic(Path(config.invocation_params.dir, said), summary_of(config, report))
    return f"summary: {said}"


COPIERS = (write_json, write_page, write_summary)


def _reason(test: str, outcomes: dict[str, str]) -> str | None:
    outcome = outcomes.get(test)
    if outcome is None:
        return f"{test}: the run ended before it did"
    return f"{test}: {outcome}" if outcome.startswith(("failed", NOT_RUN)) else None
