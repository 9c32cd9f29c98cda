"""What a user reads at the end: the table, what measured it, where the files are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_lem.plugin import options
from pytest_lem.plugin.state import COPIES, REPORT, SAVED

if TYPE_CHECKING:
    from rich.console import Console

    from pytest_lem.model.measurement import Measurement
    from pytest_lem.store.report import Report

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
ANNOTATOR = "pytest_github_actions_annotate_failures"
HEADLINE = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms", "power_w", "peak_memory_bytes")
MORE = "--lem-resume measures what is missing; --lem-retry-failed tries again what failed, too"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of this run."""
    report = config.stash.get(REPORT, None)
    if report is None:
        return
    from pytest_lem.render.cheapest import cheapest_line, has_configurations
    from pytest_lem.render.closing import closing
    from pytest_lem.render.found import found_lines
    from pytest_lem.render.terminal import print_table

    terminalreporter.section("lem: energy of inference")
    if report.measurements:
        print_table(report.measurements, _console(terminalreporter))
    for line in found_lines(report.searches, report.phases):
        terminalreporter.write_line(line)
    if any(verdict.kind == "gate" for verdict in report.verdicts):
        _gates(terminalreporter, config, report)
    more = [MORE] if report.missing else []
    for line in [*closing(report.verdicts, report.missing), *more, *_places(config, report)]:
        terminalreporter.write_line(line)
    for line in _shown_on_github(config, report):
        terminalreporter.write_line(line)
    if has_configurations(report.measurements):
        terminalreporter.write_line(cheapest_line(report.measurements))


def _console(terminalreporter: pytest.TerminalReporter) -> Console:
    from pytest_lem.render.terminal import console_for

    writer = terminalreporter._tw
    return console_for(writer._file, width=writer.fullwidth, colour=writer.hasmarkup)


def _gates(terminalreporter: pytest.TerminalReporter, config: pytest.Config, report: Report) -> None:
    from pytest_lem.render.verdicts import error_lines, print_verdicts

    terminalreporter.write_line("")
    print_verdicts(report.verdicts, _console(terminalreporter))
    # Written once, by the process that reports; the plugin that annotates failures does it for all tests.
    if os.environ.get("GITHUB_ACTIONS") == "true" and not config.pluginmanager.hasplugin(ANNOTATOR):
        for line in error_lines(report.verdicts, _failed(terminalreporter)):
            terminalreporter.write_line(line)


def _places(config: pytest.Config, report: Report) -> list[str]:
    """Where the run was put, and each of its copies for people."""
    from pytest_lem.store.timelines import kept

    saved = config.stash.get(SAVED, None)
    copies: list[str] = config.stash.get(COPIES, [])
    folder = options.results(config) / "runs" / report.run.id
    told = [f"report: {folder / 'report.json'}"]
    told += [f"device timelines: {place}" for place in [kept(folder)] if place]
    told += copies
    return [saved, *told] if saved else told


def _shown_on_github(config: pytest.Config, report: Report) -> list[str]:
    """Append the summary to that of the step, which GitHub's runner names; what stopped that, if anything did.

    Only the process that reports comes here: under xdist the summary is there once.
    """
    place = os.environ.get(STEP_SUMMARY)
    if not place:
        return []
    from pytest_lem.plugin.accepting import summary_of

    try:
        with open(place, "a", encoding="utf-8") as file:
            file.write(f"{summary_of(config, report)}\n")
    except OSError as error:  # the run itself is whole
        return [f"{STEP_SUMMARY}: cannot write {place}: {error.strerror}"]
    return []


def _failed(terminalreporter: pytest.TerminalReporter) -> dict[str, tuple[str, int]]:
    """Where each failed item of this run stands: file, and line from 1."""
    reports = [each for each in terminalreporter.stats.get("failed", []) if each.location]
    return {report.nodeid: (report.location[0], (report.location[1] or 0) + 1) for report in reports}


def headline(measurements: list[Measurement]) -> list[tuple[str, object]]:
    """The headline numbers of an item as flat properties, for JUnit: `lem_joules_per_token`, `lem_prefill_ttft_ms`."""
    found: list[tuple[str, object]] = []
    for measurement in measurements:
        prefix = f"lem_{measurement.name}_" if measurement.name else "lem_"
        values = ((key, measurement.metrics.get(key)) for key in HEADLINE)
        found += [(prefix + key, value.value) for key, value in values if value and value.value is not None]
    return found
