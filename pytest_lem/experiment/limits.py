"""`budget` and `gate` of a file: what its tests are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.shape import said_at
from pytest_lem.model.errors import UsageError
from pytest_lem.model.metrics import metric

GATE = ("threshold", "direction")


def budgets(document: Document) -> dict[str, float]:
    """Metric → limit. Raises UsageError with file and line."""
    given = document.values.get("budget")
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _refusal(document, "budget", "metrics with limits, such as `joules_per_token: 0.5`", given)
    return {name: _limit(document, name, limit) for name, limit in given.items() if limit is not None}


def gates(document: Document) -> list[dict[str, Any]]:
    """What the marker `lem_gate` takes, once for each metric. Raises UsageError with file and line.

    Written as a metric, a list of them, or metrics with a threshold (`5%`, 0.05) or a mapping of `threshold` and
    `direction`.
    """
    given = document.values.get("gate")
    if given is None:
        return []
    if isinstance(given, str | list):
        named = [("gate", given)] if isinstance(given, str) else [(f"gate[{n}]", each) for n, each in enumerate(given)]
        return [{"metric": _metric(document, path, name)} for path, name in named]
    if not isinstance(given, Mapping):
        raise _refusal(document, "gate", "metrics with thresholds, such as `joules_per_token: 5%`", given)
    return [
        {"metric": _metric(document, f"gate.{name}", name), **_rule(document, name, rule)}
        for name, rule in given.items()
    ]


def _limit(document: Document, name: str, limit: object) -> float:
    path = f"budget.{name}"
    _metric(document, path, name)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit):
        raise _refusal(document, path, "a number", limit)
    return float(limit)


def _metric(document: Document, path: str, name: object) -> str:
    if not isinstance(name, str):
        raise _refusal(document, path, "a metric's name", name)
    place = path.partition(".")[0].partition("[")[0]
    return metric(name, place=f"{said_at(document, path)}: {place}").key


def _rule(document: Document, name: str, rule: object) -> dict[str, Any]:
    path = f"gate.{name}"
    if rule is None:
        return {}
    if not isinstance(rule, Mapping):
        return {"threshold": _threshold(document, path, rule)}
    for key in rule:
        if key not in GATE:
            raise UsageError(
                f"{said_at(document, f'{path}.{key}')}: {path}: unknown key {key!r}; it takes {', '.join(GATE)}"
            )
    found = {key: value for key, value in rule.items() if value is not None}
    if "threshold" in found:
        found["threshold"] = _threshold(document, f"{path}.threshold", found["threshold"])
    if found.get("direction", "lower") not in ("lower", "higher"):
        raise _refusal(document, f"{path}.direction", "lower or higher: which way is better", found["direction"])
    return found


def _threshold(document: Document, path: str, given: object) -> float:
    text = str(given).strip()
    percent = isinstance(given, str) and text.endswith("%")
    try:
        number = float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        number = -1.0
    if isinstance(given, bool) or (isinstance(given, str) and not percent) or not 0 <= number < 1:
        raise _refusal(document, path, "a share: 5%, or 0.05", given)
    return number


def _refusal(document: Document, path: str, expected: str, given: object) -> UsageError:
    return UsageError(f"{said_at(document, path)}: {path}: expected {expected}; got {given!r}")
