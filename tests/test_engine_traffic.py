"""transformers on the CPU under traffic: continuous batching, a queue of batches, an open loop, a closed one."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from engine_starts import arriving, closed, most_in_flight, prepare, sent_unanswered, spec, started, waves

from pytest_lem.engines.dispatch import dispatch_delays, dispatch_fault
from pytest_lem.model.errors import EngineError

pytestmark = pytest.mark.torch
SHORT, LONG, OTHER = tuple(range(3, 8)), tuple(range(20, 141)), tuple(range(300, 340))
MANY = 400  # tokens that last about a second
WAYS = ("continuous", "queue")


def pytorch(**options):
    return spec("pytorch", precision="float32", options={"num_threads": 1, **options})


@pytest.fixture(scope="module", params=WAYS)
def engine(tmp_path_factory, request):
    with started(pytorch(traffic=request.param), tmp_path_factory.mktemp("engine")) as running:
        yield running


def way(engine):
    return engine.observed["options"]["traffic"]


def run(engine, work, passes=1):
    prepare(engine, work)
    return engine.run(passes, hooks=True)


def test_continuous_batching_is_taken_where_nothing_is_said(tmp_path):
    with started(pytorch(), tmp_path) as engine:
        assert way(engine) == "continuous"


def test_a_model_without_a_cache_is_queued_and_continuous_batching_of_it_refused(tmp_path):
    with started(pytorch(use_cache=False), tmp_path) as engine:
        assert way(engine) == "queue"
        assert [len(row) for row in run(engine, arriving((SHORT, 3, 0.0), (LONG, 2, 0.01))).token_ids] == [3, 2]
    with pytest.raises(EngineError) as caught, started(pytorch(use_cache=False, traffic="continuous"), tmp_path):
        pass
    assert str(caught.value).endswith("pytorch: traffic='continuous': it needs use_cache; take 'queue'")


SAVED = """
import sys
from transformers import MambaConfig, MambaForCausalLM, set_seed

