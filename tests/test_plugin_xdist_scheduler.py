"""Lanes in a model of xdist: its workers, its session loop, crashes at any moment, in any order of events."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.plugin.scheduler import HELD, ChosenScheduling, LaneScheduling

END = object()


class Worker:
    """As xdist's remote.py: an item starts when the next one, or the end, is known; `lane` is None for one too many."""

    def __init__(self, name, lane):
        self.gateway = SimpleNamespace(id=name)
        self.lane = lane
        self.queue = []

    @property
    def number(self):
        return self.lane[1] if self.lane else None

    @property
    def shutting_down(self):
        return END in self.queue

    def send_runtest_some(self, indices):
        assert not self.shutting_down
        self.queue += indices

    def shutdown(self):
        self.queue.append(END)

    @property
    def running(self):
        return self.queue[0] if len(self.queue) > 1 and self.queue[0] is not END else None

    @property
    def ended(self):
        return bool(self.queue) and self.queue[0] is END


class Run:
    """As xdist's DSession: hands events to the scheduler, replaces what crashed, ends when it says so."""

    def __init__(self, ids, lanes, surplus=0):
        self.ids = list(ids)
        self.workers = [
            Worker(f"gw{number}", ("", number) if number < lanes else None) for number in range(lanes + surplus)
        ]
        self.ran = []  # (lane, index), crashed ones too
        self.crashed = []
        self.reports = []
        hook = SimpleNamespace(pytest_collectreport=lambda report: self.reports.append(report))
        config = SimpleNamespace(hook=hook)
        self.scheduler = LaneScheduling(config, self.ids, engines(self.ids), self.workers, lambda worker: worker.lane)
        for worker in self.workers:
            self.scheduler.add_node_collection(worker, self.ids)
        self.scheduler.schedule()
        self.after_event()

    def after_event(self):
        assert all(len([item for item in worker.queue if item is not END]) <= HELD for worker in self.workers)
        if self.scheduler.tests_finished:
            for worker in self.scheduler.nodes:
                worker.shutdown()

    def step(self, worker):
        """What the worker can do next: run an item, or end. Whether it could."""
        if worker.running is not None:
            index = worker.queue.pop(0)
            self.ran.append((worker.number, index))
            self.scheduler.mark_test_complete(worker, index, 0.0)
        elif worker.ended:
            self.workers.remove(worker)
            assert self.scheduler.remove_node(worker) is None
        else:
            return False
        self.after_event()
        return True

    def crash(self, worker, *, collects=None):
        """Kill it, and start the replacement in its lane; gives the item that xdist reports as failed."""
        running = worker.running
        lost = self.scheduler.remove_node(worker)
        assert lost == (None if running is None else self.ids[running])
        if running is not None:
            self.ran.append((worker.number, running))
            self.crashed.append(running)
        self.workers.remove(worker)
        after = Worker(f"{worker.gateway.id}'", worker.lane)
        self.workers.append(after)
        self.scheduler.add_node(after)
        self.scheduler.add_node_collection(after, self.ids if collects is None else collects)
        self.scheduler.schedule()
        self.after_event()
        return lost

    def finish(self):
        while self.workers:
            assert any(self.step(worker) for worker in list(self.workers)), "every worker waits, nothing comes"

    def measures(self, index):
        return self.ids[index].endswith("c0]")


def experiments(*sizes):
    return [f"t.py::test[e{unit}-fake-bf16-b{item}-c0]" for unit, size in enumerate(sizes) for item in range(size)]


def engines(ids):
    """What workers tell of these ids: the number behind the e of an experiment."""
    return [int(nodeid.partition("[e")[2].partition("-")[0]) if "[e" in nodeid else None for nodeid in ids]


def plain(count):
    return [f"t.py::test_{number}" for number in range(count)]


