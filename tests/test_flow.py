"""Requests that flow, known by hand: when steady, what was done between two instants, when nobody was there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.flow import Done, done_between, done_by, idle_share, phase_seconds, shares_inside, steady_span
from pytest_lem.model.latency import RequestTimes


def a_request(index=0, due=0.0, *, first=0.1, gap=0.1, tokens=4, late=0.0, **stamps):
    """Due at `due` s, sent `late` s after it, its first token `first` s after it was due, the others `gap` s apart."""
    return RequestTimes(
        index=index,
        due_ms=1e3 * due,
        sent_ms=1e3 * (due + late),
        ttft_ms=1e3 * first,
        gaps_ms=(1e3 * gap,) * (tokens - 1),
        **stamps,
    )


def every(gap, count, **times):
    return [a_request(index, index * gap, **times) for index in range(count)]


def test_traffic_is_steady_after_one_stay_of_a_request_until_the_last_one_comes():
    # Each stays 0.4 s, one comes every 0.1 s: from 0.4 s on four are in flight, until the last comes at 9.9 s.
    assert steady_span(every(0.1, 100)) == pytest.approx((0.4, 9.9))


def test_a_ramp_is_no_part_of_the_steady_time():
    assert steady_span(every(0.1, 100), ramp_s=2.0) == pytest.approx((2.4, 9.9))


def test_one_long_request_among_the_first_does_not_shorten_the_steady_time():
    requests = [a_request(0, 0.0, tokens=80), *every(0.1, 100)[1:]]
    assert steady_span(requests) == pytest.approx((0.4, 9.9))


def test_an_overloaded_engine_is_steady_once_its_first_requests_are_done():
    # One every 0.1 s, served one by one in 0.4 s: the queue grows by 0.3 s a request.
    requests = [a_request(i, 0.1 * i, first=0.3 * i + 0.1) for i in range(40)]
    # The first eight stay 0.4, 0.7, … 2.5 s.
    assert steady_span(requests) == pytest.approx((1.45, 3.9))


def test_traffic_that_ends_before_its_first_requests_do_is_never_steady():
    assert steady_span(every(0.01, 8)) is None
    assert steady_span(every(0.1, 20), ramp_s=5.0) is None


def test_tokens_across_an_edge_count_by_the_part_of_their_time_inside():
    # Sent at 0, prefill until 0.1, tokens at 0.1, 0.2, 0.3, 0.4.
    one = [a_request()]
    assert done_between(one, [50], 0.0, 1.0) == Done(4, 50, 1)
    assert done_between(one, [50], 0.25, 1.0) == Done(pytest.approx(1.5), 0, pytest.approx(1.5 / 4))
    assert done_between(one, [50], 0.0, 0.05) == Done(pytest.approx(0.5), pytest.approx(25), pytest.approx(0.5 / 4))


def test_the_prefill_begins_when_the_engine_took_the_request_from_its_queue():
    queued = [a_request(first=0.5, late=0.1, queue_ms=200.0)]
    assert done_between(queued, [100], 0.0, 0.4).prompt_tokens == pytest.approx(50)  # 0.3 to 0.5
    stamped = [a_request(first=0.5, queue_ms=200.0, prefill_ms=100.0)]
    assert done_between(stamped, [100], 0.0, 0.4).prompt_tokens == pytest.approx(0)  # 0.4 to 0.5


def test_tokens_that_came_in_one_chunk_are_inside_together():
    pair = [a_request(gap=0.0, tokens=2)]
    assert done_between(pair, [1], 0.1, 1.0).tokens == 0
    assert done_between(pair, [1], 0.05, 0.1).tokens == pytest.approx(1.5)


@given(
    cuts=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=6),
    requests=st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(0, 0.2), st.integers(1, 9)), min_size=1, max_size=9
    ),
)
def test_windows_that_cover_the_pass_hold_each_token_once(cuts, requests):
    made = [
        a_request(index, due, first=first, gap=gap, tokens=tokens)
        for index, (due, first, gap, tokens) in enumerate(requests)
    ]
    edges = [-1.0, *sorted(cuts), 10.0]
    parts = [done_between(made, [7] * len(made), a, b) for a, b in pairwise(edges)]
    assert sum(part.tokens for part in parts) == pytest.approx(sum(len(each.gaps_ms) + 1 for each in made))
    assert sum(part.prompt_tokens for part in parts) == pytest.approx(7 * len(made))
    assert sum(part.requests for part in parts) == pytest.approx(len(made))


def test_at_half_load_nobody_is_there_for_half_of_the_time():
    # Each stays 0.4 s, one comes every 0.8 s.
    assert idle_share(every(0.8, 10), 0.8, 7.2) == pytest.approx(0.5)
    assert idle_share(every(0.4, 10), 0.4, 3.6) == pytest.approx(0.0, abs=1e-9)
    assert idle_share(every(0.1, 10), 0.0, 2.6) == pytest.approx(1.3 / 2.6)


def test_a_request_is_in_flight_from_when_it_was_sent():
    assert idle_share([a_request(first=0.5, tokens=1, late=0.3)], 0.0, 1.0) == pytest.approx(0.8)


def test_a_short_request_inside_a_long_one_ends_nothing():
    requests = [a_request(0, 0.0, tokens=20), a_request(1, 0.5)]
    assert idle_share(requests, 0.0, 4.0) == pytest.approx(0.5)


def test_the_share_of_each_request_inside_a_window():
    assert list(shares_inside(every(0.2, 2), 0.2, 0.4)) == pytest.approx([0.5, 0.5])


def test_what_was_done_by_an_instant_tells_prompts_from_what_follows_the_first_token():
    # Sent at 0, prefill until 0.1, tokens at 0.1, 0.2, 0.3, 0.4; the other comes 0.2 later.
    requests = [a_request(), a_request(1, 0.2)]
    prompts, tokens = done_by(requests, [50, 20], np.array([0.0, 0.05, 0.1, 0.25, 0.35, 1.0]))
    assert list(prompts) == pytest.approx([0, 25, 50, 60, 70, 70])
    assert list(tokens) == pytest.approx([0, 0, 0, 1.5, 2.5 + 0.5, 6])


@given(
    requests=st.lists(
        st.tuples(st.floats(0, 3), st.floats(0, 1), st.floats(0, 0.2), st.integers(1, 9)), min_size=1, max_size=9
    ),
    span=st.tuples(st.floats(0, 5), st.floats(0.01, 5)),
)
def test_between_two_instants_lies_what_was_done_by_one_and_not_by_the_other(requests, span):
    made = [
        a_request(index, due, first=first, gap=gap, tokens=tokens)
        for index, (due, first, gap, tokens) in enumerate(requests)
    ]
    begin, end = span[0], span[0] + span[1]
    prompts, tokens = done_by(made, [7] * len(made), np.array([begin, end]))
    between = done_between(made, [7] * len(made), begin, end)
    assert prompts[1] - prompts[0] == pytest.approx(between.prompt_tokens, abs=1e-6)
    # Each request's first token is its prefill's.
    assert tokens[1] - tokens[0] == pytest.approx(between.tokens - between.prompt_tokens / 7, abs=1e-6)


def test_phases_that_run_side_by_side_are_each_counted_once():
    # Prefills from 0 to 0.1 and from 0.05 to 0.15, decoding until 0.4 and 0.45.
    requests = [a_request(), a_request(1, 0.05)]
    assert phase_seconds(requests, 0.0, 1.0) == pytest.approx((0.15, 0.35))
    assert phase_seconds(requests, 0.12, 0.2) == pytest.approx((0.03, 0.08))
    assert phase_seconds([a_request(tokens=1)], 0.0, 1.0) == pytest.approx((0.1, 0))
