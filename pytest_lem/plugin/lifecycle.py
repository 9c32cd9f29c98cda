"""From collection to report: the plan, engines that stop in time, plain data in reports, nothing lost at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lem.campaign.lanes import is_gate
from pytest_lem.model.errors import LemError
from pytest_lem.plugin import budgets, options, resume
from pytest_lem.plugin.collection import engine_key, gpu_counts, is_lem
from pytest_lem.plugin.receipts import Receipts
from pytest_lem.plugin.state import (
    COPIES,
    GPU_COUNTS,
    NOT_RUN,
    PLAN,
    REPORT,
    RUN_NAME,
    SAVED,
    known_session,
    open_session,
    worker_name,
)
from pytest_lem.store.names import RUN_VARIABLE, new_name

if TYPE_CHECKING:
    from pytest_lem.plugin.session import LemSession
    from pytest_lem.store.report import Report

_CYCLE = re.compile(r"-c\d+\](?:@.*)?$")
"""The end of an experiment's id, and xdist's group behind it."""


class Lifecycle:
    """One instance a pytest process; `config` is its config."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self._run_name = config.stash[RUN_NAME] = self._name()
        self._outcomes: dict[str, str] = {}
        self._receipts = Receipts(config)
        self._emptied = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker which run it belongs to: all of them write into one folder."""
        node.workerinput["lem_run"] = self._run_name

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Remember of which tests xdist's workers have to report."""
        self._receipts.plan(node, ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Refuse a meter or folder that can't work before the first test starts. `--co` touches nothing."""
        ours = [item for item in session.items if is_lem(item)]
        plan = [item.nodeid for item in ours if not item.get_closest_marker("lem_emptied")]
        self.config.stash[PLAN] = plan
        self.config.stash[GPU_COUNTS] = gpu_counts(ours)
        option = self.config.option
        if not plan or option.collectonly or option.setupplan or worker_name(self.config):
            return
        try:
            open_session(self.config)
        except LemError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """An item that runs again is judged by its last attempt; the earlier ones stay on disk."""
        session = known_session(self.config)
        if session is None and is_lem(item) and resume.asked(self.config):
            with budgets.one_line():
                session = open_session(self.config)
        if session is not None:
            session.test = item.name
            session.recorder.forget(item.nodeid)
        if session is not None and is_lem(item):
            session.refuse(item.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """Stop the engine when the next item needs another, or none."""
        result = yield
        session = known_session(self.config)
        if session is not None:
            session.pool.keep_for(engine_key(nextitem))
            # A plain item of a worker waits for other lanes to end. One that held its GPUs meanwhile, while another run
            # holds those of such a lane, would wait for ever.
            if worker_name(self.config) and nextitem is not None and not _measures(nextitem):
                session.give_back()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put headline numbers into the report's properties, and only plain data: xdist can carry nothing else."""
        session = known_session(self.config) if is_lem(item) else None
        if session is not None and call.when == "call":
            from pytest_lem.plugin.summary import headline

            item.user_properties += headline(session.recorder.measured(item.nodeid))
        report = yield
        if is_lem(item):
            report.user_properties = [(str(key), plain(value)) for key, value in report.user_properties]
        if session is not None:
            setattr(report, "lem", {"run": session.recorder.run.id})  # noqa: B010 - no declared attribute
            if report.when != "teardown":
                _remember(session, item.nodeid, report, cut=budgets.is_cut(call.excinfo))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember how each item ended, for the list of what is missing."""
        self._receipts.note(report)
        self._emptied = self._emptied or "lem_emptied" in report.keywords
        if report.when == "call" or not report.passed:
            self._outcomes[report.nodeid] = f"failed: {_why(report)}" if report.failed else _skipped(report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Stop what runs, then write the report: also after Ctrl-C, a failure, a full disk.

        Innermost of the wrappers: all that others do here is done, and the terminal's summary still comes.
        """
        try:
            result = yield
            self._finish(session)
        except KeyboardInterrupt:
            # Ctrl-C while the session ended: what is measured shall be in the report all the same.
            self._finish(session)
            session.exitstatus = pytest.ExitCode.INTERRUPTED
            return None
        return result

    def _finish(self, session: pytest.Session) -> None:
        known = known_session(self.config)
        if known is not None:
            known.close()
        if worker_name(self.config) or self._untouched(known):
            return
        folder = known.recorder.run.directory if known else options.results(self.config) / "runs" / self._run_name
        self._fail_on_lost_reports(session, measured=(folder / "run.json").exists())
        if (folder / "run.json").exists():
            self._write(session, folder)
            if session.exitstatus == pytest.ExitCode.OK and any(o.startswith(NOT_RUN) for o in self._outcomes.values()):
                self._say("engines failed in a row, and some tests were not run: --lem-resume takes them up")
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self._emptied and session.exitstatus == pytest.ExitCode.OK:
            self._say("nothing was measured: the options left every lem test without an experiment")
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def _fail_on_lost_reports(self, session: pytest.Session, *, measured: bool) -> None:
        """A run that nothing stopped has a report of each test; one of plain tests alone is xdist's own matter."""
        lost = self._receipts.lost
        if not lost or session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return
        if not measured and not any(map(_CYCLE.search, self._receipts.tests)):
            return
        self._outcomes = dict.fromkeys(lost, "failed: its report was lost") | self._outcomes
        self._say(self._receipts.line)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _untouched(self, known: LemSession | None) -> bool:
        """Whether a run that was to be continued was not: its report stands as it is."""
        alone = known is None and not self.config.pluginmanager.hasplugin("dsession")
        return resume.asked(self.config) and (alone or bool(self.config.option.collectonly))

    def pytest_unconfigure(self) -> None:
        """Stop an engine that a broken end of the session left."""
        known = known_session(self.config)
        if known is not None:
            known.close()

    def _name(self) -> str:
        """The run that is continued, or a new one."""
        try:
            known = None if worker_name(self.config) else resume.resumed_name(self.config)
        except LemError as error:
            raise pytest.UsageError(str(error)) from None
        given = os.environ.pop(RUN_VARIABLE, None)  # for this run: those that a test starts are their own
        return known or given or new_name(datetime.now(UTC))

    def _write(self, session: pytest.Session, folder: Path) -> None:
        from pytest_lem.plugin.ending import COPIERS, finished_report
        from pytest_lem.store.timelines import pack_left

        with self._failing(session):
            # Kept before its copies are made, and each by itself: one that cannot be written takes no other away.
            report = self.config.stash[REPORT] = finished_report(self.config, folder, self._outcomes)
            for write in COPIERS:
                with self._failing(session):
                    line = write(self.config, report)
                    self.config.stash[COPIES] = [*self.config.stash.get(COPIES, []), *([line] if line else [])]
            self._accept(session, report)
        try:
            pack_left(folder)  # of a worker that was killed, too
        except LemError as error:  # the run itself is whole
            self._say(str(error))

    def _accept(self, session: pytest.Session, report: Report) -> None:
        """What `--lem-comment` and `--lem-save` ask for."""
        if not (options.value(self.config, "save") or options.value(self.config, "comment")):
            return
        from pytest_lem.plugin.accepting import save, write_comment

        with self._failing(session):
            write_comment(self.config, report)
        with self._failing(session):
            self.config.stash[SAVED] = save(self.config, report)

    @contextmanager
    def _failing(self, session: pytest.Session) -> Iterator[None]:
        """Tell an error of ours, and fail the run for it."""
        try:
            yield
        except LemError as error:
            self._say(str(error))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _say(self, line: str) -> None:
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("")
            reporter.write_line(f"lem: {line}", red=True)


def _measures(item: pytest.Item) -> bool:
    """Whether the item may need GPUs: a test of ours, or a gate, which may measure once more."""
    return is_lem(item) or is_gate(item.nodeid)


def _why(report: pytest.TestReport) -> str:
    """The first line of what went wrong."""
    crash = getattr(report.longrepr, "reprcrash", None)
    # Xdist's own reports of a crash are a plain text, under a header that names the worker's interpreter.
    text = report.longrepr if isinstance(report.longrepr, str) else report.longreprtext
    lines = (crash.message if crash else text).strip().splitlines()
    return lines[0].removeprefix("Failed: ") if lines else "without a word"


def _skipped(report: pytest.TestReport) -> str:
    """The outcome of an item that did not fail; one that was not run says why."""
    reason = str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else ""
    not_run = reason.removeprefix("Skipped: ")
    return not_run if not_run.startswith(NOT_RUN) else report.outcome


def _remember(session: LemSession, test: str, report: pytest.TestReport, *, cut: bool) -> None:
    """Note that an item has ended, or has nothing to show: a continued run can tell it from one that never ran.

    `cut`: an engine or a meter failed within it, so that what it has measured is not all that it would have.
    """
    from pytest_lem.store.experiments import whole_tests

    if test in session.recall.failures:
        return
    # The failure itself is what the user must read, not that a full disk cannot keep it.
    with suppress(LemError):
        if report.failed and (cut or not whole_tests(session.recorder.measured(test))):
            session.recorder.failed(test, _why(report))
        else:
            session.recorder.ended(test)


def plain(value: object) -> object:
    """`value` as JSON's own types: numbers of ours and numpy's become plain ones, anything unknown its text."""
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return plain(value.item()) if hasattr(value, "item") else str(value)
