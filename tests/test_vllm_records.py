"""What vLLM tells of a run, added up: a record a step, a chunk of tokens, a request's stamps."""

from __future__ import annotations

from itertools import accumulate
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.engines.child.vllm_records import Answer, StepLog, TokenLog, request_times
from pytest_lem.model.latency import RequestTimes

SUFFIX = "-0a1b2c3d"
chunk = st.tuples(st.floats(0, 10), st.integers(1, 8))


def a_step(usage: float = 0.0, preempted: int = 0, flops: int | None = None, read: int = 0, write: int = 0):
    """What vLLM hands to a stat logger once a step."""
    counted = flops is not None and SimpleNamespace(
        num_flops_per_gpu=flops, num_read_bytes_per_gpu=read, num_write_bytes_per_gpu=write
    )
    scheduler = SimpleNamespace(kv_cache_usage=usage, perf_stats=counted or None)
    return scheduler, SimpleNamespace(num_preempted_reqs=preempted)


class Processor:
    """vLLM's output processor, as far as it is watched."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def process_outputs(self, engine_core_outputs, engine_core_timestamp=None, iteration_stats=None):
        self.seen.append([output.request_id for output in engine_core_outputs])
        return "processed"

    def step(self, stamp: float, **tokens: int) -> str:
        """One step of the core: so many new tokens for each request."""
        outputs = [
            SimpleNamespace(request_id=name + SUFFIX, new_token_ids=[1] * count) for name, count in tokens.items()
        ]
        return self.process_outputs(outputs, engine_core_timestamp=stamp, iteration_stats=None)


def an_answer(
    name: str = "0", sent: float = 0.0, stamps: tuple[float, ...] = (0, 0, 0, 0), due: float | None = None, **output
) -> Answer:
    names = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
    metrics = SimpleNamespace(**dict(zip(names, stamps, strict=True)))
    return Answer(name, 3, sent if due is None else due, sent, SimpleNamespace(metrics=metrics, **output))


def times_of(chunks, sent: float = 0.0, stamps: tuple[float, ...] = (0, 0, 0, 0), received: float = 0.0):
    """The times of one request whose tokens came in `chunks` (stamp, tokens)."""
    log = TokenLog(chunks={"0": list(chunks)}, received={"0": received})
    return RequestTimes.model_validate(request_times(an_answer(sent=sent, stamps=stamps), log, began=0.0))


def test_a_run_keeps_the_peak_of_the_kv_cache_and_the_sum_of_preemptions():
    steps = StepLog()
    for usage, preempted in ((0.2, 0), (0.7, 2), (0.1, 1)):
        steps.record(*a_step(usage, preempted))
    assert (steps.steps, steps.kv_cache_usage, steps.preemptions) == (3, 0.7, 3)


def test_flops_and_bytes_are_summed_over_steps_and_gpus():
    steps = StepLog(gpus=2)
    steps.record(*a_step(flops=100, read=10, write=1))
    steps.record(*a_step(flops=50, read=5, write=2))
    assert (steps.flops, steps.read_bytes, steps.write_bytes) == (300, 30, 6)


def test_an_engine_that_counts_no_flops_has_none_instead_of_zero():
    steps = StepLog()
    steps.record(*a_step(0.5))
    assert (steps.flops, steps.read_bytes, steps.write_bytes) == (None, None, None)


def test_an_empty_step_for_which_vllm_still_counts_the_weights_reads_nothing():
    steps = StepLog()
    steps.record(*a_step(flops=100, read=10, write=1))
    steps.record(*a_step(flops=0, read=10, write=0))
    assert (steps.steps, steps.flops, steps.read_bytes, steps.write_bytes) == (2, 100, 10, 1)


def test_either_part_of_a_record_may_be_missing():
    steps = StepLog()
    scheduler, iteration = a_step(0.5, 3, flops=7)
    steps.record(scheduler, None)
    steps.record(None, iteration, mm_cache_stats=None, engine_idx=0)
    steps.record(None, None, None, 0)
    assert (steps.steps, steps.kv_cache_usage, steps.preemptions, steps.flops) == (3, 0.5, 3, 7)


def test_a_new_run_forgets_the_last_one_but_not_its_gpus():
    steps = StepLog(gpus=4)
    steps.record(*a_step(0.9, 1, flops=1))
    steps.reset()
    assert steps == StepLog(gpus=4)


def test_a_step_log_answers_whatever_else_vllm_calls_on_a_logger():
    steps = StepLog()
    steps.log()
    steps.log_engine_initialized()
    steps.record_sleep_state(True, 1)
    steps.record_admission_rejection("queue full")
    assert steps == StepLog()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5), st.integers(1, 10**15)), min_size=1), st.integers(1, 8))
def test_sums_and_peaks_do_not_depend_on_the_order_of_steps(found, gpus):
    forwards, backwards = StepLog(gpus), StepLog(gpus)
    for log, steps in ((forwards, found), (backwards, found[::-1])):
        for usage, preempted, flops in steps:
            log.record(*a_step(usage, preempted, flops=flops))
    assert forwards == backwards
    assert forwards.kv_cache_usage == max(usage for usage, _, _ in found)
    assert forwards.flops == gpus * sum(flops for _, _, flops in found)


def test_a_token_log_keeps_the_cores_stamp_and_the_number_of_every_chunk():
    processor, log = Processor(), TokenLog()
    log.attach(processor)
    assert processor.step(1.0, a=1, b=1) == "processed"
    processor.step(1.5, a=3)
    assert log.chunks == {"a": [(1.0, 1), (1.5, 3)], "b": [(1.0, 1)]}
    assert processor.seen == [["a" + SUFFIX, "b" + SUFFIX], ["a" + SUFFIX]]


def test_the_stamp_may_be_given_by_its_place():
    processor, log = Processor(), TokenLog()
    log.attach(processor)
    processor.process_outputs([SimpleNamespace(request_id="a" + SUFFIX, new_token_ids=[1])], 2.5, None)
    assert log.chunks == {"a": [(2.5, 1)]}


def test_a_step_without_new_tokens_is_no_chunk():
    processor, log = Processor(), TokenLog()
    log.attach(processor)
    processor.step(1.0, a=0)
    processor.step(2.0, a=1)
    assert log.chunks == {"a": [(2.0, 1)]}


def test_a_request_is_found_by_the_name_it_was_given_though_that_holds_dashes():
    processor, log = Processor(), TokenLog()
    log.attach(processor)
    processor.step(1.0, **{"request-1-2": 1})
    assert list(log.chunks) == list(log.received) == ["request-1-2"]


def test_nothing_is_heard_any_more_after_detaching_and_detaching_twice_is_harmless():
    processor, log = Processor(), TokenLog()
    log.attach(processor)
    for _ in range(2):
        TokenLog.detach(processor)
    assert processor.step(1.0, a=1) == "processed"
    assert log.chunks == {}


def test_queue_prefill_and_decode_lie_between_the_engines_stamps():
    times = times_of([(3.0, 1), (5.0, 1)], sent=0.5, stamps=(1.0, 1.25, 3.0, 5.0), received=5.5)
    assert (times.queue_ms, times.prefill_ms, times.decode_ms) == (250, 1750, 2000)
    assert (times.ttft_ms, times.e2e_ms, times.gaps_ms, times.count) == (2500, 5000, (2000,), 1)


def test_a_request_that_was_sent_late_waits_from_when_it_was_due():
    log = TokenLog(chunks={"0": [(7.0, 1)]}, received={"0": 7.5})
    times = request_times(an_answer(due=6.0, sent=6.25), log, began=4.0)
    assert (times["index"], times["due_ms"], times["sent_ms"]) == (3, 2000, 2250)
    assert (times["ttft_ms"], times["e2e_ms"]) == (1000, 1500)


def test_the_tokens_of_a_chunk_share_the_time_since_the_last_one():
    assert times_of([(1.0, 1), (1.6, 3), (1.7, 1)]).gaps_ms == pytest.approx((200, 200, 200, 100))


def test_the_first_chunk_of_several_tokens_has_no_gaps_between_them():
    assert times_of([(1.0, 3), (1.4, 2)]).gaps_ms == pytest.approx((0, 0, 200, 200))


def test_a_request_of_one_token_has_no_gaps():
    assert times_of([(1.0, 1)]).gaps_ms == ()


@given(st.floats(0, 1e6), st.lists(chunk, min_size=1, max_size=50))
def test_there_is_a_gap_for_every_token_but_the_first_and_they_sum_to_the_decode(start, steps):
    stamps = [start + after for after in accumulate((gap for gap, _ in steps[1:]), initial=0.0)]
    chunks = list(zip(stamps, (tokens for _, tokens in steps), strict=True))
    times = times_of(chunks, sent=start)
    assert len(times.gaps_ms) == sum(tokens for _, tokens in steps) - 1
    assert sum(times.gaps_ms) == pytest.approx(1e3 * (stamps[-1] - stamps[0]), abs=1e-3 + 1e-4 * len(times.gaps_ms))
    assert all(gap >= 0 for gap in times.gaps_ms)
    assert times.ttft_ms == 0


def test_an_answer_tells_its_tokens_and_those_of_its_prompt_that_were_cached():
    cached = an_answer(outputs=[SimpleNamespace(token_ids=(4, 5))], num_cached_tokens=64)
    assert (cached.token_ids, cached.cached_tokens) == ([4, 5], 64)
    assert an_answer(outputs=[], num_cached_tokens=None).cached_tokens == 0
