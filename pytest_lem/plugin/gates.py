"""Gates are items of their own: one failed test a regression, to be selected, listed and run again like any other."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol  # what pytest-rerunfailures uses, too: there is no public way

from pytest_lem.model.errors import EngineError, LemError
from pytest_lem.plugin import options, resume
from pytest_lem.plugin.budgets import one_line
from pytest_lem.plugin.collection import experiment_id, known_as
from pytest_lem.plugin.state import known_session, open_session
from pytest_lem.stats.verdict import MOST_LAUNCHES

if TYPE_CHECKING:
    from pytest_lem.gate import Gate
    from pytest_lem.model.verdict import Verdict
    from pytest_lem.plugin.gatekeeper import Gatekeeper

LEFT = ("parametrize", "xfail", "lem_experiment")
"""Markers of a test that say nothing of its gates."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse a gate that cannot be while collecting, also where nothing is compared: not in the first run that does."""
    test = metafunc.definition
    if not test.get_closest_marker("lem_gate"):
        return
    from pytest_lem.plugin.gate_rules import marker_gates

    try:
        marker_gates(test)
    except LemError as error:
        raise pytest.Collector.CollectError(f"{test.nodeid}: {error}") from None


class LemGateWarning(pytest.PytestWarning):
    """A gate that could not tell, and passes all the same."""


class GateItem(pytest.Item):
    """Judges one metric of one experiment, when all of its cycles were measured."""

    def __init__(self, *, gate: Gate, experiment: str, cycles: Sequence[pytest.Function], **rest: Any) -> None:
        super().__init__(**rest)
        self.gate = gate
        self.experiment = experiment
        self.cycles = cycles
        self.obj = cycles[0].obj  # where pytest looks for the names that a skipif speaks of
        self.subject = _subject(cycles[0], experiment)
        self.relaunched = False
        self._problem: LemError | None = None
        for mark in cycles[0].own_markers:
            if mark.name not in LEFT:
                self.add_marker(getattr(pytest.mark, mark.name)(*mark.args, **mark.kwargs))

    def iter_markers_with_node(self, name: str | None = None) -> Iterator[tuple[Any, pytest.Mark]]:
        """Without those that are about the test alone, also where its class or module has them."""
        return (pair for pair in super().iter_markers_with_node(name) if pair[1].name not in LEFT)

    def settle(self) -> None:
        """Before its own setup: launch the engine once more, or twice, where fewer launches cannot decide."""
        try:
            for _ in range(1, MOST_LAUNCHES):
                if not _keeper(self).wants_relaunch(self):
                    break
                self._relaunch()
        except LemError as error:
            self._problem = error

    def runtest(self) -> None:
        """Fail on a regression, warn where it cannot be told, skip where there is nothing to judge."""
        with one_line():
            if self._problem is not None:
                raise self._problem
            verdicts = _keeper(self).verdicts(self)
            open_session(self.config).recorder.judged(verdicts)
        self.user_properties += _properties(verdicts)
        self._conclude(verdicts)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where the test stands that it judges."""
        place, line, _ = self.cycles[0].reportinfo()
        return place, line, self.name

    def _relaunch(self) -> None:
        last = self.cycles[-1]
        session = open_session(self.config)
        session.remeasure(last.nodeid)
        reports = runtestprotocol(last, nextitem=self, log=False)
        _keeper(self).refresh()
        failed = next((report for report in reports if report.failed), None)
        if failed is not None:
            raise EngineError(f"one more launch was wanted, and it failed: {failed.longreprtext.strip()}")
        self.relaunched = True

    def _conclude(self, verdicts: Sequence[Verdict]) -> None:
        rules = _keeper(self).rules
        failed = [verdict.line for verdict in verdicts if rules.fails(verdict, self.gate)]
        if failed:
            pytest.fail("\n".join(failed), pytrace=False)
        if all(rules.empty(verdict) for verdict in verdicts):
            pytest.skip("; ".join(verdict.line for verdict in verdicts))
        for verdict in verdicts:
            if verdict.status == "inconclusive":
                self._warn(verdict.line)

    def _warn(self, line: str) -> None:
        """Count as a warning, and never as a failure: `-W error` is about code, `--lem-inconclusive` about this."""
        path, number = str(self.path), (self.reportinfo()[1] or 0) + 1
        message = warnings.WarningMessage(LemGateWarning(line), LemGateWarning, path, number)
        facts = {"warning_message": message, "when": "runtest", "nodeid": self.nodeid, "location": None}
        self.ihook.pytest_warning_recorded.call_historic(kwargs=facts)


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class,
) -> Generator[None, Any, Any]:
    """Add the gates of a test behind its experiments."""
    found = yield
    if not isinstance(found, list) or not _gated(collector.config):
        return found
    try:
        return [*found, *_gates(collector, found)]
    except LemError as error:
        raise pytest.Collector.CollectError(str(error)) from None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Whatever has put the items in order (`--ff` too): a gate comes after its cycles, and `--lf` brings them along."""
    found = yield
    gates = [item for item in items if isinstance(item, GateItem)]
    if gates:
        rest = [item for item in items if not isinstance(item, GateItem)]
        if config.getoption("lf", False) and not resume.asked(config):
            here = set(map(id, rest))
            wanted = dict.fromkeys(cycle for gate in gates for cycle in gate.cycles)
            rest += [cycle for cycle in wanted if id(cycle) not in here]
        items[:] = [*rest, *gates]
    return found


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Settle a gate while nothing of it is set up: a test cannot run inside another's call."""
    if isinstance(item, GateItem):
        item.settle()
    return (yield)


