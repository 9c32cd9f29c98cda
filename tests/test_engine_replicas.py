"""Data parallel replicas of the PyTorch engine on this CPU (gloo): who answers what, and what all of it comes to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from engine_starts import arriving, closed, spec, started, waves
from engine_starts import prepare as prepare_work
from test_engine_orphans import wait_gone

from pytest_lem.engines import registry
from pytest_lem.engines.protocol import PassResult
from pytest_lem.meters.registry import MeterSet
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.plugin.gpus import Gpus
from pytest_lem.plugin.pool import EnginePool
from pytest_lem.served import submission_notes

pytestmark = pytest.mark.torch
SHORT, LONG = tuple(range(3, 8)), tuple(range(20, 41))
# Five requests in waves of three and two: replica 0 answers the places 0, 2 and 4, replica 1 the places 1 and 3.
UNEVEN = waves([(SHORT, 12), (LONG, 12), (SHORT[:2], 9)], [(LONG[:7], 12), (LONG[3:], 12)])
TOKENS = 4 * 12 + 9
COMING = arriving(*((LONG[at:], 6, 0.02 * at) for at in range(5)))
WHOLE = 557_696  # parameters of synthetic:tiny


def replicas(count=2, **fields):
    options = {"num_threads": 1, "data_parallel_size": count, **fields.pop("options", {})}
    return spec("pytorch", **{"precision": "float32", "options": options, **fields})


def ran(engine, work, passes=1, hooks=False):
    prepare_work(engine, work)
    return engine.run(passes, hooks=hooks)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The tokens that one process makes of each work."""
    with started(replicas(1), tmp_path_factory.mktemp("single")) as engine:
        return {name: ran(engine, work).token_ids for name, work in (("waves", UNEVEN), ("coming", COMING))}


@dataclass(frozen=True)
class Life:
    """What two replicas did, from their start to the death of one of them."""

    observed: dict[str, Any]
    pids: set[int]
    waves: PassResult
    hooked: PassResult
    coming: PassResult
    clients: PassResult
    drawn: tuple[PassResult, PassResult]
    late: PassResult
    let_go_ns: int
    refusal: str
    death: EngineError
    left: list[int]


def started_late(engine, rank_1):
    """A run whose second rank is held from before the start until after it, and when that was let go.

    It has most of the work, so that it is the last to be done, too.
    """
    prepare_work(engine, waves([(SHORT, 2), (SHORT, 64)]))
    let_go = []

    def hold():
        os.kill(rank_1, signal.SIGSTOP)
        time.sleep(1.0)
        let_go.append(time.monotonic_ns())
        os.kill(rank_1, signal.SIGCONT)

    # All of them have met by then, and wait for the start.
    holder = threading.Timer(0.5, hold)
    holder.start()
    try:
        result = engine.run(1, start_ns=time.monotonic_ns() + 1_000_000_000)
    finally:
        holder.join()
    return result, let_go[0]


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """One for all tests of this module: starting it takes seconds."""
    with started(replicas(), tmp_path_factory.mktemp("two")) as engine:
        pids = engine.pids()
        prepare_work(engine, UNEVEN)
        uneven = engine.run(1), engine.run(3, hooks=True)
        coming = ran(engine, COMING, hooks=True)
        clients = ran(engine, closed(2, *((LONG[at:], 4) for at in range(6))), hooks=True)
        prepare_work(engine, waves([(SHORT, 16), (SHORT, 16)], temperature=1.0, seed=7))
        drawn = engine.run(1), engine.run(1)
        (other,) = pids - {engine.pid}
        late = started_late(engine, other)
        with pytest.raises(EngineError) as refused:
            prepare_work(engine, waves([(SHORT, 8)]))
        prepare_work(engine, UNEVEN)
        killer = threading.Timer(1.0, os.kill, (other, signal.SIGKILL))
        killer.start()
        with pytest.raises(EngineError) as died:
            engine.run(100_000)
        killer.join()
        return Life(
            engine.observed,
            pids,
            *uneven,
            coming,
            clients,
            drawn,
            *late,
            str(refused.value),
            died.value,
            wait_gone(pids, 0),
        )