def test_each_lane_runs_its_experiments_in_order_and_plain_tests_come_when_all_have_measured():
    run = Run([*plain(1), *experiments(2, 2, 2, 2), *plain(2)], lanes=2, surplus=1)
    first, second, surplus = run.workers
    assert (first.queue, second.queue, surplus.queue) == ([1, 2], [5, 6], [])
    for _ in range(3):
        run.step(first)
    assert first.queue == [4, 0]  # the plain test lets the last one start, and waits itself
    run.step(first)
    assert (first.running, surplus.queue) == (None, [])
    for _ in range(4):
        run.step(second)
    assert first.running == 0
    run.finish()
    assert [index for lane, index in run.ran if lane == 0 and run.measures(index)] == [1, 2, 3, 4]
    assert [index for lane, index in run.ran if lane == 1 and run.measures(index)] == [5, 6, 7, 8]
    assert sorted(index for _, index in run.ran) == list(range(11))


def test_a_worker_too_many_never_measures():
    run = Run([*experiments(3, 3), *plain(9)], lanes=1, surplus=2)
    run.finish()
    assert all(lane == 0 for lane, index in run.ran if run.measures(index))
    assert {lane for lane, _ in run.ran} == {0, None}


def test_a_crash_loses_one_item_and_the_rest_of_the_lane_goes_to_the_replacement():
    run = Run(experiments(4, 4), lanes=2)
    first = run.workers[0]
    run.step(first)
    assert run.crash(first) == "t.py::test[e0-fake-bf16-b1-c0]"
    run.finish()
    assert [index for lane, index in run.ran if lane == 0] == [0, 1, 2, 3]
    assert [index for lane, index in run.ran if lane == 1] == [4, 5, 6, 7]


def test_a_worker_that_dies_waiting_loses_nothing():
    run = Run([*experiments(1, 3), *plain(2)], lanes=2)
    first = run.workers[0]
    run.step(first)
    assert (first.queue, first.running) == ([4], None)
    assert run.crash(first) is None
    run.finish()
    assert sorted(index for _, index in run.ran) == list(range(6))


def test_an_item_that_is_asked_to_run_again_is_the_next_of_its_lane():
    run = Run(experiments(3, 3), lanes=2)
    first = run.workers[0]
    run.step(first)
    held = run.scheduler.remove_node(first)
    run.scheduler.mark_test_pending(held)
    run.workers[0] = after = Worker("gw2", ("", 0))
    run.scheduler.add_node(after)
    run.scheduler.add_node_collection(after, run.ids)
    run.scheduler.schedule()
    assert after.queue == [1, 2]
    run.finish()
    assert Counter(index for _, index in run.ran) == Counter(range(6))  # the crashed attempt is not counted here


def test_a_replacement_that_collects_other_tests_is_told_and_its_lane_goes_to_another():
    run = Run(experiments(4, 4), lanes=2)
    run.crash(run.workers[0], collects=["something else"])
    assert [report.longrepr for report in run.reports] == [
        "worker gw0' collected other tests than the first one; it gets none"
    ]
    run.finish()
    assert [index for lane, index in run.ran if lane == 1] == [4, 5, 6, 7, 1, 2, 3]


def test_where_no_lane_is_left_the_rest_stays_unrun_and_the_run_ends():
    run = Run(experiments(4), lanes=1)
    run.crash(run.workers[0], collects=["something else"])
    run.finish()
    assert run.ran == [(0, 0)]


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    before=st.integers(0, 3),
    after=st.integers(0, 5),
    lanes=st.integers(1, 4),
    surplus=st.integers(0, 2),
    data=st.data(),
)
def test_everything_runs_once_in_any_order_of_events_and_crashes(sizes, before, after, lanes, surplus, data):
    run = Run([*plain(before), *experiments(*sizes), *plain(after)], lanes, surplus)
    while run.workers:
        assert any(worker.running is not None or worker.ended for worker in run.workers)
        worker = data.draw(st.sampled_from(run.workers))
        if not worker.ended and len(run.crashed) < 3 and data.draw(st.integers(0, 9)) == 0:
            run.crash(worker)
        else:
            run.step(worker)
        left = {index for index in range(len(run.ids)) if run.measures(index)} - {index for _, index in run.ran}
        started = [worker.running for worker in run.workers if worker.running is not None]
        assert not left or all(map(run.measures, started))  # no plain test beside a measurement
    assert Counter(index for _, index in run.ran) == Counter(range(len(run.ids)))
    for lane in range(lanes):
        measured = [index for other, index in run.ran if other == lane and run.measures(index)]
        assert measured == sorted(measured)
    homes = {(run.ids[index].partition("-b")[0], lane) for lane, index in run.ran if run.measures(index)}
    assert len(homes) == len(sizes)  # an experiment's items on one lane


