"""transformers on the CPU, wave by wave: every request its own length, the same answers as alone, waste told."""

from __future__ import annotations

import pytest
from engine_starts import prepare, spec, started, waves

from pytest_lem.engines import registry
from pytest_lem.model.decoding import DecodingSpec
from pytest_lem.model.errors import EngineError, UsageError
from pytest_lem.model.lengths import Lengths
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.specs import EngineSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.service import is_good

pytestmark = pytest.mark.torch
SHORT, LONG, OTHER = tuple(range(3, 8)), tuple(range(20, 41)), tuple(range(300, 310))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    asked = spec("pytorch", precision="float32", options={"num_threads": 1})
    with started(asked, tmp_path_factory.mktemp("engine")) as running:
        yield running


def answers(engine, work):
    prepare(engine, work)
    return engine.run(1).token_ids


def test_each_request_gets_its_own_number_of_tokens_wave_by_wave(engine):
    work = waves([(SHORT, 7), (LONG, 3)], [(OTHER, 5)], [(SHORT, 1), (OTHER, 2), (LONG, 9)])
    assert prepare(engine, work).prompt_tokens == (5, 21, 10, 5, 10, 21)
    result = engine.run(2)
    assert [len(row) for row in result.token_ids] == [7, 3, 5, 1, 2, 9]
    assert (result.tokens, result.requests, result.prompt_tokens) == (2 * 27, 12, 2 * 72)


def test_waves_may_take_requests_in_any_order(engine):
    in_order = waves([(SHORT, 7), (LONG, 3), (OTHER, 5)])
    shuffled = in_order.replace(waves=((2, 0), (1,)))
    assert answers(engine, shuffled) == answers(engine, in_order)


def test_a_greedy_answer_does_not_depend_on_its_wave(engine):
    alone = [answers(engine, waves([(prompt, length)]))[0] for prompt, length in ((SHORT, 12), (LONG, 5), (OTHER, 9))]
    assert list(answers(engine, waves([(SHORT, 12), (LONG, 5), (OTHER, 9)]))) == alone
    assert list(answers(engine, waves([(SHORT, 12)], [(LONG, 5), (OTHER, 9)]))) == alone


def test_padding_and_tokens_that_nobody_asked_for_are_told_and_counted_nowhere_else(engine):
    prepare(engine, waves([(SHORT, 7), (LONG, 3)], [(OTHER, 5)], [(SHORT, 4), (OTHER, 4)]))
    result = engine.run(3)
    assert result.counters["padding_tokens"] == 3 * ((21 - 5) + 0 + (10 - 5))
    assert result.counters["wasted_tokens"] == 3 * ((7 - 3) + 0 + 0)
    assert (result.tokens, result.prompt_tokens) == (3 * 23, 3 * 51)


def test_requests_of_a_wave_with_equal_lengths_share_their_times_and_the_others_have_their_own(engine):
    prepare(engine, waves([(SHORT, 6), (LONG, 2), (OTHER, 6)], [(LONG, 3)]))
    result = engine.run(2, hooks=True)
    told = [(times.index, times.count, len(times.gaps_ms)) for times in result.request_times]
    assert told == [(1, 1, 1), (None, 2, 5), (3, 1, 2)] * 2
    short, pair, second, *_ = result.request_times
    assert short.ttft_ms == pair.ttft_ms
    assert short.gaps_ms == pair.gaps_ms[:1]
    assert short.due_ms == pair.due_ms == pair.sent_ms >= 0
    assert second.due_ms >= pair.due_ms + pair.ttft_ms + sum(pair.gaps_ms)
    last = result.request_times[-1]
    assert last.due_ms + last.ttft_ms + sum(last.gaps_ms) <= 1e3 * result.seconds


def test_a_request_of_a_wave_is_answered_when_the_longest_of_its_wave_is(engine):
    prepare(engine, waves([(SHORT, 9), (LONG, 2)], [(OTHER, 3)]))
    short, long, second = engine.run(1, hooks=True).request_times
    assert (len(short.gaps_ms), len(long.gaps_ms)) == (1, 8)
    assert short.e2e_ms == long.e2e_ms == pytest.approx(long.ttft_ms + sum(long.gaps_ms))
    assert short.e2e_ms > short.ttft_ms + sum(short.gaps_ms)
    assert second.e2e_ms == pytest.approx(second.ttft_ms + sum(second.gaps_ms))
    assert not is_good(short, ServiceLevel(e2el_ms=short.e2e_ms - 1e-6))


