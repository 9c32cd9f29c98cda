"""Real vLLM on the CPU, offline: exact counts, the engine's own stamps, what it runs with, a clean end."""

from __future__ import annotations

import pytest
from engine_starts import is_gone
from vllm_starts import POOL, tokens_that_last, vllm

from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.specs import WorkloadSpec

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
BLOCK = 64
SHORT, LONG = tuple(range(3, 8)), tuple(range(20, 141))
ASKED = {"max_num_seqs": 16, "block_size": BLOCK, "kv_cache_dtype": "bfloat16", "seed": 3}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with vllm(tmp_path_factory.mktemp("offline"), **ASKED) as running:
        yield running


def test_every_request_gets_exactly_the_tokens_asked_for_in_every_pass(engine):
    prepared = engine.prepare(WorkloadSpec(batch=3, output_tokens=7, prompts=(SHORT, LONG)))
    result = engine.run(4)
    assert prepared.prompt_tokens == (5, 121, 5)
    assert (result.tokens, result.prompt_tokens, result.requests) == (4 * 3 * 7, 4 * 131, 12)
    assert [len(row) for row in result.token_ids] == [7, 7, 7]
    assert result.texts is None
    assert result.request_times == ()


def test_answers_are_greedy_and_in_the_order_of_their_prompts(engine):
    engine.prepare(WorkloadSpec(batch=3, output_tokens=7, prompts=(SHORT, LONG)))
    first, second = (engine.run(1).token_ids for _ in range(2))
    assert first == second
    assert first[0] == first[2] != first[1]


def test_more_requests_than_run_at_once_are_queued_and_all_answered(engine):
    engine.prepare(WorkloadSpec(batch=20, prompt_tokens=8, output_tokens=200))
    result = engine.run(1, hooks=True)
    assert result.tokens == 20 * 200
    half = sorted(times.decode_ms for times in result.request_times)[10] / 2
    assert sum(times.queue_ms > half for times in result.request_times) == 20 - ASKED["max_num_seqs"]


def test_the_engines_stamps_add_up_to_the_childs_own_clock(engine):
    tokens = tokens_that_last(engine, 4, batch=4)
    engine.prepare(WorkloadSpec(batch=4, prompt_tokens=32, output_tokens=tokens))
    result = engine.run(1, hooks=True)
    assert len(result.request_times) == 4
    for times in result.request_times:
        assert times.e2e_ms > 2000
        assert times.queue_ms + times.prefill_ms + times.decode_ms == pytest.approx(times.e2e_ms, rel=0.05)
        assert sum(times.gaps_ms) == pytest.approx(times.decode_ms, abs=0.01)
        assert times.ttft_ms + times.decode_ms <= times.e2e_ms <= 1e3 * result.seconds
        assert times.ttft_ms >= times.queue_ms + times.prefill_ms
        assert len(times.gaps_ms) == tokens - 1


def test_without_a_prefix_cache_repeated_prompts_are_computed_again(engine):
    engine.prepare(WorkloadSpec(batch=2, prompt_tokens=200, output_tokens=2))
    assert engine.run(3).counters["cached_tokens"] == 0


def test_the_peak_of_the_kv_cache_is_the_blocks_that_the_requests_held(engine):
    engine.prepare(WorkloadSpec(batch=4, prompt_tokens=BLOCK, output_tokens=BLOCK))
    counters = engine.run(2).counters
    blocks = engine.observed["engine"]["kv_cache_blocks"]
    assert counters["kv_cache_usage"] * (blocks - 1) == pytest.approx(4 * 2)
    assert counters["kv_cache_bytes"] == POOL
    assert counters["preemptions"] == 0
    assert counters["engine_steps"] >= 2 * BLOCK


def test_counters_that_were_not_asked_for_or_do_not_exist_are_absent(engine):
    engine.prepare(WorkloadSpec(output_tokens=2))
    counters = engine.run(1).counters
    assert {"engine_flops", "engine_read_bytes", "engine_write_bytes", "weights_bytes"} & counters.keys() == set()
    assert engine.run(1).memory == ()


def test_what_runs_is_read_back_from_the_engine(engine):
    observed = engine.observed
    assert {name: observed["options"][name] for name in ASKED} == ASKED
    assert observed["unread"] == []
    assert {name: observed["engine"][name] for name in ASKED} == ASKED
    assert observed["engine"]["max_model_len"] == 16384
    assert observed["engine"]["enable_prefix_caching"] is False
    assert observed["kv_cache_dtypes"] == ["bfloat16"]
    assert observed["kv_cache_bytes"] == POOL
    assert observed["precision"] == "bfloat16"
    assert observed["model_class"] == "LlamaForCausalLM"
    assert observed["attention_class"] == "CPU_ATTN"
    assert observed["compilation"] == {"mode": 0, "cudagraph_mode": "NONE"}
    assert observed["options"]["served"] is False
    assert "pytest_lem" not in observed["imported"]


def test_arrivals_over_time_are_refused_and_the_engine_lives_on(engine):
    with pytest.raises(UsageError, match="target_qps: backend 'vllm': requests that arrive over time need"):
        engine.prepare(WorkloadSpec(batch=2, target_qps=10))
    engine.prepare(WorkloadSpec(output_tokens=2))
    assert engine.run(1).tokens == 2


def test_more_tokens_than_the_model_has_positions_are_refused_and_the_engine_lives_on(engine):
    with pytest.raises(EngineError, match="= 17000 is more than the 16384 positions") as caught:
        engine.prepare(WorkloadSpec(prompt_tokens=16000, output_tokens=1000))
    assert caught.value.kind == "usage"
    assert engine.alive


def test_a_text_is_refused_where_the_model_has_no_tokenizer(engine):
    with pytest.raises(EngineError, match="text needs a tokenizer"):
        engine.prepare(WorkloadSpec(prompts=("two words",)))


def test_stop_leaves_no_process(engine):
    """The last test: it ends the module's engine."""
    pids = engine.pids()
    assert len(pids) >= 3  # ours, vLLM's core, its worker
    engine.stop()
    assert [pid for pid in pids if not is_gone(pid)] == []
    assert engine.pids() == set()
