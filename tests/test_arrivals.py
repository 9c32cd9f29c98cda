"""When the requests of a workload arrive."""

from __future__ import annotations

import statistics
from itertools import pairwise

import fake_engine
import pytest
from engine_starts import fake
from hypothesis import given
from hypothesis import strategies as st
from users_project import TEST

from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.workloads.arrivals import build_arrivals
from pytest_lem.workloads.prompts import build_prompts


def poisson(count: int, qps: float, seed: int) -> tuple[float, ...]:
    return build_arrivals(TrafficSpec(qps=qps), count, seed)


def between(arrivals: tuple[float, ...]) -> list[float]:
    return [after - before for before, after in pairwise(arrivals)]


def gaps(batch: int = 20_001, qps: float = 4.0, seed: int = 0) -> list[float]:
    return between(poisson(batch, qps, seed))


def test_drawn_arrivals_are_the_same_on_every_machine_and_python():
    drawn = poisson(4, 2.0, seed=7)
    assert drawn == pytest.approx((0.0, 0.348529694, 1.592981115, 1.717899469))


@given(st.integers(1, 50), st.floats(0.01, 1e4), st.integers(0, 2**32))
def test_there_is_one_arrival_a_request_the_first_at_once_and_none_before_the_last(batch, qps, seed):
    arrivals = poisson(batch, qps, seed)
    assert len(arrivals) == batch
    assert arrivals[0] == 0
    assert list(arrivals) == sorted(arrivals)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("qps", [0.5, 40.0])
def test_gaps_are_those_of_a_poisson_process(qps, seed):
    found = gaps(qps=qps, seed=seed)
    error = 4 / len(found) ** 0.5  # four standard errors of an exponential's mean, relative
    assert statistics.fmean(found) * qps == pytest.approx(1, rel=error)
    assert statistics.stdev(found) * qps == pytest.approx(1, rel=2 * error)
    assert statistics.median(found) * qps == pytest.approx(0.6931, rel=2 * error)


def test_a_rate_only_stretches_the_same_traffic():
    assert gaps(batch=9, qps=8.0) == pytest.approx([gap / 2 for gap in gaps(batch=9, qps=4.0)])


def test_a_larger_batch_begins_like_the_smaller_one_and_another_seed_differs():
    assert gaps(batch=9)[:3] == gaps(batch=4)
    assert gaps(batch=4, seed=1) != gaps(batch=4, seed=2)


def test_traffic_leaves_the_prompts_as_they_are():
    assert build_prompts(WorkloadSpec(batch=3, target_qps=1.0), 1000) == build_prompts(WorkloadSpec(batch=3), 1000)


def test_an_engine_that_takes_requests_together_refuses_a_rate_in_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    with fake(tmp_path) as engine:
        with pytest.raises(UsageError) as caught:
            engine.prepare(WorkloadSpec(batch=2, target_qps=1.0))
        assert str(caught.value) == "target_qps: backend 'fake': it takes all requests of a pass together"
        engine.prepare(WorkloadSpec(output_tokens=1))
        assert engine.run(1).tokens == 1


def test_the_time_that_requests_take_to_arrive_is_not_taken_for_an_engine_that_hangs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    with fake(tmp_path, traffic=True) as engine:
        workload = WorkloadSpec(batch=4, output_tokens=1, target_qps=1.0)
        engine.prepare(workload)
        assert poisson(2, 1e-3, seed=0)[-1] > 5
        assert engine.run(1, timeout=1).tokens == 4


def test_a_rate_that_an_engine_cannot_take_is_told_before_anything_starts(project):
    project.write(TEST.replace("output_tokens=4", "output_tokens=4, target_qps=2"))
    result = project.run()
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*target_qps: backend 'fake': it takes all requests of a pass together*"])
    assert project.runs() == []


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_bursty_gaps_have_the_mean_and_the_spread_that_were_asked_for(burstiness, seed):
    found = between(build_arrivals(TrafficSpec(qps=4.0, burstiness=burstiness), 40_001, seed))
    error = 4 / len(found) ** 0.5 / burstiness**0.5
    assert statistics.fmean(found) * 4.0 == pytest.approx(1, rel=error)
    spread = statistics.stdev(found) / statistics.fmean(found)
    assert spread == pytest.approx(1 / burstiness**0.5, rel=4 * error)


def test_constant_traffic_comes_like_a_clock():
    assert build_arrivals(TrafficSpec(arrivals="constant", qps=4.0), 5, 0) == (0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "gamma"])
def test_seconds_bound_the_arrivals_and_the_rate_gives_their_number(arrivals):
    found = build_arrivals(TrafficSpec(arrivals=arrivals, qps=50.0, seconds=100.0), None, 1)
    assert 99 < found[-1] < 100
    assert len(found) == pytest.approx(5000, rel=0.06)


def test_a_ramp_climbs_in_a_straight_line():
    found = build_arrivals(TrafficSpec(arrivals="constant", qps=100.0, seconds=20.0, ramp_seconds=10.0), None, 0)
    by_second = [sum(second <= arrival < second + 1 for arrival in found) for second in range(20)]
    assert by_second[:10] == pytest.approx([5, 15, 25, 35, 45, 55, 65, 75, 85, 95], abs=1)
    assert by_second[10:] == pytest.approx([100] * 10, abs=1)


def test_a_mistaken_rate_does_not_fill_the_memory():
    with pytest.raises(UsageError, match="over 1000000 requests in a pass"):
        build_arrivals(TrafficSpec(qps=1e9, seconds=10.0), None, 0)


def test_a_pass_needs_a_bound():
    with pytest.raises(UsageError, match="requests or seconds bound a pass"):
        build_arrivals(TrafficSpec(qps=1.0), None, 0)
