"""Open loop: requests that were sent later than they were due are told, with real stamps of the fake engine too."""

from __future__ import annotations

import fake_engine
import pytest
from engine_starts import fake

from pytest_lem.engines.dispatch import dispatch_delays, dispatch_fault
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.work import Request, Work


def arriving(*arrivals: float, submission: str = "open") -> Work:
    requests = tuple(Request(prompt=(1,), output_tokens=1, arrival_s=at) for at in arrivals)
    return Work(submission=submission, requests=requests, concurrency=1)


def sent(*delays: float) -> list[RequestTimes]:
    return [RequestTimes(ttft_ms=1, due_ms=50, sent_ms=50 + delay) for delay in delays]


def test_a_delay_of_five_percent_of_the_mean_gap_is_still_what_was_asked_for():
    work = arriving(0, 0.5, 2)  # a second between two, in the mean
    assert dispatch_fault(sent(0, 0, 50), work) is None
    assert dispatch_fault(sent(0, 0, 51), work) == (
        "dispatch: requests were sent up to 51 ms late (p95), over 5% of the mean gap of 1e+03 ms between arrivals; "
        "take a lower rate, or leave the machine to this run"
    )


def test_one_late_request_of_many_is_excused_and_one_in_ten_is_not():
    work = arriving(*range(40))
    assert dispatch_fault(sent(*[0] * 38, 900, 900), work) is None
    assert "900 ms late" in dispatch_fault(sent(*[0] * 36, *[900] * 4), work)


def test_requests_that_got_their_tokens_together_count_one_by_one():
    together = RequestTimes(ttft_ms=1, due_ms=1, sent_ms=3, count=3)
    assert dispatch_delays([together, RequestTimes(ttft_ms=1)]) == [2, 2, 2]


def test_without_the_times_of_sending_the_traffic_is_not_known():
    assert "did not tell when requests were sent" in dispatch_fault([RequestTimes(ttft_ms=1)] * 2, arriving(0, 1))


def test_only_an_open_loop_of_several_can_be_late():
    assert dispatch_fault(sent(500, 500), arriving(0, 1, submission="closed")) is None
    assert dispatch_fault(sent(500), arriving(0)) is None


@pytest.mark.parametrize(("seconds", "words"), [(0.0, None), (0.6, "ms late (p95)")])
def test_an_engine_whose_sending_takes_long_is_flagged(tmp_path, monkeypatch, seconds, words):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))
    workload = WorkloadSpec(batch=4, output_tokens=1, target_qps=1.0)
    with fake(tmp_path, traffic=True, dispatch_seconds=seconds) as engine:
        engine.prepare(workload)
        result = engine.run(1, hooks=True)
        found = dispatch_fault(result.request_times, engine.work)
    assert [times.index for times in result.request_times] == [0, 1, 2, 3]
    assert (words in found) if words else found is None
