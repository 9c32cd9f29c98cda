"""A budget that breaks is a failed test: judged inside the call, so xfail, `--lf` and JUnit see a plain failure."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_lem.model.errors import EngineError, LemError, MeterError, Unavailable
from pytest_lem.plugin.collection import is_lem
from pytest_lem.plugin.state import open_session

if TYPE_CHECKING:
    from pytest_lem.model.verdict import Verdict
    from pytest_lem.plugin.limits import Limit


_CAUSE = "lem_cause"
"""The attribute of a failure that holds the error of ours which it tells."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run the test, then judge its budgets; say our own errors in their one line, without a traceback."""
    if not is_lem(item):
        return (yield)
    with one_line(item):
        result = yield
        _judge(item)
    return result


@contextmanager
def one_line(item: pytest.Item | None = None) -> Iterator[None]:
    """Turn an error of ours into a failure that is its line alone; an absent quantity of `item` may be a skip."""
    caught: LemError | None = None
    try:
        yield
    except LemError as error:
        caught = error
    if isinstance(caught, Unavailable) and item is not None:
        _absent(item, caught)
    if caught is not None:
        failure = pytest.fail.Exception(told(caught), pytrace=False)
        setattr(failure, _CAUSE, caught)
        # `from None`: pytest would print the error twice, as the cause of the failure too.
        raise failure from None


def is_cut(excinfo: pytest.ExceptionInfo[BaseException] | None) -> bool:
    """Whether a test ended where an engine or a meter failed: it may have had more to measure."""
    return excinfo is not None and isinstance(getattr(excinfo.value, _CAUSE, None), EngineError | MeterError)


def told(error: LemError) -> str:
    """The error's line, and the tail of the engine's log where there is one and more than a refusal to explain."""
    tail = error.log_tail if isinstance(error, EngineError) and error.kind != "usage" else ""
    return f"{error}\n--- the engine's log ends ---\n{tail}" if tail else str(error)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse a budget that can't be judged while collecting, not after minutes of measuring."""
    test = metafunc.definition
    if not test.get_closest_marker("lem_budget"):
        return
    from pytest_lem.plugin.limits import marker_limits

    if "lem_energy" not in metafunc.fixturenames:
        raise pytest.Collector.CollectError(f"{test.nodeid}: @pytest.mark.lem_budget: the test must take lem_energy")
    try:
        marker_limits(test)
    except LemError as error:
        raise pytest.Collector.CollectError(f"{test.nodeid}: {error}") from None


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
        found = [m for m in session.recorder.measured(item.nodeid) if limit.fits(m)]
        if not found and limit.strict:
            continue
        if not found:
            which = f" named {limit.name!r}" if limit.name else ""
            pytest.fail(f"the budget on {limit.metric.key} has no measurement{which} to judge", pytrace=False)
        verdicts += [(limit, judge(limit, measurement)) for measurement in found]
    session.recorder.judged([verdict for _, verdict in verdicts])
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