def test_the_same_seed_draws_the_same_tokens_and_another_one_others(engine):
    def drawn(**decoding):
        return answers(engine, waves([(SHORT, 16), (SHORT, 16)], temperature=1.0, **decoding))

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    one, two = drawn(seed=1)
    assert one != two
    assert drawn() != drawn()


def test_every_pass_draws_the_same_tokens_from_a_seed(engine):
    prepare(engine, waves([(SHORT, 16)], [(LONG, 8)], temperature=1.0, seed=4))
    assert engine.run(1).token_ids == engine.run(3).token_ids


def test_every_field_of_decoding_reaches_the_engine(engine):
    greedy = answers(engine, waves([(SHORT, 24)]))
    of_one = ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"top_h": 1e-6}, {"epsilon_cutoff": 0.999})
    for certain in (*of_one, {"temperature": 1e-4}):
        assert answers(engine, waves([(SHORT, 24)], **{"temperature": 1.0, **certain})) == greedy
    assert len(set(greedy[0])) < 24  # random weights go round in circles
    (new,) = answers(engine, waves([(SHORT, 24)], repetition_penalty=1e4))
    assert len(set(new)) == 24


def test_what_is_left_open_is_not_cut_off_by_a_default(engine):
    """A flat distribution over 1024 tokens, drawn from 400 times: transformers' own top_k would leave 50 of them."""

    def drawn(**decoding):
        return set(answers(engine, waves([(SHORT, 1)] * 400, temperature=100.0, seed=3, **decoding)))

    assert len(drawn()) > 200
    assert len(drawn(top_k=50)) <= 50
    assert len(drawn(typical_p=1e-6)) == 1
    # About half of the tokens are likelier than exp(-entropy), near which the eta is that cuts off.
    assert len(drawn(eta_cutoff=0.999)) < len(drawn()) - 20


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_a_penalty_that_transformers_does_not_have_is_refused_before_anything_starts(name):
    with pytest.raises(UsageError) as caught:
        registry.check_workload(EngineSpec(backend="pytorch"), WorkloadSpec(decoding=DecodingSpec(**{name: 0.5})))
    assert str(caught.value) == (
        f"decoding.{name}: backend 'pytorch': transformers does not have it; leave it out, or take repetition_penalty"
    )
    registry.check_workload(EngineSpec(backend="pytorch"), WorkloadSpec(decoding=DecodingSpec(**{name: 0.0})))


def test_one_generator_cannot_repeat_what_requests_over_time_draw(engine):
    decoding = DecodingSpec(temperature=1.0, seed=1)
    registry.check_workload(EngineSpec(backend="pytorch"), WorkloadSpec(decoding=decoding))
    with pytest.raises(UsageError, match=r"decoding\.seed: .* an order that depends on when they come"):
        registry.check_workload(
            EngineSpec(backend="pytorch"), WorkloadSpec(decoding=decoding, traffic=TrafficSpec(qps=1))
        )


def test_lengths_that_are_drawn_and_waves_are_not_refused():
    drawn = Lengths(distribution="uniform", low=1, high=9)
    registry.check_workload(
        EngineSpec(backend="pytorch"),
        WorkloadSpec(prompt_tokens=drawn, output_tokens=drawn, batching="sorted_dynamic", requests=9),
    )


def test_what_the_adapter_does_not_know_is_refused_in_one_line_and_the_engine_lives_on(engine):
    with pytest.raises(EngineError) as caught:
        prepare(engine, waves([(SHORT, 2)], mirostat=2))
    assert str(caught.value) == (
        "engine 'pytorch': decoding.mirostat: transformers has no such parameter; "
        "it has temperature, top_p, top_k, min_p, typical_p, top_h, epsilon_cutoff, eta_cutoff, repetition_penalty, "
        "seed"
    )
    assert len(answers(engine, waves([(SHORT, 2)]))[0]) == 2


def test_a_wave_that_takes_more_positions_than_the_model_has_is_refused(engine):
    with pytest.raises(EngineError, match=r"= 131077 is more than the 131072 positions of the model"):
        prepare(engine, waves([(SHORT, 2)], [(SHORT, 131072)]))
    with pytest.raises(EngineError, match=r"= 131073 is more than the 131072 positions of the model"):
        prepare(engine, waves([(SHORT, 131052), (LONG, 1)]))
