"""Two engines against each other: what is measured in which order, what is concluded, what is left behind."""

from __future__ import annotations

import os
import signal
from itertools import pairwise

import fake_engine
import pytest
from duel_lab import JOULES_PER_TOKEN, RIPPLE, TOKEN_SECONDS, Ring, side

from pytest_lem.duel import pairing
from pytest_lem.duel.record import read, write
from pytest_lem.model.errors import EngineError, Unavailable, UsageError
from pytest_lem.stats import Status


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    monkeypatch.delenv("FAKE_METER", raising=False)


@pytest.fixture
def ring(tmp_path):
    made = Ring(tmp_path)
    yield made
    left = made.running
    for engine in left:
        engine.kill()
    assert left == []


def test_a_candidate_that_costs_a_fifth_more_regresses_with_the_joules_that_the_meter_read(ring):
    record = ring.fight(side(), side(20))
    assert record.verdict.status is Status.REGRESSED
    assert record.verdict.estimate == pytest.approx(0.2, abs=0.02)
    assert (record.ended, record.unit, record.alternated) == ("verdict", "round", None)
    for pair in record.pairs:
        assert any(pair.a == pytest.approx(JOULES_PER_TOKEN * ripple) for ripple in RIPPLE)
        assert any(pair.b == pytest.approx(1.2 * JOULES_PER_TOKEN * ripple) for ripple in RIPPLE)


def test_a_metric_of_which_more_is_better_regresses_when_it_falls(tmp_path):
    ring = Ring(tmp_path, "tokens_per_second")
    record = ring.fight(side(token_seconds=TOKEN_SECONDS), side(token_seconds=2 * TOKEN_SECONDS))
    assert record.verdict.status is Status.REGRESSED
    assert record.verdict.estimate < -0.2
    assert record.direction == "higher"


def test_a_cheaper_candidate_improves(ring):
    assert ring.fight(side(25), side()).verdict.status is Status.IMPROVED


def test_the_same_engine_twice_never_regresses(ring):
    record = ring.fight(side(), side())
    assert record.verdict.status is Status.OK
    assert abs(record.verdict.estimate) < 0.01


def test_rounds_alternate_so_that_each_side_comes_first_in_every_second_pair(ring):
    record = ring.fight(side(), side(20))
    measured = "".join(name[0] for name, phase in ring.rounds if phase == "round")
    assert measured[:20] == "bccb" * 5
    assert [pair.order for pair in record.pairs[:4]] == ["AB", "BA", "AB", "BA"]
    rounds = [(r.start_ns, r.end_ns) for each in (record.a, record.b) for c in each.launches for r in c.rounds]
    assert all(before[1] <= after[0] for before, after in pairwise(sorted(rounds)))


def test_both_sides_are_launched_anew_every_ten_pairs(ring):
    record = ring.fight(side(), side(20))
    assert [pair.launches for pair in record.pairs] == [(0, 0)] * 10 + [(1, 1)] * 2
    assert [pair.rounds for pair in record.pairs] == [(i, i) for i in [*range(10), 0, 1]]
    for each in (record.a, record.b):
        assert [len(launch.rounds) for launch in each.launches] == [10, 2]
        assert all(launch.warmup_rounds for launch in each.launches)
    slow = [engine.spec.seed == 20 for engine in ring.engines]
    assert slow == [False, True, True, False]
    assert len({engine.pid for engine in ring.engines}) == 4


def test_a_pairs_value_is_that_of_its_own_rounds(ring):
    record = ring.fight(side(), side(20))
    for pair in record.pairs:
        round_ = record.b.launches[pair.launches[1]].rounds[pair.rounds[1]]
        assert pair.b == pytest.approx(round_.devices[0].joules / round_.tokens)


def test_looks_are_told_with_what_they_found(ring):
    record = ring.fight(side(), side(20))
    assert [(look.pairs, look.launches, look.status) for look in record.looks] == [(12, 2, Status.REGRESSED)]


