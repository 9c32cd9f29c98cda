"""Real vLLM on the CPU under every way of submitting: lengths of their own, waves, an open loop, a closed one."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import cache

import pytest
from engine_starts import arriving, closed, most_in_flight, prepare, sent_unanswered, waves
from vllm_starts import vllm

from pytest_lem.engines.dispatch import dispatch_delays, dispatch_fault
from pytest_lem.model.errors import EngineError

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
SHORT, LONG, OTHER = tuple(range(3, 8)), tuple(range(20, 141)), tuple(range(300, 340))
# A request of this many tokens lasts seconds; the others are answered meanwhile.
MANY = 1000


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A running engine of either kind, started when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def started(*, served):
            options = {"served": served, "max_num_seqs": 8}
            return stack.enter_context(vllm(tmp_path_factory.mktemp("engine"), precision="float32", **options))

        yield started


@pytest.fixture(params=[False, True], ids=["offline", "served"])
def engine(engines, request):
    return engines(served=request.param)


@pytest.fixture
def served(engines):
    return engines(served=True)


def answers(engine, work, **keywords):
    prepare(engine, work)
    return engine.run(1, **keywords).token_ids


def test_each_request_gets_its_own_number_of_tokens_wave_by_wave(engine):
    work = waves([(SHORT, 7), (LONG, 3)], [(OTHER, 5)], [(SHORT, 1), (OTHER, 2), (LONG, 9)])
    assert prepare(engine, work).prompt_tokens == (5, 121, 40, 5, 40, 121)
    result = engine.run(2)
    assert [len(row) for row in result.token_ids] == [7, 3, 5, 1, 2, 9]
    assert (result.tokens, result.requests, result.prompt_tokens) == (2 * 27, 12, 2 * 332)


def test_a_greedy_answer_does_not_depend_on_its_wave(engine):
    alone = [answers(engine, waves([(prompt, 12)]))[0] for prompt in (SHORT, LONG, OTHER)]
    assert list(answers(engine, waves([(SHORT, 12), (LONG, 12), (OTHER, 12)]))) == alone
    assert list(answers(engine, waves([(SHORT, 12)], [(LONG, 12), (OTHER, 12)]))) == alone


def test_a_wave_is_sent_when_the_one_before_it_has_been_answered(engine):
    prepare(engine, waves([(SHORT, 200), (LONG, 5)], [(OTHER, 5), (SHORT, 5)]))
    result = engine.run(1, hooks=True)
    first, second = result.request_times[:2], result.request_times[2:]
    assert [times.index for times in result.request_times] == [0, 1, 2, 3]
    answered = max(times.due_ms + times.e2e_ms for times in first)
    assert all(answered <= times.due_ms <= times.sent_ms for times in second)
    assert first[1].due_ms + first[1].e2e_ms < answered
    assert max(times.due_ms + times.e2e_ms for times in second) <= 1e3 * result.seconds


def test_the_same_seed_draws_the_same_tokens_and_another_one_others(engine):
    def drawn(**decoding):
        return answers(engine, waves([(SHORT, 16), (SHORT, 16)], temperature=1.0, **decoding))

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    one, two = drawn(seed=1)
    assert one != two
    assert drawn() != drawn()


def test_every_field_of_decoding_reaches_the_engine(engine):
    greedy = answers(engine, waves([(SHORT, 24)]))
    for certain in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert answers(engine, waves([(SHORT, 24)], temperature=1.0, **certain)) == greedy
    assert len(set(greedy[0])) < 24  # random weights go round in circles
    for against in ({"repetition_penalty": 1e4}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
        assert answers(engine, waves([(SHORT, 24)], **against)) != greedy
    again = answers(engine, waves([(SHORT, 24)], repetition_penalty=1e4))
    assert len(set(again[0])) == 24


@pytest.mark.parametrize(
    ("decoding", "words"),
    [
        ({"temperature": 0.001}, "decoding.temperature=0.001: vllm would take 0.01; ask for that"),
        ({"presence_penalty": 3.0}, "decoding: vllm: presence_penalty must be in [-2, 2], got 3.0."),
        ({"typical_p": 0.5}, "decoding.typical_p: vllm has no such parameter; it has temperature, top_p, top_k, "),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line_and_the_engine_lives_on(engine, decoding, words):
    with pytest.raises(EngineError) as caught:
        prepare(engine, waves([(SHORT, 2)], **decoding))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(answers(engine, waves([(SHORT, 2)]))[0]) == 2


def test_traffic_needs_a_served_engine(engines):
    with pytest.raises(EngineError, match=r"requests that come one by one need vllm=\{'served': True\}"):
        prepare(engines(served=False), closed(1, (SHORT, 2)))


def test_one_slow_request_delays_the_sending_of_no_other(served):
    others = [(SHORT, 3, 0.02 * place) for place in range(1, 20)]
    work = arriving((LONG, MANY, 0.0), *others)
    prepare(served, work)
    result = served.run(1, hooks=True)
    slow, *quick = result.request_times
    assert slow.e2e_ms > 400  # all others came while it ran
    waited = [times.due_ms - slow.due_ms for times in quick]
    assert waited == pytest.approx([20 * place for place in range(1, 20)], abs=0.01)
    assert min(dispatch_delays(result.request_times)) >= 0
    assert dispatch_fault(result.request_times, arriving((LONG, MANY, 0.0), (SHORT, 3, 2.0))) is None
    assert sum(times.due_ms + times.e2e_ms < slow.due_ms + slow.e2e_ms for times in quick) >= 15
    assert [len(row) for row in result.token_ids] == [MANY, *[3] * 19]


def test_every_pass_has_the_same_arrivals(served):
    prepare(served, arriving((SHORT, 4, 0.0), (OTHER, 2, 0.3)))
    first, second, third, fourth = served.run(2, hooks=True).request_times
    assert second.due_ms - first.due_ms == pytest.approx(300, abs=0.01)
    assert fourth.due_ms - third.due_ms == pytest.approx(300, abs=0.01)
    assert third.due_ms > second.due_ms + second.e2e_ms
    assert [times.index for times in (first, second, third, fourth)] == [0, 1, 0, 1]


def test_a_closed_loop_never_has_more_than_its_clients_in_flight(served):
    lengths = [30, 40, 50, 60, *(random.Random(place).randint(1, 60) for place in range(20))]
    prepare(served, closed(4, *((OTHER, length) for length in lengths)))
    result = served.run(1, hooks=True)
    assert [len(row) for row in result.token_ids] == lengths
    assert most_in_flight(result.request_times) == 4
    assert sent_unanswered(result.request_times) == 4
    assert dispatch_fault(result.request_times, served.work) is None


def test_a_prompt_longer_than_the_model_is_one_line_though_others_fit(engine):
    with pytest.raises(EngineError, match="= 16401 is more than the 16384 positions of the model"):
        prepare(engine, waves([(SHORT, 16000), (tuple([5] * 16001), 400)]))
    assert engine.alive