def test_the_tokens_are_those_of_one_process_in_its_order(life, single):
    assert life.waves.token_ids == life.hooked.token_ids == single["waves"]
    assert life.coming.token_ids == single["coming"]


def test_tokens_are_what_each_replica_made_added_up_and_never_multiplied(life):
    assert (life.waves.tokens, life.hooked.tokens) == (TOKENS, 3 * TOKENS)
    assert [(each.rank, each.requests, each.tokens) for each in life.waves.ranks] == [(0, 3, 33), (1, 2, 24)]
    assert [(each.rank, each.requests, each.tokens) for each in life.hooked.ranks] == [(0, 9, 99), (1, 6, 72)]
    assert (life.hooked.requests, life.hooked.prompt_tokens) == (15, 3 * (5 + 21 + 2 + 7 + 18))


def test_what_was_padded_is_what_the_replicas_padded(life):
    # The first wave is 5 and 2 tokens wide on replica 0; no other prompt lies beside another.
    assert life.waves.counters["padding_tokens"] == 3
    assert life.waves.counters["wasted_tokens"] == 3
    assert life.hooked.counters["padding_tokens"] == 9


def test_every_request_has_the_times_of_the_replica_that_answered_it(life):
    times = life.hooked.request_times
    assert sum(each.count for each in times) == 15
    assert sorted(each.index for each in times) == sorted([0, 1, 2, 3, 4] * 3)
    # A replica's second wave is sent when its first is answered, whatever the other one does.
    for places in ((0, 4), (1, 3)):
        first, second = (next(each for each in times if each.index == place) for place in places)
        assert second.due_ms >= first.due_ms + first.ttft_ms + sum(first.gaps_ms)


def test_requests_that_come_over_time_go_to_one_replica_after_the_other(life):
    assert [(each.requests, each.tokens) for each in life.coming.ranks] == [(3, 18), (2, 12)]
    times = sorted(life.coming.request_times, key=lambda each: each.index)
    assert [each.index for each in times] == [0, 1, 2, 3, 4]
    for first, second in ((0, 2), (2, 4), (1, 3)):
        assert times[second].due_ms - times[first].due_ms == pytest.approx(40)  # of the same replica
    for each in times:
        assert each.sent_ms >= each.due_ms
        assert each.e2e_ms > each.ttft_ms


def test_each_client_asks_its_own_replica(life):
    assert [each.requests for each in life.clients.ranks] == [3, 3]
    times = {each.index: each for each in life.clients.request_times}
    for place in range(2, 6):
        assert times[place].due_ms >= times[place - 2].due_ms + times[place - 2].e2e_ms


def test_replicas_draw_different_tokens_and_the_same_ones_again(life):
    first, again = life.drawn
    assert first.token_ids == again.token_ids
    assert first.token_ids[0] != first.token_ids[1]


def test_what_runs_is_read_from_every_replica(life):
    observed = life.observed
    assert observed["options"]["data_parallel_size"] == 2
    assert (observed["options"]["tensor_parallel_size"], observed["options"]["pipeline_parallel_size"]) == (1, 1)
    assert observed["parameters"] == WHOLE
    assert {each["pid"] for each in observed["ranks"]} == life.pids
    assert len({each["weights"] for each in observed["ranks"]}) == 1


def test_every_replica_tells_its_own_memory(life):
    for result in (life.waves, life.coming):
        assert [each.weights_bytes for each in result.ranks] == [4 * WHOLE] * 2
        assert result.counters["weights_bytes"] == life.observed["weights_bytes"] == 8 * WHOLE
        assert all(each.resident_bytes > 50_000_000 for each in result.ranks)


def test_the_window_covers_the_work_of_every_replica(life):
    for result in (life.waves, life.hooked, life.coming, life.clients):
        starts, ends = [each.start_ns for each in result.ranks], [each.end_ns for each in result.ranks]
        assert result.start_ns <= min(starts) < max(starts) < min(ends) < max(ends) <= result.end_ns


def test_no_replica_begins_before_one_that_is_late_and_the_window_ends_with_the_last(life):
    first, late = life.late.ranks
    assert life.let_go_ns <= min(first.start_ns, late.start_ns)
    assert first.end_ns < late.end_ns <= life.late.end_ns


