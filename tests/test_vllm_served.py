"""Real vLLM on the CPU, served: requests arrive over time and stream; prefix cache and FLOPs counters on."""

from __future__ import annotations

import pytest
from vllm_starts import tokens_that_last, vllm

from pytest_lem.model.specs import WorkloadSpec

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
BLOCK = 32


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    options = {"served": True, "enable_prefix_caching": True, "enable_mfu_metrics": True, "block_size": BLOCK}
    with vllm(tmp_path_factory.mktemp("served"), **options) as running:
        yield running


def test_what_runs_is_read_back_from_the_engine(engine):
    options = engine.observed["options"]
    assert options["served"] is options["enable_prefix_caching"] is options["enable_mfu_metrics"] is True
    assert engine.observed["engine"]["enable_prefix_caching"] is True
    assert engine.observed["engine"]["block_size"] == BLOCK


def test_every_request_gets_exactly_the_tokens_asked_for_in_every_pass(engine):
    prompts = (tuple(range(3, 8)), tuple(range(20, 141)))
    prepared = engine.prepare(WorkloadSpec(batch=3, output_tokens=7, prompts=prompts))
    result = engine.run(4)
    assert prepared.prompt_tokens == (5, 121, 5)
    assert (result.tokens, result.prompt_tokens, result.requests) == (4 * 3 * 7, 4 * 131, 12)
    assert [len(row) for row in result.token_ids] == [7, 7, 7]


def test_with_a_prefix_cache_the_whole_blocks_of_repeated_prompts_are_not_computed_again(engine):
    engine.prepare(WorkloadSpec(batch=2, prompt_tokens=3 * BLOCK + 4, output_tokens=2, seed=11))
    first, again = (engine.run(1).counters for _ in range(2))
    assert first["cached_tokens"] == 0
    assert again["cached_tokens"] == 2 * 3 * BLOCK
    assert engine.run(3).counters["cached_tokens"] == 3 * 2 * 3 * BLOCK
    assert again["engine_flops"] < first["engine_flops"] / 4


def test_flops_and_bytes_are_those_of_the_run_alone(engine):
    engine.prepare(WorkloadSpec(batch=1, prompt_tokens=8, output_tokens=20, seed=12))
    once, twice = (engine.run(passes).counters for passes in (1, 2))
    for name in ("engine_flops", "engine_read_bytes", "engine_write_bytes"):
        assert twice[name] == 2 * once[name] > 0
    # Two layers for each of 27 tokens, the head for each of 20, and the attention of every token to those before it,
    # where vLLM counts the whole square of the prompt.
    layers, head, attention = 2 * 147_456, 128 * 1024, 2 * 2 * 4 * 32
    contexts = 8 * 8 + sum(range(9, 28))
    assert once["engine_flops"] == 2 * (27 * layers + 20 * head + contexts * attention)


def test_the_engines_stamps_add_up_to_the_childs_own_clock(engine):
    tokens = tokens_that_last(engine, 4, batch=4)
    engine.prepare(WorkloadSpec(batch=4, prompt_tokens=32, output_tokens=tokens, seed=13))
    for times in engine.run(1, hooks=True).request_times:
        assert times.e2e_ms > 2000
        assert times.queue_ms + times.prefill_ms + times.decode_ms == pytest.approx(times.e2e_ms, rel=0.05)
        assert sum(times.gaps_ms) == pytest.approx(times.decode_ms, abs=0.01)
        assert len(times.gaps_ms) == tokens - 1


def test_requests_are_sent_when_they_are_due(engine):
    workload = WorkloadSpec(batch=6, prompt_tokens=16, output_tokens=4, target_qps=2, seed=14)
    engine.prepare(workload)
    due = [request.arrival_s for request in engine.work.requests]
    result = engine.run(1, hooks=True)
    assert result.seconds >= due[-1] > 1
    start = result.request_times[0].due_ms - 1e3 * due[0]
    assert start >= 0
    for at, times in zip(due, result.request_times, strict=True):
        assert times.due_ms - start == pytest.approx(1e3 * at, abs=0.01)
        assert 0 <= times.sent_ms - times.due_ms < times.ttft_ms <= times.e2e_ms <= 1e3 * (result.seconds - at)


def test_every_pass_has_the_same_traffic(engine):
    workload = WorkloadSpec(batch=4, prompt_tokens=16, output_tokens=4, target_qps=10, seed=15)
    engine.prepare(workload)
    result = engine.run(2, hooks=True)
    assert result.seconds > 2 * engine.work.seconds > 0.2
    assert (result.tokens, len(result.request_times)) == (2 * 4 * 4, 8)
