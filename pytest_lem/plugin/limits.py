"""Budgets as the user wrote them: a metric, a limit, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan

import pytest

from pytest_lem.model.errors import UsageError
from pytest_lem.model.measurement import Measurement, MetricValue
from pytest_lem.model.metrics import Metric, metric
from pytest_lem.model.verdict import Verdict
from pytest_lem.plugin import options


@dataclass(frozen=True)
class Limit:
    """A budget: `metric` may not pass `limit` (from above or below, as the table says); `name` picks one measurement.

    `strict` comes from the command line: a quantity that could not be measured then fails the test.
    """

    metric: Metric
    limit: float
    name: str | None = None
    strict: bool = False

    def fits(self, measurement: Measurement) -> bool:
        """Whether it is about `measurement`: one for every test says nothing of a plain window."""
        return self.name in (None, measurement.name) and not (self.strict and measurement.engine is None)


def command_limits(config: pytest.Config) -> list[Limit]:
    """The budgets of `--lem-budget`. Raises UsageError for an unknown metric or a limit that cannot be."""
    found = []
    for text in options.value(config, "budget") or []:
        key, colon, limit = text.partition(":")
        if not colon:
            raise UsageError(f"--lem-budget={text}: expected METRIC:LIMIT, such as joules_per_token:0.5")
        found.append(Limit(metric(key, place="--lem-budget"), _number(limit, f"--lem-budget={text}"), strict=True))
    return found


def marker_limits(item: pytest.Item) -> list[Limit]:
    """The budgets of an item's markers. Raises UsageError as `command_limits` does."""
    found = []
    for mark in item.iter_markers("lem_budget"):
        place = "@pytest.mark.lem_budget"
        if mark.args or not mark.kwargs:
            raise UsageError(f"{place}: takes metrics as keywords, such as joules_per_token=0.5")
        name = mark.kwargs.get("name")
        limits = {key: value for key, value in mark.kwargs.items() if key != "name"}
        found += [Limit(metric(key, place=place), _number(v, f"{place}({key})"), name) for key, v in limits.items()]
    return found


def judge(limit: Limit, measurement: Measurement) -> Verdict:
    """Whether `measurement` keeps `limit`; the estimate decides, and a straddling interval is said."""
    value = measurement.metrics.get(limit.metric.key)
    reason = _ungateable(limit, value, measurement)
    if value is None or value.value is None or reason:
        line = f"{_place(limit, measurement)} cannot be judged: {reason}"
        return _verdict(limit, measurement, value, "unavailable", line)
    lower = limit.metric.better == "lower"
    broken = value.value > limit.limit if lower else value.value < limit.limit
    return _verdict(
        limit, measurement, value, "failed" if broken else "passed", _line(limit, measurement, value, broken)
    )


def _line(limit: Limit, measurement: Measurement, value: MetricValue, broken: bool) -> str:
    unit = limit.metric.unit
    verb = "breaks" if broken else "keeps"
    text = f"{_place(limit, measurement)} {value.value:.4g} {unit} {verb} its budget of {limit.limit:g} {unit}"
    if value.low is None or value.high is None:
        return f"{text} (no interval, n = {value.n})"
    if value.covers == "range":
        return f"{text} ({value.n} rounds ranged {value.low:.4g}..{value.high:.4g})"
    straddles = "; the interval straddles the limit" if value.low <= limit.limit <= value.high else ""
    return f"{text} (95 % interval {value.low:.4g}..{value.high:.4g} over {value.n} rounds{straddles})"


def _place(limit: Limit, measurement: Measurement) -> str:
    return f"{limit.metric.key}[{measurement.name}]" if measurement.name else limit.metric.key


def _ungateable(limit: Limit, value: MetricValue | None, measurement: Measurement) -> str | None:
    if value is None:
        return "it was not part of this measurement"
    if value.value is None:
        return value.reason or "no reason was recorded"
    if value.source == "estimated":
        return "it is only an estimate, and an estimate is never gated"
    if value.shared:
        return "other lanes shared the host: its joules are not this engine's (a new run with --lem-lanes=1 helps)"
    if limit.metric.is_joules and measurement.protocol.quick:
        return "joules of a quick run (--lem-quick) are not gateable"
    return None


def _verdict(limit: Limit, measurement: Measurement, value: MetricValue | None, status: str, line: str) -> Verdict:
    return Verdict.model_validate(
        {
            "test": measurement.test,
            "name": measurement.name,
            "metric": limit.metric.key,
            "kind": "budget",
            "limit": limit.limit,
            "better": limit.metric.better,
            "value": value.value if value else None,
            "low": value.low if value else None,
            "high": value.high if value else None,
            "status": status,
            "line": line,
        }
    )


def _number(value: object, place: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = nan
    # No metric is below 0, so that such a limit would break always or never: a slip.
    if not isfinite(number) or number < 0:
        raise UsageError(f"{place}: a limit is a number, 0 or more, got {value!r}")
    return number
