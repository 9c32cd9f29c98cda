"""A budget that breaks is a failed test: judged inside the call, so xfail, `--lf` and JUnit see a plain failure."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_lem.model.errors import EngineError, LemError, Unavailable
from pytest_lem.plugin.collection import is_lem
from pytest_lem.plugin.state import open_session

if TYPE_CHECKING:
    from pytest_lem.model.verdict import Verdict
    from pytest_lem.plugin.limits import Limit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run the test, then judge its budgets; say our own errors in their one line, without a traceback."""
    if not is_lem(item):
        return (yield)
    try:
        result = yield
        _judge(item)
    except Unavailable as error:
        _absent(item, error)
    except LemError as error:
        pytest.fail(told(error), pytrace=False)
    return result


def told(error: LemError) -> str:
    """The error's line, and the tail of the engine's log where there is one."""
    tail = error.log_tail if isinstance(error, EngineError) else ""
    return f"{error}\n--- the engine's log ends ---\n{tail}" if tail else str(error)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a budget on an unknown metric while collecting, not after minutes of measuring."""
    budgeted = [item for item in items if item.get_closest_marker("lem_budget")]
    if not budgeted:
        return
    from pytest_lem.plugin.limits import marker_limits

    for item in budgeted:
        try:
            marker_limits(item)
        except LemError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def _absent(item: pytest.Item, error: Unavailable) -> None:
    from pytest_lem.model.metrics import METRICS

    joules = METRICS[error.key].is_joules if error.key in METRICS else False
    if joules and open_session(item.config).meter_named:
        pytest.fail(f"{error} (a meter was named by --lem-meter, so this is a failure)", pytrace=False)
    pytest.skip(str(error))


def _judge(item: pytest.Item) -> None:
    from pytest_lem.plugin.limits import command_limits, judge, marker_limits

    limits = marker_limits(item) + command_limits(item.config)
    if not limits:
        return
    session = open_session(item.config)
    verdicts = []
    for limit in limits:
        found = [m for m in session.recorder.measured(item.nodeid) if limit.name in (None, m.name)]
        if not found:
            which = f" named {limit.name!r}" if limit.name else ""
            pytest.fail(f"the budget on {limit.metric.key} has no measurement{which} to judge", pytrace=False)
        verdicts += [(limit, judge(limit, measurement)) for measurement in found]
    for _, verdict in verdicts:
        session.recorder.verdict(verdict)
    _conclude(verdicts, meter_named=session.meter_named)


def _conclude(verdicts: list[tuple[Limit, Verdict]], *, meter_named: bool) -> None:
    broken = [verdict.line for _, verdict in verdicts if verdict.status == "failed"]
    absent = [(limit, verdict) for limit, verdict in verdicts if verdict.status == "unavailable"]
    asked = [
        v.line for limit, v in absent if limit.strict or (meter_named and limit.metric.is_joules and v.value is None)
    ]
    if broken or asked:
        pytest.fail("\n".join([*broken, *asked]), pytrace=False)
    if absent:
        pytest.skip("; ".join(verdict.line for _, verdict in absent))
