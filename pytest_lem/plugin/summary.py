"""What a user reads at the end: the table, what measured it, where the files are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_lem.plugin import options
from pytest_lem.plugin.state import REPORT, SAVED

if TYPE_CHECKING:
    from pytest_lem.model.measurement import Measurement

ANNOTATOR = "pytest_github_actions_annotate_failures"
HEADLINE = ("joules_per_token", "tokens_per_second", "ttft_ms", "tpot_ms", "power_w", "peak_memory_bytes")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of this run."""
    report = config.stash.get(REPORT, None)
    if report is None:
        return
    from pytest_lem.render.cheapest import cheapest_line, has_configurations
    from pytest_lem.render.closing import closing
    from pytest_lem.render.found import found_lines
    from pytest_lem.render.terminal import console_for, print_table

    terminalreporter.section("lem: energy of inference")
    if report.measurements:
        writer = terminalreporter._tw
        console = console_for(writer._file, width=writer.fullwidth, colour=writer.hasmarkup)
        print_table(report.measurements, console)
    for line in found_lines(report.searches, report.phases):
        terminalreporter.write_line(line)
    if any(verdict.kind == "gate" for verdict in report.verdicts):
        from pytest_lem.render.verdicts import error_lines, print_verdicts

        writer = terminalreporter._tw
        terminalreporter.write_line("")
        print_verdicts(report.verdicts, console_for(writer._file, width=writer.fullwidth, colour=writer.hasmarkup))
        # Written once, by the process that reports; the plugin that annotates failures does it for all tests.
        if os.environ.get("GITHUB_ACTIONS") == "true" and not config.pluginmanager.hasplugin(ANNOTATOR):
            for line in error_lines(report.verdicts, _failed(terminalreporter)):
                terminalreporter.write_line(line)
    for line in closing(report.verdicts, report.missing):
        terminalreporter.write_line(line)
    saved = config.stash.get(SAVED, None)
    if saved:
        terminalreporter.write_line(saved)
    folder = options.results(config) / "runs" / report.run.id
    terminalreporter.write_line(f"report: {folder / 'report.json'}")
    page = options.value(config, "html")
    if page:
        terminalreporter.write_line(f"page: {page}")
    if has_configurations(report.measurements):
        terminalreporter.write_line(cheapest_line(report.measurements))


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
