"""The plan before the run: what will be measured, how many engines start, how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest

from pytest_lem.plugin import options, resume
from pytest_lem.plugin.collection import engine_key, experiment_id, is_lem, plain_name
from pytest_lem.plugin.state import RUN_NAME

if TYPE_CHECKING:
    from pytest_lem.campaign.plan import Pause, Step
    from pytest_lem.model.measurement import Measurement
    from pytest_lem.model.specs import EngineSpec, ProtocolSpec
    from pytest_lem.store.rebuild import Gathered


BY_NAME = "as tests of these names took before"


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> str | None:
    """Say what is ahead, also where tests are only collected; a run without lem tests says nothing."""
    ours = [item for item in items if is_lem(item) and not item.get_closest_marker("lem_emptied")]
    if not any(engine_key(item) for item in ours) or config.getoption("lem_explain"):
        return None
    from pytest_lem.campaign.plan import plan

    settled = _Settled.of(config, {item.nodeid: item for item in ours})
    steps = list(_steps(config, [item for item in ours if item.nodeid in settled.left]))
    return f"lem: {plan(steps, done=settled.done, failed=settled.failed, gap=_gap(config)).line}"


def announce(config: pytest.Config, ids: Sequence[str], engines: Sequence[int | None], lanes: int) -> None:
    """The same for xdist's controller, which knows of the tests their ids, and which of them share an engine."""
    from pytest_lem.campaign.lanes import is_gate
    from pytest_lem.campaign.plan import Step, expected_seconds, plan
    from pytest_lem.model.specs import ProtocolSpec
    from pytest_lem.store.durations import read_durations
    from pytest_lem.store.experiments import cycle_of, experiment_of

    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        return
    known = read_durations(options.results(config)).experiments
    guess = expected_seconds(ProtocolSpec())
    needed = zip(ids, engines, strict=True)
    ours = {test: engine for test, engine in needed if engine is not None and not is_gate(test)}
    settled = _Settled.of(config, dict.fromkeys(ours))
    steps = [
        Step(experiment_of(test), (ours[test], cycle_of(test)), guess, known.get(experiment_of(test)))
        for test in settled.left
    ]
    lanes = min(lanes, max(1, len(set(ours.values()))))  # one engine is work for one of them
    reporter.ensure_newline()
    for note in _notes(config, list(ours)):
        reporter.write_line(f"lem: {note}")
    found = plan(steps, lanes=lanes, done=settled.done, failed=settled.failed, before=BY_NAME, gap=_gap(config))
    reporter.write_line(f"lem: {found.line}")


def _gap(config: pytest.Config) -> Pause | None:
    """What `--lem-gap` makes of a start; nothing of one that cannot be, which the tests' collection has refused."""
    from pytest_lem.campaign.plan import Pause
    from pytest_lem.cooling import gap_rule
    from pytest_lem.model.errors import UsageError

    asked = options.value(config, "gap")
    with suppress(UsageError):
        rule = gap_rule(asked) if asked else None
        return Pause(rule.seconds, at_most=rule.cool) if rule else None
    return None


def _notes(config: pytest.Config, ids: Sequence[str]) -> list[str]:
    """What experiment files among the tests want to be told."""
    if not any(options.EXPERIMENT_FILES + "::" in test for test in ids):
        return []
    from pytest_lem.plugin.experiment_files import notes_of

    return notes_of(config, ids)


@dataclass(frozen=True)
class _Settled:
    """What a continued run makes of its items: those that are `left`, and the experiments of all others, one an item.

    `done` are measured; `failed` fail again without an engine, unless another try is asked for.
    """

    left: Mapping[str, None]
    done: Sequence[str] = ()
    failed: Sequence[str] = ()

    @classmethod
    def of(cls, config: pytest.Config, tests: Mapping[str, pytest.Item | None]) -> _Settled:
        """Out of the samples of the run that goes on; a new run has everything left.

        Where a test's item is known, what was measured by another protocol or engine does not count.
        """
        if not resume.asked(config):
            return cls(dict.fromkeys(tests))
        from pytest_lem.model.errors import LemError
        from pytest_lem.store.experiments import experiment_of
        from pytest_lem.store.rebuild import gather, still_failed

        whole: Container[str] = ()
        failed: Container[str] = ()
        # What cannot be read is told when the run opens it.
        with suppress(LemError):
            found = gather(options.results(config) / "runs" / config.stash[RUN_NAME])
            whole = found.whole - _others(tests, found)
            failed = () if options.retry_failed(config) else still_failed(found)
        return cls(
            dict.fromkeys(test for test in tests if test not in whole and test not in failed),
            [experiment_of(test) for test in tests if test in whole],
            [experiment_of(test) for test in tests if test in failed],
        )


def _others(tests: Mapping[str, pytest.Item | None], found: Gathered) -> set[str]:
    """The tests of which nothing valid was measured as their items ask for now; the workload may be a test's own."""
    known: dict[Hashable, ProtocolSpec] = {}
    asked = {
        test: (needed[0], _protocol(item, known))
        for test, item in tests.items()
        if item is not None and (needed := engine_key(item)) is not None
    }
    same = {
        each.test
        for each in found.measurements
        if each.test in asked and resume.has_valid(each) and _is_same(each, *asked[each.test])
    }
    return asked.keys() - same


def _is_same(measured: Measurement, spec: EngineSpec, protocol: ProtocolSpec) -> bool:
    if measured.engine is None:
        return False
    requested, took = measured.engine.requested, measured.protocol
    # Where they are left open, a run finds the device, and `phases` the rounds.
    spec = spec.replace(device=requested.device) if spec.device == "auto" else spec
    protocol = protocol.replace(cycles=took.cycles, rounds=protocol.rounds or took.rounds)
    return (requested, took) == (spec, protocol)


def _steps(config: pytest.Config, items: Iterable[pytest.Item]) -> Iterable[Step]:
    from pytest_lem.campaign.plan import Step, expected_seconds
    from pytest_lem.store import durations

    known = durations.read_durations(options.results(config))
    protocols: dict[Hashable, ProtocolSpec] = {}
    key_of = _Keys()
    for item in items:
        needed = engine_key(item)
        if needed is None:
            yield Step(item.nodeid, None, 1.0)
            continue
        spec, cycle = needed
        engine = key_of(spec, durations.engine_key)
        protocol = _protocol(item, protocols)
        workload = item.callspec.params.get("lem_workload")  # type: ignore[attr-defined]  # engine_key has looked
        parts = (engine, key_of(workload, attrgetter("key")), key_of(protocol, durations.protocol_key))
        same = known.items.get(durations.item_key(*parts)) if workload else None
        load = known.engines.get(engine)
        yield Step(experiment_id(item), (engine, cycle), expected_seconds(protocol), same, load)


class _Keys:
    """Keys of specs, each made once: one reads all of its spec's fields, and thousands of items share a spec."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def __call__(self, spec: Any, make: Callable[[Any], str]) -> str:
        """The key that `make` gives; "" for no spec."""
        if spec is None:
            return ""
        return self._known.get(id(spec)) or self._known.setdefault(id(spec), make(spec))


def _protocol(item: pytest.Item, known: dict[Hashable, ProtocolSpec]) -> ProtocolSpec:
    """The item's protocol; validated once for all items of a test that say the same."""
    from pytest_lem.plugin.check import protocol_of

    own = [tuple(sorted(mark.kwargs.items())) for mark in item.iter_markers("lem_experiment")]
    key = (plain_name(item), str(own))
    if key not in known:
        known[key] = protocol_of(item)
    return known[key]
