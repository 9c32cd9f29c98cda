"""In CI a skipped test is a failed run, unless CI cannot have what the test needs.

CI installs everything, so a skip there means that something is missing or that a guard in a test is wrong: the run
would stay green while testing less. Allowed are tests marked `gpu`, and those marked with a name listed in
LEM_TESTS_WITHOUT (tox sets it to `torch` where the core is tested alone).
"""

from __future__ import annotations

import os

import pytest


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def allowed_markers() -> set[str]:
    return {"gpu", *os.environ.get("LEM_TESTS_WITHOUT", "").replace(",", " ").split()}


class NoSkips:
    """Collects skips that have no excuse and turns the session red; lives in the controller under xdist."""

    def __init__(self) -> None:
        self.unexcused: list[str] = []

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and not allowed_markers() & set(report.keywords):
            self._note(report)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self.unexcused.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexcused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.unexcused:
            return
        terminalreporter.section("skipped in CI", red=True)
        terminalreporter.line("CI installs what the tests need, so these skips fail the run:")
        for line in self.unexcused:
            terminalreporter.line(f"  {line}")


def pytest_configure(config: pytest.Config) -> None:
    if is_ci() and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoSkips(), "lem-no-skips")