set_seed(0)
small = MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=8)
MambaForCausalLM(small).save_pretrained(sys.argv[1])
"""


def test_a_model_of_other_layers_than_attention_is_queued_and_answers_as_it_does_alone(tmp_path):
    folder = str(tmp_path / "mamba")
    subprocess.run([sys.executable, "-c", SAVED, folder], check=True)
    with started(spec("pytorch", precision="float32", model=folder, options={"num_threads": 1}), tmp_path) as engine:
        assert way(engine) == "queue"
        prepare(engine, waves([(SHORT, MANY)], [(SHORT, 6)], [(OTHER, 4)]))
        alone = engine.run(1).token_ids
        # The others come while the first runs, wait for it, and share a batch.
        together = run(engine, arriving((SHORT, MANY, 0.0), (SHORT, 6, 0.01), (OTHER, 4, 0.01), batch=2))
        assert together.token_ids == alone
        assert together.counters["padding_tokens"] == len(OTHER) - len(SHORT)


def test_answers_are_those_of_each_request_alone_and_as_long_as_asked(engine):
    requests = ((SHORT, 12), (LONG, 5), (OTHER, 9))
    prepare(engine, waves(*[[request] for request in requests]))
    alone = engine.run(1).token_ids
    assert [len(row) for row in alone] == [12, 5, 9]
    opened = arriving(*((*request, 0.01 * place) for place, request in enumerate(requests)), batch=3)
    assert run(engine, opened).token_ids == alone
    assert run(engine, closed(2, *requests, batch=2)).token_ids == alone


def test_counts_are_exact_over_passes_with_and_without_hooks(engine):
    prepare(engine, arriving((SHORT, 12, 0.0), (LONG, 5, 0.02), (OTHER, 1, 0.03), batch=2))
    for hooks in (False, True):
        result = engine.run(3, hooks=hooks)
        assert (result.tokens, result.requests, result.prompt_tokens) == (3 * 18, 9, 3 * 166)
        assert [len(times.gaps_ms) for times in result.request_times] == ([11, 4, 0] * 3 if hooks else []) or hooks
    assert sorted(times.index for times in result.request_times) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_one_slow_request_delays_the_sending_of_no_other(engine):
    # A tenth of a second after it: a busy machine is late to take it, and would take the first of them along.
    arrivals = [0.1 + 0.005 * place for place in range(1, 11)]
    result = run(engine, arriving((LONG, MANY, 0.0), *((SHORT, 3, due) for due in arrivals), batch=16))
    by_place = sorted(result.request_times, key=lambda times: times.index)
    slow, *quick = by_place
    assert slow.e2e_ms > 160  # all others came while it ran
    start = slow.due_ms
    assert [times.due_ms - start for times in quick] == pytest.approx([1e3 * due for due in arrivals], abs=1)
    assert min(dispatch_delays(result.request_times)) >= 0
    assert dispatch_fault(result.request_times, arriving((LONG, MANY, 0.0), (SHORT, 3, 4.0))) is None
    ended = slow.due_ms + slow.e2e_ms
    if way(engine) == "continuous":
        assert sum(times.due_ms + times.e2e_ms < ended for times in quick) >= 8
    else:  # they wait for its batch, and run together in the next
        assert min(times.due_ms + times.ttft_ms for times in quick) > ended
        assert min(times.queue_ms for times in quick) > 0
        assert len({times.due_ms + times.e2e_ms for times in quick}) == 1


def test_the_stamps_of_a_request_are_in_order_and_within_the_run(engine):
    result = run(engine, arriving((OTHER, 20, 0.0), (SHORT, 10, 0.05), (LONG, 15, 0.1), batch=3), passes=2)
    for times in result.request_times:
        first = times.due_ms + times.ttft_ms
        last = first + sum(times.gaps_ms)
        answered = times.due_ms + times.e2e_ms
        assert times.due_ms <= times.sent_ms <= times.sent_ms + times.queue_ms <= first
        assert first < last <= answered + 0.01
        assert answered <= 1e3 * result.seconds + 1
        assert min(times.gaps_ms) > 0


def test_a_closed_loop_never_has_more_than_its_clients_in_flight(engine):
    lengths = [15, 20, 25, 30, *(random.Random(place).randint(1, 30) for place in range(16))]
    work = closed(4, *((OTHER, length) for length in lengths), batch=4)
    result = run(engine, work)
    assert [len(row) for row in result.token_ids] == lengths
    assert most_in_flight(result.request_times) == 4
    assert sent_unanswered(result.request_times) == 4
    assert all(times.due_ms == times.sent_ms for times in result.request_times)


def test_a_queue_takes_up_to_a_batch_and_tells_its_padding(tmp_path):
    with started(pytorch(traffic="queue"), tmp_path) as engine:
        result = run(engine, closed(4, (SHORT, 3), (LONG, 3), (SHORT, 5), (OTHER, 2), batch=2))
        assert result.counters["padding_tokens"] == (121 - 5) + (40 - 5)
        assert result.counters["wasted_tokens"] == 3
        assert len({times.due_ms + times.e2e_ms for times in result.request_times}) == 2


def test_continuous_batching_has_no_padding_and_shares_no_prompt(tmp_path):
    with started(pytorch(traffic="continuous"), tmp_path) as engine:
        result = run(engine, closed(4, *[(tuple(range(3, 603)), 3)] * 8))
        assert (result.counters["padding_tokens"], result.counters["wasted_tokens"]) == (0, 0)
        assert len(set(result.token_ids)) == 1


def test_tokens_can_be_drawn_under_traffic(engine):
    work = closed(2, *[(SHORT, 24)] * 4, batch=2).replace(decoding={"temperature": 1.0, "top_p": 0.9, "top_k": 100})
    assert len(set(run(engine, work).token_ids)) == 4
    greedy = run(engine, work.replace(decoding={"temperature": 0.0})).token_ids
    for certain in ({"top_k": 1}, {"min_p": 1.0}, {"top_h": 1e-6}, {"epsilon_cutoff": 0.999}):
        assert run(engine, work.replace(decoding={"temperature": 1.0, **certain})).token_ids == greedy
    typical = work.replace(decoding={"temperature": 1.0, "typical_p": 1e-6})
    assert len(set(run(engine, typical).token_ids)) == 1  # one token is the most typical


def test_a_way_to_draw_that_continuous_batching_leaves_out_is_refused(engine):
    work = closed(1, (SHORT, 24)).replace(decoding={"repetition_penalty": 1e4})
    if way(engine) == "queue":
        assert len(set(run(engine, work).token_ids[0])) == 24
    else:
        with pytest.raises(EngineError) as caught:
            prepare(engine, work)
        assert str(caught.value) == (
            "engine 'pytorch': decoding.repetition_penalty: transformers leaves it out under continuous batching; "
            "take pytorch={'traffic': 'queue'}, or leave it out"
        )
        assert engine.alive


def test_many_requests_at_once_are_all_answered(engine):
    work = arriving(*((OTHER, 4, 0.0) for _ in range(60)), batch=16)
    result = run(engine, work)
    assert result.tokens == 240
    assert sorted(times.index for times in result.request_times) == list(range(60))


def test_a_prompt_longer_than_the_model_is_one_line(engine):
    with pytest.raises(EngineError, match=r"= 131077 is more than the 131072 positions of the model"):
        prepare(engine, arriving((LONG, 3, 0.0), (SHORT, 131072, 0.0)))
    assert engine.alive


def test_a_fault_in_the_thread_that_batches_ends_the_run_and_is_named(tmp_path):
    """transformers only logs it; a run that waited for the answers would hang."""
    with started(pytorch(traffic="continuous"), tmp_path) as engine:
        prepare(engine, arriving((SHORT, 5, 0.0), ((5000,), 5, 0.05), (OTHER, 5, 0.1)))  # of 1024 tokens
        with pytest.raises(EngineError) as caught:
            engine.run(1, timeout=60)
    assert caught.value.kind == "died"
    assert "RuntimeError: continuous batching failed: index out of range" in str(caught.value)
    assert "IndexError" in caught.value.log_tail