def test_fewer_requests_than_replicas_are_refused_and_they_live_on(life):
    assert life.refusal == "engine 'pytorch': requests: a pass has 1, for 2 replicas; ask for 2 at least"
    assert "run failed" in str(life.death)  # there was a run after it


def test_a_killed_replica_ends_the_run_with_its_log_and_no_process_left(life):
    assert str(life.death) == "engine 'pytorch': run failed: rank 1 died (signal SIGKILL)"
    assert life.death.kind == "died"
    assert all(line.startswith("[rank 1] ") for line in life.death.log_tail.splitlines())
    assert life.left == []


# Before any start


def test_each_replica_gets_a_gpu():
    asked = replicas(3)
    assert (asked.gpus, registry.entry("pytorch").ranks(asked.options)) == (3, 3)
    pool = EnginePool(Gpus(("GPU-a", "GPU-b"), 1, "pytest", print), Path(), print, print, lambda gpus: MeterSet())
    with pytest.raises(EngineError) as caught:
        pool.place(asked)
    assert str(caught.value).startswith("pytorch needs 3 GPU(s), 2 visible here ")


def test_replicas_alone_are_shown_a_gpu_each():
    shown = registry.entry("pytorch").own_gpu
    assert shown({"data_parallel_size": 2})
    assert not shown({"tensor_parallel_size": 2})
    assert not shown({"data_parallel_size": 1})


def test_one_request_for_two_replicas_is_refused():
    for workload, field in ((WorkloadSpec(batch=1), "batch"), (WorkloadSpec(batch=8, requests=1), "requests")):
        with pytest.raises(UsageError) as caught:
            registry.check_workload(replicas(), workload)
        assert str(caught.value) == (
            f"{field}: backend 'pytorch': data_parallel_size=2: a pass has 1 request(s), and a replica would have "
            "none; ask for requests=2 or more"
        )
    registry.check_workload(replicas(), WorkloadSpec(batch=1, requests=2))
    registry.check_workload(replicas(), WorkloadSpec(target_qps=4.0, requests=8))


def test_replicas_of_a_split_model_are_refused():
    for way in ("tensor_parallel_size", "pipeline_parallel_size"):
        with pytest.raises(UsageError) as caught:
            replicas(options={way: 2})
        assert str(caught.value) == (
            "pytorch: data_parallel_size=2: replicas of a model that ranks share are not built; take it, or "
            "tensor_parallel_size or pipeline_parallel_size"
        )


def test_an_uneven_share_is_said_and_an_even_one_is_not():
    assert submission_notes(replicas(), UNEVEN) == (
        "5 requests for 2 replicas: 3, 2; a pass ends when the last of them is done",
    )
    assert submission_notes(replicas(), waves([(SHORT, 8)] * 4)) == ()
    assert submission_notes(replicas(1), UNEVEN) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"cache_implementation": "static"},
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"prompt_lookup_num_tokens": 3},
        {"quantization": "8bit"},
        {"traffic": "queue"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_replica_runs_as_an_engine_of_one_process_does(tmp_path, options):
    if "quantization" in options and find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    work = COMING if "traffic" in options else waves([(LONG, 12)], [(SHORT, 12)])
    fields = {"precision": "bfloat16"} if "quantization" in options else {}
    with started(replicas(1, options=options, **fields), tmp_path / "one") as engine:
        wanted = ran(engine, work).token_ids
    with started(replicas(options=options, **fields), tmp_path / "two") as engine:
        result = ran(engine, work, passes=2)
    assert result.token_ids == wanted
    assert result.tokens == 2 * work.output_tokens


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"data_parallel_size": 2}, {"device_map": "auto"}], ids=["replicas", "placed"])
def test_a_stored_model_is_loaded_so_too(tmp_path, single, options):
    program = str(Path(__file__).with_name("torch_lab.py"))
    subprocess.run([sys.executable, program, str(tmp_path / "saved")], capture_output=True, check=True)
    with started(replicas(1, model=str(tmp_path / "saved"), options=options), tmp_path / "log") as engine:
        assert ran(engine, UNEVEN).token_ids == single["waves"]
