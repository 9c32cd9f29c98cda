"""The fixture that measures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import pytest

from pytest_lem.aggregate import metrics
from pytest_lem.device_joules import Context
from pytest_lem.launches import with_arithmetic
from pytest_lem.meters.host_clock import HostClock
from pytest_lem.model.cycle import Cycle
from pytest_lem.model.errors import EngineError, LemError, UsageError
from pytest_lem.model.measurement import EngineRecord, Measurement
from pytest_lem.model.phases import Phases
from pytest_lem.model.quantity import Quantity
from pytest_lem.model.round import Round
from pytest_lem.model.specs import EngineSpec, ProtocolSpec, WorkloadSpec
from pytest_lem.model.telemetry import Timeline
from pytest_lem.plugin.aims import aim_of
from pytest_lem.plugin.backend import Backend
from pytest_lem.plugin.check import protocol_of
from pytest_lem.plugin.collection import cycle_index, experiment_id, known_as
from pytest_lem.plugin.distribution import lanes
from pytest_lem.plugin.phasing import phases_of
from pytest_lem.plugin.recording import added, checked
from pytest_lem.plugin.searching import Found, none_kept, search
from pytest_lem.plugin.session import LemSession
from pytest_lem.plugin.window import Window, torch_sync, window_round
from pytest_lem.runner import Bench, CycleLog, Phase


class Energy:
    """Measures for one test. The metrics of its last measurement are attributes: `lem_energy.joules_per_token`."""

    def __init__(self, session: LemSession, item: pytest.Item) -> None:
        self._session = session
        self._item = item
        self._last: Measurement | None = None
        self._windows = 0
        self._recalled: Counter[str] = Counter()

    def measure(self, backend: Backend, workload: WorkloadSpec, *, name: str = "") -> Measurement:
        """Warm up, measure rounds until they are precise, keep them all, and return the Measurement.

        `name` tells several measurements of one test apart; it is part of their key. Raises EngineError (the next test
        gets a fresh engine), MeterError, StoreError. What was measured before an interruption is kept, and given back
        where the run is continued.
        """
        return self._kept(backend, workload, protocol_of(self._item), name)

    def _kept(self, backend: Backend, workload: WorkloadSpec, spec: ProtocolSpec, name: str) -> Measurement:
        """Measured now, or by the run that is continued."""
        self._session.refuse_inside_window(f"measure(name={name!r})")
        self._refuse_twice(name)
        self._session.recorder.refuse_another(
            self._blank(name, engine=EngineRecord(requested=backend.spec), workload=workload, protocol=spec)
        )
        known = self._session.recall.measurement(self._item.nodeid, name, backend.spec, workload, spec)
        if known is None:
            self._last = self._measure(backend, workload, spec, name)
        else:
            self._last = self._session.recorder.recall(known)
            self._recalled = Counter(each.metric for cycle in known.cycles for each in cycle.recorded)
        return self._last

    def search(self, backend: Backend, workload: WorkloadSpec, *, name: str = "") -> Found:
        """Find the best setting of what `@pytest.mark.lem_search` names, each tried by a `measure` of its own.

        Gives the setting and its measurement, whose metrics are `lem_energy`'s too; the record with every point is in
        the report. Fails the test where no setting keeps the service level. Raises UsageError for a marker that cannot
        be, and what `measure` raises.
        """
        aim = aim_of(self._item)

        def measure(engine: EngineSpec, work: WorkloadSpec, own: str) -> Measurement:
            return self.measure(self._session.backend(engine, backend.cycle, self._item.nodeid), work, name=own)

        record, measured = search(self._item, aim, backend.spec, workload, measure, name)
        self._session.recorder.searched(record)
        if record.best is None:
            pytest.fail(none_kept(record), pytrace=False)
        self._last = measured[record.best]
        return Found(record.best, self._last, record)

    def phases(self, backend: Backend, workload: WorkloadSpec, *, name: str = "") -> Phases:
        """Tell the joules of prefill and decode apart.

        Of a workload in groups by rounds with answers of one token, of half and of all, each length a measurement of
        its own, there and back. Of traffic by regression: the joules between ticks of the counter on the tokens made
        between them, in one measurement of it. The phases with their intervals, and how well they account for the
        whole, are in the report too; what cannot be told apart is null with its reason. Raises UsageError for groups
        whose answers cannot be shortened alike, Unavailable where joules are, and what `measure` raises.
        """

        def measure(work: WorkloadSpec, spec: ProtocolSpec, own: str) -> Measurement:
            return self._kept(backend, work, spec, own)

        found = phases_of(self._item, workload, protocol_of(self._item), measure, name)
        self._session.recorder.split(found)
        return found

    def _measure(self, backend: Backend, workload: WorkloadSpec, spec: ProtocolSpec, name: str) -> Measurement:
        meters = self._session.meters(backend.engine.gpus)
        begun = self._blank(
            name,
            engine=EngineRecord(requested=backend.spec, observed=backend.observed),
            workload=workload,
            protocol=spec,
            meters=meters.records,
        )
        context = self._session.context(backend.spec.device, meters, workload)
        log = CycleLog(backend.engine, backend.cycle, gap=self._session.pool.take_gap(), lanes=lanes(self._item.config))
        self._session.recorder.begin(begun, log.cycle())
        bench = Bench(
            log,
            meters,
            workload,
            spec,
            context,
            _Listener(self._session, begun, backend.cycle),
            self._session.flops,
            telemetry=self._session.telemetry(backend.engine.gpus),
        )
        try:
            with self._session.stopping.rounds():
                bench.measure()
            self._session.breaker.worked()
        except EngineError as error:
            log.stopped = "failed"
            self._session.breaker.failed(error)
            self._session.pool.discard()
            raise
        except LemError:
            log.stopped = "failed"
            raise
        finally:
            self._session.progress.clear()
            found = self._finish(begun, (log.cycle(),), context)
        return found

    @contextmanager
    def window(self, name: str, *, sync: Callable[[], object] | None = None) -> Iterator[Window]:
        """Measure any code of the test's own, in pytest's own process, over the GPUs that the run leased and the host.

        `sync` is called at both edges, so that the device's work lies inside; left out, torch's CUDA is synchronised
        where the test has used it. The result is on the handle when the block has ended.
        """
        self._session.refuse_inside_window(f"window({name!r})")
        self._refuse_twice(name)
        self._session.lease()
        meters = self._session.meters(self._session.gpus)
        context = self._session.context("cuda" if self._session.gpus else "cpu", meters, None)
        begun = self._blank(name, protocol=protocol_of(self._item), meters=meters.records)
        synchronise = sync or torch_sync
        handle = Window()
        synchronise()
        HostClock().sleep_until_ns(meters.begin(self._windows))
        self._windows += 1
        start = time.monotonic_ns()
        self._session.window = name
        try:
            yield handle
            synchronise()
        except BaseException as error:
            stopped = "failed" if isinstance(error, Exception) else "interrupted"
            self._finish_window(begun, context, (), stopped)
            raise
        finally:
            self._session.window = None
        end = time.monotonic_ns()
        round_ = window_round(start, end, meters.end(start, end))
        self._finish_window(begun, context, (round_,), "rounds")
        handle.measurement = self._last

    def record(self, metric: str, value: float, *, better: Literal["lower", "higher"], unit: str = "") -> None:
        """Add a value of your own metric to what was measured last: kept, shown and gated like ours.

        `better` says which way is; several calls are several values of one launch, which comes to their median. Raises
        UsageError for a name of ours, or a number that is not finite. Where a run is continued, what it has recorded
        stays.
        """
        self._session.refuse_inside_window(f"record({metric!r}, ...)")
        new = checked(metric, value, better, unit, taken=Energy)
        if self._recalled[metric] > 0:
            self._recalled[metric] -= 1
            return
        self._last = self._session.recorder.record(added(self._measured(), new), new)

    def get(self, key: str) -> Quantity | None:
        """The last measurement's metric, or None where it could not be measured."""
        return self._measured().get(key)

    def __getattr__(self, name: str) -> Quantity:
        if name.startswith("_"):
            raise AttributeError(name)
        quantity: Quantity = getattr(self._measured(), name)
        return quantity

    def _measured(self) -> Measurement:
        if self._last is None:
            raise UsageError(
                "lem_energy has measured nothing yet: call lem_energy.measure(...), or end a lem_energy.window(...)"
            )
        return self._last

    def _blank(self, name: str, **fields: Any) -> Measurement:
        test = self._item.nodeid
        return Measurement(
            id=f"{test}#{name}" if name else test,
            test=test,
            name=name,
            experiment=experiment_id(self._item),
            known_as=known_as(self._item),
            **fields,
        )

    def _refuse_twice(self, name: str) -> None:
        test = self._item.nodeid
        if any(measurement.name == name for measurement in self._session.recorder.measured(test)):
            raise UsageError(f"{test}: a second measurement named {name!r}; give each its own: measure(..., name=...)")

    def _finish_window(self, begun: Measurement, context: Context, rounds: tuple[Round, ...], stopped: str) -> None:
        cycle = Cycle(
            index=cycle_index(self._item) or 0,
            launch="window",
            gpus=tuple(self._session.gpus),
            rounds=rounds,
            stopped=stopped,
            lanes=lanes(self._item.config, engine=False),
        )
        self._finish(begun, (cycle,), context)

    def _finish(self, begun: Measurement, cycles: tuple[Cycle, ...], context: Context) -> Measurement:
        """Write down what was measured, also of what was cut short; gives what the hooks made of it."""
        done = begun.model_copy(update={"cycles": cycles})
        done = done.model_copy(update={"metrics": metrics(cycles, with_arithmetic(context, done))})
        self._last = self._session.recorder.finish(done)
        self._recalled.clear()
        return self._last


class _Listener:
    """Writes each round down as it ends, and shows what is being done."""

    def __init__(self, session: LemSession, measurement: Measurement, cycle: int) -> None:
        self._session = session
        self._measurement = measurement
        self._cycle = cycle

    def progress(self, text: str) -> None:
        """Put it on the progress line."""
        self._session.show(text)

    def round_done(self, phase: Phase, round_: Round, timelines: Sequence[Timeline] = ()) -> None:
        """Append it to the samples. Raises KeyboardInterrupt where the run was told to end after it."""
        self._session.recorder.round(self._measurement, self._cycle, phase, round_, timelines)
        self._session.stopping.round_ended()