def pytest_report_collectionfinish(items: Sequence[pytest.Item]) -> str | None:
    """Say before anything is measured what the gates could see, and how often one of them cries wolf."""
    gates = [item for item in items if isinstance(item, GateItem)]
    return _keeper(gates[0]).outlook(gates) if gates else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take away what duels have checked out."""
    if _gated(config):
        from pytest_lem.plugin.gatekeeper import KEEPER

        if KEEPER in config.stash:
            config.stash[KEEPER].close()


def orphaned(items: Sequence[pytest.Item], gone: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The gates among `items` whose experiments were all taken away with `gone`: another shard judges them."""
    left = {id(item) for item in gone}
    gates = [item for item in items if isinstance(item, GateItem)]
    return [gate for gate in gates if all(id(cycle) in left for cycle in gate.cycles)]


def _gated(config: pytest.Config) -> bool:
    return options.value(config, "baseline") is not None or options.value(config, "duel") is not None


def _gates(collector: pytest.Module | pytest.Class, found: Sequence[Any]) -> list[GateItem]:
    groups: dict[str, list[pytest.Function]] = {}
    for item in found:
        ours = isinstance(item, pytest.Function) and "lem_energy" in item.fixturenames
        if ours and not item.get_closest_marker("lem_emptied"):
            groups.setdefault(experiment_id(item), []).append(item)
    return [
        _item(collector, experiment, tuple(cycles), gate)
        for experiment, cycles in groups.items()
        for gate in _keeper(cycles[0]).gates(cycles[0], _subject(cycles[0], experiment))
    ]


def _item(
    collector: pytest.Module | pytest.Class, experiment: str, cycles: Sequence[pytest.Function], gate: Gate
) -> GateItem:
    name = _name(experiment, gate)
    # Pytest 9.2 takes an id apart at its bracket; one made from a name alone would not equal the id that `--lf` keeps.
    nodeid = f"{collector.nodeid}::{name}"
    return GateItem.from_parent(collector, name=name, nodeid=nodeid, gate=gate, experiment=experiment, cycles=cycles)


def _subject(item: pytest.Item, experiment: str) -> str:
    """What a baseline calls the experiment: its id, unless the test has one that outlives a rename."""
    return known_as(item) or experiment


def _name(experiment: str, gate: Gate) -> str:
    """`test_decode[pytorch-bf16-b8]` → `test_decode[pytorch-bf16-b8-gate-joules_per_token]`."""
    name = experiment.rpartition("::")[2]
    told = f"gate-{gate.key}" + (f"_{gate.name}" if gate.name else "")
    return f"{name[:-1]}-{told}]" if name.endswith("]") else f"{name}[{told}]"


def _keeper(item: pytest.Item) -> Gatekeeper:
    from pytest_lem.plugin.gatekeeper import keeper_of

    return keeper_of(item.config)


def _properties(verdicts: Sequence[Verdict]) -> list[tuple[str, object]]:
    """The verdict as flat properties, for JUnit: plain values only, xdist can carry nothing else."""
    found: list[tuple[str, object]] = []
    for verdict in verdicts:
        if verdict.comparison is not None:
            prefix = f"lem_{verdict.name}_gate" if verdict.name else "lem_gate"
            found += [(prefix, verdict.comparison.outcome), (f"{prefix}_line", verdict.line)]
            found += [(f"{prefix}_change", verdict.comparison.estimate)] * (verdict.comparison.estimate is not None)
    return found


def measured_here(item: GateItem) -> bool:
    """Whether this session runs the last of the gate's cycles, and so can run it once more."""
    return item.cycles[-1] in item.session.items and known_session(item.config) is not None
