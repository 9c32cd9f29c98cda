"""Token times of any length, nothing at all among them: percentiles are numpy's on the stamps that the report keeps."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from math import isfinite

import numpy as np
import pytest
from builders import SECOND, a_cycle, a_measurement, a_round, an_environment
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.aggregate import metrics
from pytest_lem.device_joules import Context
from pytest_lem.flow import done_between, idle_share, steady_span
from pytest_lem.gate import Gate, judge
from pytest_lem.launches import launches
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.metrics import LATENCIES
from pytest_lem.model.round import Served
from pytest_lem.model.slo import ServiceLevel
from pytest_lem.model.workload import WorkloadSpec
from pytest_lem.store.baselines import open_baseline, save_run
from pytest_lem.store.report import Report, RunInfo

STARTED = datetime(2026, 7, 1, 12, tzinfo=UTC)
NOTHING = "a value that is not a positive, finite number"
PERCENTS = (50, 90, 95, 99)
SLO = ServiceLevel(ttft_ms=100, tpot_ms=10)
TIMES = st.just(0.0) | st.floats(0, 1e4, allow_subnormal=False)
REQUESTS = st.builds(
    RequestTimes,
    ttft_ms=TIMES,
    gaps_ms=st.lists(TIMES, max_size=4).map(tuple),
    queue_ms=st.none() | TIMES,
    e2e_ms=st.none() | TIMES,
    count=st.integers(1, 3),
)
PASSES = st.lists(st.lists(REQUESTS, min_size=1, max_size=5), min_size=1, max_size=6)
ALL_AT_ONCE = RequestTimes(ttft_ms=0.0, gaps_ms=(0.0, 0.0), queue_ms=0.0, prefill_ms=0.0, e2e_ms=0.0)


def measured(*cycles, slo=SLO) -> Measurement:
    """One cycle for each list of hooked passes, as the report holds it: written as JSON and read again."""
    made = tuple(
        a_cycle(
            index,
            rounds=tuple(
                a_round(place, latency=LatencyPass(seconds=1, requests=tuple(requests)))
                for place, requests in enumerate(passes)
            ),
        )
        for index, passes in enumerate(cycles)
    )
    context = Context(device="cuda", slo=slo)
    whole = a_measurement(workload=WorkloadSpec(batch=8, slo=slo), cycles=made, metrics=metrics(made, context))
    return Measurement.model_validate_json(whole.model_dump_json())


def stamps(found: Measurement, stem: str) -> list[float]:
    """The times of a metric by the stamps of the report alone, each as often as it stands for a request."""
    requests = [
        each
        for cycle in found.model_dump()["cycles"]
        for round_ in cycle["rounds"]
        for each in round_["latency"]["requests"]
        for _ in range(each["count"])
    ]
    if stem == "itl":
        return list(chain.from_iterable(each["gaps_ms"] for each in requests))
    if stem == "tpot":
        return [float(np.mean(each["gaps_ms"])) for each in requests if each["gaps_ms"]]
    field = {"ttft": "ttft_ms", "queue": "queue_ms", "e2el": "e2e_ms"}[stem]
    return [each[field] for each in requests if each[field] is not None]


@given(PASSES)
def test_percentiles_are_numpys_on_the_stamps_of_the_report(passes):
    found = measured(passes)
    for stem in ("ttft", "tpot", "itl", "e2el", "queue"):
        times = stamps(found, stem)
        if not times:
            assert found.metrics[f"{stem}_p99_ms"].value is None
            continue
        assert found.metrics[f"{stem}_ms"].value == pytest.approx(np.mean(times))
        for percent in PERCENTS:
            value = found.metrics[f"{stem}_p{percent}_ms"].value
            assert value == pytest.approx(np.percentile(times, percent)), (stem, percent)


@given(st.lists(PASSES, min_size=2, max_size=4))
def test_launches_and_rounds_have_percentiles_of_their_own(cycles):
    found = measured(*cycles)
    of_rounds = [[[each.ttft_ms for each in one for _ in range(each.count)] for one in passes] for passes in cycles]
    for launch, passes in zip(launches(found, "ttft_p90_ms"), of_rounds, strict=True):
        assert launch.values == pytest.approx([np.percentile(times, 90) for times in passes])
    of_launches = [float(np.percentile(list(chain.from_iterable(passes)), 90)) for passes in of_rounds]
    mean = np.mean(of_launches) if min(of_launches) <= 0 else np.exp(np.mean(np.log(of_launches)))
    assert found.metrics["ttft_p90_ms"].value == pytest.approx(mean)


@given(st.lists(PASSES, min_size=1, max_size=5))
def test_no_token_time_breaks_a_metric(cycles):
    found = measured(*cycles)
    for key, metric in found.metrics.items():
        if metric.value is None:
            assert metric.reason, key
        else:
            assert all(isfinite(each) for each in (metric.value, metric.low or 0.0, metric.high or 0.0)), key
    assert 0 <= found.metrics["good_share"].value <= 1
    assert len(launches(found, "ttft_ms")) == len(cycles)


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_tokens_that_all_came_at_once_took_0_ms_and_every_request_was_good(cycles):
    found = measured(*[[[ALL_AT_ONCE] * 3] * 3] * cycles)
    for stem in set(LATENCIES) - {"ttft_service", "dispatch_delay", "decode"}:
        for key in (f"{stem}_ms", *(f"{stem}_p{percent}_ms" for percent in PERCENTS)):
            assert found.metrics[key].value == 0.0, key
    assert found.metrics["good_share"].value == found.metrics["slo_met"].value == 1.0
    assert found.metrics["goodput"].value == pytest.approx(20)
    assert found.metrics["joules_per_good_request"].value == pytest.approx(10)
    assert all(each == 0.0 for launch in launches(found, "tpot_p99_ms") for each in launch.values)


def test_traffic_whose_answers_took_no_time_is_cut_all_the_same():
    requests = [
        ALL_AT_ONCE.model_copy(update={"index": i, "due_ms": 100.0 * i, "sent_ms": 100.0 * i}) for i in range(40)
    ]
    assert steady_span(requests) == pytest.approx((0.0, 3.9))
    assert idle_share(requests, 0.0, 3.9) == pytest.approx(1.0)
    done = done_between(requests, [16] * 40, 0.05, 1.05)
    assert (done.tokens, done.prompt_tokens, done.requests) == (30, 160, 10)
    served = Served(start_ns=0, end_ns=4 * SECOND, requests=40, prompt_tokens=640, tokens=120, steady=True)
    round_ = a_round(0, passes=1, requests=10, latency=LatencyPass(seconds=4, requests=tuple(requests)), served=served)
    found = metrics([a_cycle(rounds=(round_,))], Context(device="cuda", slo=SLO))
    assert found["good_share"].value == 1.0
    assert found["goodput"].value == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("then", "now", "why"), [(0.0, 0.0, NOTHING), (5.0, 0.0, NOTHING), (0.0, 5.0, "; 0 of 3 runs needed before")]
)
def test_a_gate_on_times_that_are_nothing_says_that_it_cannot_tell(tmp_path, then, now, why):
    def run(ttft):
        return measured([[RequestTimes(ttft_ms=ttft, gaps_ms=(1.0,))]] * 8)

    for number in range(4):
        info = RunInfo(id=f"run-{number}", started=STARTED, ended=None, complete=True, quick=False)
        save_run(tmp_path, "main", Report(run=info, environment=an_environment(), measurements=(run(then),)))
    judged = judge(Gate("ttft_ms"), run(now), open_baseline(tmp_path, "main"), an_environment())
    assert judged.verdict.status == "inconclusive"
    assert why in judged.verdict.line
