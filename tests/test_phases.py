"""Prefill and decode apart, where what each costs is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lem.phases import Sample, split

LENGTHS = (1, 32, 64, 64, 32, 1)


def rounds(prefill, token, *, noise=0.0, seed=0, bend=0.0, each=4, requests=8, watts=300.0, passes=20):
    """Rounds of passes that cost `prefill` J and `token` J a decode token, at constant power."""
    draw = random.Random(seed)
    made = []
    for output in LENGTHS:
        decoded = requests * (output - 1)
        joules = prefill + token * decoded * (1 + bend * output)
        for _ in range(each):
            seen = joules * (1 + draw.gauss(0, noise))
            made.append(Sample(output, seen, seen / watts, passes))
    return made


@given(st.floats(1, 1000), st.floats(0.01, 10))
def test_without_noise_both_are_what_they_are_and_add_up(prefill, token):
    found = split(rounds(prefill, token, watts=1.0), requests=8, prompt_tokens=2048)
    assert found.prefill.joules == pytest.approx(prefill, rel=1e-6)
    assert found.prefill.joules_per_token == pytest.approx(prefill / 2048, rel=1e-6)
    assert found.decode.joules_per_token == pytest.approx(token, rel=1e-6)
    assert found.decode.tokens == 8 * 63
    assert found.sum_error == pytest.approx(0, abs=1e-9)


def test_the_intervals_hold_the_truth_about_as_often_as_they_say():
    prefill = decode = 0
    for seed in range(400):
        found = split(rounds(40.0, 0.5, noise=0.02, seed=seed), requests=8, prompt_tokens=1000)
        prefill += found.prefill.low <= 0.04 <= found.prefill.high
        decode += found.decode.low <= 0.5 <= found.decode.high
    assert 0.92 * 400 <= prefill <= 0.98 * 400
    assert 0.92 * 400 <= decode <= 0.98 * 400


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_noise_of_two_percent_leaves_the_sum_within_three(seed):
    found = split(rounds(40.0, 0.5, noise=0.02, seed=seed), requests=8, prompt_tokens=1000)
    assert abs(found.sum_error) < 0.03


def test_decode_that_grows_dearer_with_its_context_shows_in_the_sum():
    bent = split(rounds(40.0, 0.5, bend=0.01), requests=8, prompt_tokens=1000)
    assert abs(bent.sum_error) > 0.02
    assert 0.5 * 1.01 < bent.decode.joules_per_token < 0.5 * 1.64


def test_a_phase_of_under_three_ticks_is_unresolvable():
    found = split(rounds(40.0, 1e-5, watts=300.0, passes=1), requests=8, prompt_tokens=1000)
    assert found.decode.joules is found.decode.joules_per_token is None
    assert found.decode.reason.startswith("unresolvable: a round spends")


def test_the_ticks_that_were_seen_tell_what_is_too_short():
    made = rounds(40.0, 0.5, watts=300.0, passes=1)  # 0.13 s of prefill in a round
    slow, fast = (split(made, requests=8, prompt_tokens=1000, tick_s=tick_s) for tick_s in (0.1, 0.02))
    assert slow.prefill.reason == "unresolvable: a round spends 0.13 s in it, less than 3 ticks of 0.1 s"
    assert fast.prefill.joules_per_token == pytest.approx(0.04)


def test_one_length_tells_nothing():
    with pytest.raises(ValueError, match="two lengths"):
        split([Sample(8, 1.0, 1.0, 1)] * 6, requests=1, prompt_tokens=8)
