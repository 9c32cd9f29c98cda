"""Gates as the user wrote them: `--lem-fail-on`, `@pytest.mark.lem_gate`, or none but a baseline."""

from __future__ import annotations

from difflib import get_close_matches
from math import isfinite

import pytest

from pytest_lem.gate import THRESHOLD, Gate
from pytest_lem.model.errors import UsageError
from pytest_lem.model.metrics import METRICS
from pytest_lem.plugin import options
from pytest_lem.store.baselines import MissingBaseline, check_name, open_baseline
from pytest_lem.store.history import Baseline

DEFAULT = ("joules_per_token", "tokens_per_second")
"""What is gated where nothing says so: the first that the baseline has."""
MARKER = "@pytest.mark.lem_gate"
CHOICES = {
    "match": ("board", "model"),
    "missing_baseline": ("skip", "fail"),
    "inconclusive": ("warn", "fail"),
}


def choice(config: pytest.Config, name: str) -> str:
    """One of an option's words, the first where nothing was said. Raises UsageError for any other."""
    asked = options.value(config, name)
    known = CHOICES[name]
    if asked is None:
        return known[0]
    if asked not in known:
        raise UsageError(f"--lem-{name.replace('_', '-')}={asked}: expected {' or '.join(known)}")
    return str(asked)


def gated(config: pytest.Config) -> bool:
    """Whether this run compares at all: with a baseline, or in a duel."""
    return options.value(config, "baseline") is not None or options.value(config, "duel") is not None


def check_gates(config: pytest.Config) -> None:
    """Raise UsageError for a gate, a word or a combination that cannot be."""
    for name in CHOICES:
        choice(config, name)
    command_gates(config)
    named = options.value(config, "baseline")
    if named is not None:
        open_for(config, named)
    saved = options.value(config, "save")
    if saved:
        check_name(saved, "--lem-save")
    if options.value(config, "duel") is not None or options.command(config, "duel_setup"):
        from pytest_lem.plugin.duels import side_of

        side_of(config)
    if options.command(config, "fail_on") and not gated(config):
        asked = ",".join(options.command(config, "fail_on"))
        raise UsageError(f"--lem-fail-on={asked}: against what? name a baseline (--lem-baseline=main) or a duel")


def open_for(config: pytest.Config, named: str) -> Baseline:
    """The baseline; an empty one where there is none yet, and that may be. Raises UsageError and StoreError."""
    results = options.results(config)
    try:
        return open_baseline(results, named)
    except MissingBaseline:
        if choice(config, "missing_baseline") == "fail":
            raise
        return Baseline(named, results, ())


def command_gates(config: pytest.Config) -> list[Gate]:
    """The gates of `--lem-fail-on`. Raises UsageError for a limit that is no percentage, or a misspelt metric."""
    found = []
    for text in options.value(config, "fail_on") or []:
        key, colon, limit = text.partition(":")
        if not colon:
            raise UsageError(f"--lem-fail-on={text}: expected METRIC:PERCENT, such as joules_per_token:5%")
        _known(key, "--lem-fail-on")
        found.append(Gate(key, _percentage(limit, f"--lem-fail-on={text}"), strict=True))
    return found


def marker_gates(item: pytest.Item) -> list[Gate]:
    """The gates of an item's markers. Raises UsageError as `command_gates` does."""
    return [_marked(mark) for mark in item.iter_markers("lem_gate")]


def gates_of(item: pytest.Item) -> list[Gate]:
    """The gates of a test, each metric of a measurement once: its own markers above the command line's."""
    found: dict[tuple[str, str | None], Gate] = {}
    for gate in [*marker_gates(item), *command_gates(item.config)]:
        found.setdefault((gate.key, gate.name), gate)
    return list(found.values())


def _marked(mark: pytest.Mark) -> Gate:
    names = ("metric", "threshold", "direction", "name")
    given = dict(zip(names, mark.args, strict=False)) | dict(mark.kwargs)
    unknown = sorted(set(given) - set(names))
    if len(mark.args) > len(names) or unknown or "metric" not in given:
        what = f"unknown keyword {unknown[0]!r}" if unknown else "names its metric first"
        raise UsageError(f"{MARKER}: {what}; it takes ({', '.join(names)})")
    key, threshold, direction = str(given["metric"]), given.get("threshold", THRESHOLD), given.get("direction")
    place = f"{MARKER}({key!r})"
    if direction not in (None, "lower", "higher"):
        raise UsageError(f"{place}: direction is 'lower' or 'higher' (which way is better), got {direction!r}")
    _known(key, MARKER)
    numeric = isinstance(threshold, int | float) and not isinstance(threshold, bool) and isfinite(threshold)
    if not numeric or not 0 <= threshold < 1:
        raise UsageError(f"{place}: threshold is a share, 0.05 for 5 %; got {threshold!r}")
    return Gate(key, float(threshold), direction, given.get("name"))


def _known(key: str, place: str) -> None:
    """Refuse what looks like a misspelt metric of ours; any other name may be one that the test records itself."""
    near = get_close_matches(key, METRICS, n=1, cutoff=0.75)
    if not key.isidentifier() or (key not in METRICS and near):
        hint = near or get_close_matches(key, METRICS, n=1, cutoff=0.0)
        raise UsageError(f"{place}: unknown metric {key!r}; the nearest known one is {hint[0]!r}")


def _percentage(text: str, place: str) -> float:
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number < 100:
        raise UsageError(f"{place}: expected a percentage such as 5%, got {text!r}")
    return number / 100