def test_experiments_of_one_engine_run_in_one_lane_whichever_test_names_them():
    ids = [
        f"t.py::test_{name}[e{engine}-fake-bf16-{words}b1-c{cycle}]"
        for engine in (0, 1)
        for cycle in (0, 1)
        for name, words in (("decode", "in8_"), ("decode", "in64_"), ("more", ""))
    ]
    run = Run([*ids, "t.py::test_decode[e0-fake-bf16-in8_b1-gate-joules_per_token]"], lanes=2)
    run.finish()
    assert [index for lane, index in run.ran if lane == 0] == [*range(6), 12]
    assert [index for lane, index in run.ran if lane == 1] == [*range(6, 12)]


class Theirs:
    """Stands for the scheduler that xdist would have made."""

    def __init__(self):
        self.nodes, self.collections, self.scheduled, self.completed = [], {}, 0, []
        self.collection_is_completed = self.tests_finished = self.has_pending = False

    def add_node(self, node):
        self.nodes.append(node)

    def add_node_collection(self, node, collection):
        self.collections[node] = collection

    def schedule(self):
        self.scheduled += 1

    def mark_test_complete(self, node, item_index, duration=0):
        self.completed.append(item_index)

    def remove_node(self, node):
        self.nodes.remove(node)
        return "theirs"


def chosen(*collections, lane=lambda worker: worker.lane):
    theirs = Theirs()
    quiet = SimpleNamespace(getplugin=lambda name: None)  # no terminal to announce a plan on
    workers = [Worker(f"gw{number}", ("", number)) for number in range(len(collections))]
    told = {worker: engines(collection) for worker, collection in zip(workers, collections, strict=True)}
    told = {worker: found if any(each is not None for each in found) else [] for worker, found in told.items()}
    scheduler = ChosenScheduling(SimpleNamespace(pluginmanager=quiet), theirs, lane, told.__getitem__)
    for worker, collection in zip(workers, collections, strict=True):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, collection)
    scheduler.schedule()
    return scheduler, theirs, workers


@pytest.mark.parametrize("collections", [(plain(3), plain(3)), (experiments(2), experiments(3))])
def test_without_an_experiment_or_agreement_all_is_left_to_xdist(collections):
    scheduler, theirs, workers = chosen(*collections)
    scheduler.mark_test_complete(workers[0], 1)
    assert (theirs.scheduled, theirs.completed, scheduler.nodes) == (1, [1], workers)
    assert scheduler.remove_node(workers[0]) == "theirs"
    assert not any(worker.queue for worker in workers)


def test_with_an_experiment_nothing_is_left_to_xdist():
    ids = [*plain(1), *experiments(2, 2)]
    scheduler, theirs, workers = chosen(ids, ids)
    assert [worker.queue for worker in workers] == [[1, 2], [3, 4]]
    assert (theirs.scheduled, scheduler.collection_is_completed, scheduler.has_pending) == (0, True, True)


def test_without_any_lane_the_run_ends_in_one_line():
    with pytest.raises(pytest.UsageError, match="no worker has a lane to measure in: pytest-lem must be installed"):
        chosen(experiments(2), lane=lambda worker: None)
