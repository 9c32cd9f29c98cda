"""Which requests a replica answers: all of them once, as evenly as can be, and the same for whoever asks."""

from __future__ import annotations

import pytest
from engine_starts import arriving, closed, waves
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.engines.child.replica_shares import in_order, part, renumbered, shares, too_few

PROMPT = (2, 3)


def dumped(work):
    return work.model_dump(exclude={"notes"})


@st.composite
def works(draw):
    """A pass of any kind, and among how many replicas it is dealt out: each has something to do."""
    count = draw(st.integers(1, 5))
    size = draw(st.integers(count, 30))
    kind = draw(st.sampled_from(["waves", "open", "closed"]))
    if kind == "open":
        return dumped(arriving(*((PROMPT, 4, at) for at in draw(st.permutations(range(size)))))), count
    if kind == "closed":
        return dumped(closed(draw(st.integers(count, 12)), *[(PROMPT, 4)] * size)), count
    work = dumped(waves(*[[(PROMPT, 4)]] * size))
    order, wide = draw(st.permutations(range(size))), draw(st.integers(1, size))
    return {**work, "waves": [order[at : at + wide] for at in range(0, size, wide)]}, count


@given(works())
def test_each_request_is_answered_once(given_):
    work, count = given_
    dealt = shares(work, count)
    assert sorted(place for places in dealt for place in places) == [*range(len(work["requests"]))]
    assert too_few(work, count) is None
    assert all(dealt)


@given(works())
def test_no_replica_has_two_requests_more_than_another(given_):
    work, count = given_
    if work["submission"] != "closed":
        sizes = [len(places) for places in shares(work, count)]
        assert max(sizes) - min(sizes) <= 1
    for wave in work["waves"]:
        sizes = [len(set(wave) & {*places}) for places in shares(work, count)]
        assert max(sizes) - min(sizes) <= 1


@given(works())
def test_the_parts_are_the_work(given_):
    work, count = given_
    for rank in range(count):
        places, own = part(work, count, rank)
        assert own["requests"] == [work["requests"][place] for place in places]
        told = [[places[number] for number in wave] for wave in own["waves"]]
        assert told == [kept for wave in work["waves"] if (kept := [place for place in wave if place in places])]
    clients = [part(work, count, rank)[1]["concurrency"] or 0 for rank in range(count)]
    assert sum(clients) == (work["concurrency"] or 0)


def test_waves_of_one_go_to_one_replica_after_the_other():
    work = dumped(waves([(PROMPT, 4)], [(PROMPT, 4)], [(PROMPT, 4)]))
    assert shares(work, 2) == [[0, 2], [1]]
    assert [part(work, 2, rank)[1]["waves"] for rank in (0, 1)] == [[[0], [1]], [[0]]]


def test_a_client_keeps_to_its_replica():
    # Three clients: the first and the third ask replica 0, the second replica 1.
    work = dumped(closed(3, *[(PROMPT, 4)] * 6))
    assert shares(work, 2) == [[0, 2, 3, 5], [1, 4]]
    assert [part(work, 2, rank)[1]["concurrency"] for rank in (0, 1)] == [2, 1]


def test_requests_go_to_replicas_as_they_come():
    assert shares(dumped(arriving((PROMPT, 4, 3.0), (PROMPT, 4, 1.0), (PROMPT, 4, 2.0))), 2) == [[0, 1], [2]]


def test_replicas_draw_otherwise_for_their_own_requests():
    work = dumped(waves([(PROMPT, 4)] * 2, temperature=1.0, seed=7))
    assert [part(work, 2, rank)[1]["decoding"]["seed"] for rank in (0, 1)] == [7, 8]


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (waves([(PROMPT, 4)]), "requests: a pass has 1, for 2 replicas; ask for 2 at least"),
        (closed(1, *[(PROMPT, 4)] * 6), "concurrency: 1 clients for 2 replicas; take 2 at least"),
    ],
)
def test_a_replica_without_work_is_refused(work, words):
    assert too_few(dumped(work), 2) == words


@given(works())
def test_answers_come_together_in_the_order_of_the_pass(given_):
    work, count = given_
    told = [(places, [f"answer {place}" for place in places]) for places in shares(work, count)]
    assert in_order(told) == [f"answer {place}" for place in range(len(work["requests"]))]


def test_times_of_a_replica_are_those_of_the_whole_pass():
    own = {"index": 1, "due_ms": 4.0, "sent_ms": 4.5, "ttft_ms": 7.0, "gaps_ms": [1.0]}
    assert renumbered(own, [1, 3], 0.25) == {**own, "index": 3, "due_ms": 4.25, "sent_ms": 4.75}
    # Of requests that got their tokens together no place is told.
    together = {"count": 2, "due_ms": 1.0, "sent_ms": 1.0, "ttft_ms": 7.0, "gaps_ms": []}
    assert renumbered(together, [1, 3], 0.5) == {**together, "due_ms": 1.5, "sent_ms": 1.5}