def test_a_record_comes_back_from_its_file_as_it_was_written(ring, tmp_path):
    record = ring.fight(side(), side(20))
    path = write(tmp_path / "run", record)
    assert path.parent == tmp_path / "run" / "duels"
    assert read(path) == record
    assert (record.a.words, record.b.words) == ("the baseline", "the candidate")
    assert record.b.observed["options"]["token_seconds"] == 0
    assert write(tmp_path / "run", record) == path


def test_the_state_of_a_duel_is_kept_after_every_launch(ring):
    ring.fight(side(), side(20))
    assert [(len(kept.pairs), kept.ended) for kept in ring.kept] == [(10, "interrupted"), (12, "verdict")]


def test_a_candidate_that_dies_takes_the_baseline_with_it_and_leaves_what_was_measured(ring):
    with pytest.raises(EngineError, match=r"exit code 3"):
        ring.fight(side(), side(at="run", fault="exit", fault_after=8))
    assert ring.running == []
    kept = ring.kept[-1]
    assert (kept.ended, kept.verdict) == ("failed", None)
    assert len(kept.pairs) > 0
    assert [launch.stopped for launch in (*kept.a.launches, *kept.b.launches)] == ["failed", "failed"]
    assert len(kept.a.launches[0].rounds) >= len(kept.pairs)


def test_ctrl_c_leaves_no_engine_and_keeps_what_was_measured(ring):
    def interrupt():
        if len([phase for _, phase in ring.rounds if phase == "round"]) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    ring.on_round = interrupt
    with pytest.raises(KeyboardInterrupt):
        ring.fight(side(), side())
    assert ring.running == []
    assert ring.kept[-1].ended == "interrupted"
    assert len(ring.kept[-1].pairs) == 2
    assert sum(len(launch.rounds) for launch in ring.kept[-1].a.launches) == 3


@pytest.mark.parametrize(("where", "told"), [("load", "does not fit into the"), ("run", "batch 2 with 4 prompt")])
def test_two_engines_that_do_not_fit_together_take_turns_and_the_launch_is_the_unit(ring, where, told):
    """A machine with memory for one: whoever is second fails, when it loads or when it works."""

    def short_of_memory(asked):
        return asked.replace(options={**asked.options, "at": where, "fault": "memory"}) if ring.running else asked

    ring.change = short_of_memory
    record = ring.fight(side(), side(20))
    assert (record.unit, record.ended) == ("launch", "verdict")
    assert told in record.alternated
    assert record.verdict.status is Status.REGRESSED
    assert record.verdict.estimate == pytest.approx(0.2, abs=0.02)
    assert [pair.order for pair in record.pairs] == ["AB", "BA"] * 4
    assert [(look.pairs, look.launches) for look in record.looks] == [(8, 8)]
    slow = [engine.spec.seed == 20 for engine in ring.engines[-16:]]
    assert slow == [False, True, True, False] * 4
    for pair in record.pairs:
        rounds = record.a.launches[pair.launches[0]].rounds
        costs = sorted(round_.devices[0].joules / round_.tokens for round_ in rounds)
        assert pair.a == pytest.approx((costs[1] + costs[2]) / 2, rel=1e-4)


def test_memory_that_runs_short_at_a_later_launch_sets_aside_what_was_paired(ring):
    def short_of_memory(asked):
        full = len(ring.engines) > 2 and ring.running
        return asked.replace(options={**asked.options, "at": "run", "fault": "memory"}) if full else asked

    ring.change = short_of_memory
    record = ring.fight(side(20), side())
    aside = [pair for pair in record.pairs if pair.reason]
    assert {pair.reason for pair in aside} == {"measured while both engines were loaded, and set aside"}
    assert (len(aside), len(record.pairs), [look.pairs for look in record.looks]) == (10, 18, [8])
    assert (record.unit, record.ended, record.verdict.status) == ("launch", "verdict", Status.IMPROVED)
    assert record.pairs[10].launches == (2, 2)
    assert [len(each.launches) for each in (record.a, record.b)] == [10, 10]


def test_memory_that_one_engine_lacks_alone_is_its_own_failure(ring):
    with pytest.raises(EngineError, match="does not fit") as caught:
        ring.fight(side(at="load", fault="memory"), side())
    assert caught.value.kind == "memory"
    assert ring.kept[-1].alternated is None


def test_rounds_that_a_guard_refused_do_not_count_and_too_many_end_the_duel(ring, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "fault")
    record = ring.fight(side(), side())
    assert (record.ended, record.verdict.status, record.verdict.reason) == (
        "invalid",
        Status.INCONCLUSIVE,
        "insufficient",
    )
    assert record.verdict.detail == (
        "0 of 8 pairs needed; 5 pairs are invalid (baseline: package-0: counter stood still; "
        "candidate: package-0: counter stood still)"
    )
    assert [(pair.a, pair.b) for pair in record.pairs] == [(None, None)] * 5


def test_a_pair_with_one_refused_round_is_measured_again(ring, monkeypatch):
    def break_one():
        count = len([phase for _, phase in ring.rounds if phase == "round"])
        monkeypatch.setenv("FAKE_METER", "fault" if count == 4 else "")

    ring.on_round = break_one
    record = ring.fight(side(), side(20))
    assert [pair.reason for pair in record.pairs if pair.reason] == ["baseline: package-0: counter stood still"]
    assert record.pairs[2].a is None
    assert (len(record.pairs), record.looks[0].pairs) == (13, 12)


def test_an_engine_that_does_not_rest_spoils_the_others_round(ring, monkeypatch):
    spent = iter(range(1000))
    monkeypatch.setattr(pairing.Corner, "cpu_seconds", lambda self: float(next(spent)))
    record = ring.fight(side(), side())
    assert record.ended == "invalid"
    assert record.pairs[0].resting_cpu_s == (1.0, 1.0)
    assert record.pairs[0].reason.startswith("baseline: the other engine did not rest: 1.00 CPU seconds in 0.0")


def test_a_duel_that_may_not_take_longer_concludes_from_what_it_has(ring):
    record = ring.fight(side(), side(), max_seconds=0)
    assert (record.ended, len(record.pairs)) == ("max-seconds", 1)
    assert record.verdict.status is Status.INCONCLUSIVE
    assert record.verdict.detail == "1 of 8 pairs needed; the duel's time was over"


def test_latency_is_compared_by_passes_with_token_times_beside_the_rounds(tmp_path):
    ring = Ring(tmp_path, "tpot_ms")
    record = ring.fight(side(token_seconds=TOKEN_SECONDS), side(token_seconds=1.5 * TOKEN_SECONDS))
    assert record.verdict.status is Status.REGRESSED
    assert record.pairs[0].a == pytest.approx(1e3 * TOKEN_SECONDS)


@pytest.mark.parametrize("key", ["load_seconds", "peak_memory_bytes"])
def test_a_metric_without_a_value_a_round_is_refused_before_anything_starts(tmp_path, key):
    ring = Ring(tmp_path, key)
    with pytest.raises(UsageError, match=f"--lem-duel: {key} cannot be compared in a duel"):
        ring.fight(side(), side())
    assert ring.engines == []


def test_joules_that_cannot_be_read_are_said_so(ring, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    with pytest.raises(Unavailable, match="the sensor is gone"):
        ring.fight(side(), side())
    assert ring.running == []


def test_joules_that_a_model_guessed_are_not_compared(ring):
    ring.meter.source = "estimated"
    with pytest.raises(Unavailable, match="it is estimated, and a model's guess can neither regress nor improve"):
        ring.fight(side(), side())


@pytest.mark.parametrize(
    ("counters", "told"),
    [({}, "the engine does not report it"), ({"preemptions": 0.0}, "a duel compares ratios, and 0 has none")],
)
def test_a_count_of_nothing_has_no_ratio(tmp_path, counters, told):
    ring = Ring(tmp_path, "preemptions")
    ring.counters = counters
    with pytest.raises(Unavailable, match=f"preemptions is not available: {told}"):
        ring.fight(side(), side())
    assert ring.running == []
