"""A user measures traffic: the fake engine serves it, the fake meter draws 100 W all the time."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from fake_meter import WATTS
from users_project import CONFTEST

from pytest_lem.model.lengths import Lengths
from pytest_lem.model.traffic import TrafficSpec
from pytest_lem.store.schema import schemas
from pytest_lem.workloads.arrivals import build_arrivals
from pytest_lem.workloads.lengths import build_lengths

TEST = """
import pytest

@pytest.mark.lem(
    backend="fake",
    prompt_tokens=16,
    output_tokens={output},
    traffic={traffic},
    {more}
    fake={{"traffic": True, "token_seconds": {step}, {options}}},
    rounds={rounds},
)
def test_serve(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
CONSTANT = {"arrivals": "constant", "qps": 20.0, "requests": 30}


def serve(project, *args, traffic=None, output=5, step=0.005, options="", more="", rounds=1, tests=1):
    """One request every 50 ms, each of which takes 5 tokens of 5 ms: half load. The report's one measurement."""
    project.write(
        TEST.format(
            traffic=traffic or CONSTANT,
            output=output,
            step=step,
            options=options,
            more=more and f"{more},",
            rounds=rounds,
        )
    )
    result = project.run(*args)
    result.assert_outcomes(passed=tests)
    return result, project.report()["measurements"][0]


def the_round(measurement):
    (round_,) = measurement["cycles"][0]["rounds"]
    return round_


def value(measurement, key):
    return measurement["metrics"][key]["value"]


def test_joules_per_token_are_watts_times_the_window_over_the_tokens_in_it(project):
    _, found = serve(project)
    window = the_round(found)
    seconds = (window["end_ns"] - window["start_ns"]) / 1e9
    assert window["served"]["steady"] is True
    assert 1.0 < seconds < 1.45
    assert value(found, "joules_per_token") == pytest.approx(WATTS * seconds / window["tokens"], rel=1e-6)
    # 20 requests of 5 tokens a second, whatever the window.
    assert value(found, "tokens_per_second") == pytest.approx(100, rel=0.04)
    assert value(found, "requests_per_second") == pytest.approx(20, rel=0.04)
    assert value(found, "total_tokens_per_second") == pytest.approx(420, rel=0.04)
    assert value(found, "joules_per_request") == pytest.approx(WATTS / 20, rel=0.04)
    assert value(found, "power_w") == pytest.approx(WATTS)
    # Half load: no request is there for half of the time.
    assert value(found, "idle_share") == pytest.approx(0.5, abs=0.05)


def test_the_window_lies_in_the_steady_part_of_the_pass(project):
    _, found = serve(project)
    window = the_round(found)
    served, last = window["served"], window["latency"]["requests"][-1]
    assert window["start_ns"] >= served["start_ns"] + 24e6  # one request stays 25 ms
    assert window["end_ns"] <= served["start_ns"] + 1e6 * last["due_ms"]
    assert (served["requests"], served["tokens"], served["prompt_tokens"]) == (30, 150, 30 * 16)
    assert window["tokens"] < 150
    assert window["passes"] == 1
    # What one pass takes is told of the whole of it.
    seconds = (served["end_ns"] - served["start_ns"]) / 1e9
    assert value(found, "seconds") == pytest.approx(seconds)
    assert value(found, "cpu_joules") == pytest.approx(WATTS * seconds)


def test_a_ramp_is_sent_as_asked_and_is_no_part_of_the_window(project):
    ramp = {"arrivals": "constant", "qps": 40.0, "seconds": 3.0, "ramp_seconds": 1.0}
    _, found = serve(project, traffic=ramp)
    window = the_round(found)
    served = window["served"]
    due = sorted(each["due_ms"] / 1e3 for each in window["latency"]["requests"])
    climbing = [at for at in due if at < due[0] + 0.999]
    assert (len(climbing), len(due)) in ((20, 100), (20, 101))  # the rate is half of it on average, then all of it
    assert (window["start_ns"] - served["start_ns"]) / 1e9 > due[0] + 1
    assert served["steady"] is True
    assert value(found, "requests_per_second") == pytest.approx(40, rel=0.04)


def test_percentiles_agree_with_numpy_on_the_stamps_in_the_report(project):
    traffic = {"arrivals": "poisson", "qps": 30.0, "requests": 45}
    _, found = serve(project, traffic=traffic, options="'slots': 1,", rounds=2)
    requests = [each for round_ in found["cycles"][0]["rounds"] for each in round_["latency"]["requests"]]
    assert len(requests) == 90
    late = [each["sent_ms"] - each["due_ms"] for each in requests]
    stamps = {
        "ttft": [each["ttft_ms"] for each in requests],
        "ttft_service": [each["ttft_ms"] - delay for each, delay in zip(requests, late, strict=True)],
        "dispatch_delay": late,
        "tpot": [np.mean(each["gaps_ms"]) for each in requests],
        "itl": [gap for each in requests for gap in each["gaps_ms"]],
        "e2el": [each["e2e_ms"] for each in requests],
    }
    for stem, times in stamps.items():
        for percent in (50, 90, 95, 99):
            assert value(found, f"{stem}_p{percent}_ms") == pytest.approx(np.percentile(times, percent)), stem
        assert value(found, f"{stem}_ms") == pytest.approx(np.mean(times)), stem


def test_arrivals_are_drawn_once_from_the_seed_and_stored_with_what_came_of_them(project):
    traffic = {"qps": 60.0, "burstiness": 0.5, "requests": 30}
    _, found = serve(project, traffic=traffic, output="'uniform(2, 6)'", more="seed=7, cycles=2", rounds=2, tests=2)
    drawn = build_arrivals(TrafficSpec(**traffic), None, seed=7)
    outputs = build_lengths(Lengths.model_validate("uniform(2, 6)"), 30, "output lengths 7", "output_tokens")
    stored = [
        {"arrival_s": at, "prompt_tokens": 16, "output_tokens": tokens}
        for at, tokens in zip(drawn, outputs, strict=True)
    ]
    assert [cycle["work"]["arrivals"] for cycle in found["cycles"]] == [stored, stored]
    passes = [round_["latency"]["requests"] for cycle in found["cycles"] for round_ in cycle["rounds"]]
    assert len(passes) == 4
    for requests in passes:
        by_place = sorted(requests, key=lambda each: each["index"])
        begun = by_place[0]["due_ms"]
        assert [each["due_ms"] - begun for each in by_place] == pytest.approx([1e3 * at for at in drawn], abs=0.01)
        assert all(each["sent_ms"] >= each["due_ms"] for each in by_place)
        assert [len(each["gaps_ms"]) + 1 for each in by_place] == outputs


def test_the_arrivals_of_a_report_are_a_trace_of_the_same_traffic(project):
    _, found = serve(project, traffic={"qps": 60.0, "requests": 20})
    stored = found["cycles"][0]["work"]["arrivals"]
    (project.pytester.path / "again.jsonl").write_text("\n".join(map(json.dumps, stored)))
    _, again = serve(project, traffic={"trace": "again.jsonl"}, output=99)
    assert again["cycles"][0]["work"]["arrivals"] == stored
    assert again["cycles"][0]["work"]["source"] == "again.jsonl"


def test_a_closed_loop_has_no_arrivals_to_store(project):
    _, found = serve(project, traffic={"concurrency": 2, "requests": 12})
    assert found["cycles"][0]["work"] == {}
    assert [each["due_ms"] <= each["sent_ms"] for each in the_round(found)["latency"]["requests"]] == [True] * 12


OWN_ARRIVALS = """
def requests(workload, vocabulary):
    for turn in range(30):
        yield {"prompt": [turn] * 16, "arrival_s": 0.05 * turn}

def pytest_lem_workloads():
    return {"mine": requests}
"""


def test_requests_of_a_generator_that_says_when_they_come_are_traffic_as_any_other(project):
    project.pytester.makeconftest(f"{CONFTEST}{OWN_ARRIVALS}")
    result, found = serve(project, traffic={"arrivals": "generator"}, more="generator='mine'")
    assert (found["workload"]["prompt_tokens"], found["cycles"][0]["work"]["source"]) == (16, "mine")
    assert [each["arrival_s"] for each in found["cycles"][0]["work"]["arrivals"]] == [0.05 * turn for turn in range(30)]
    assert the_round(found)["served"]["steady"] is True
    assert (value(found, "tokens_per_second"), value(found, "idle_share")) == (
        pytest.approx(100, rel=0.04),
        pytest.approx(0.5, abs=0.05),
    )
    result.stdout.fnmatch_lines(["*generator*"])


def test_a_generators_requests_that_were_sent_late_are_flagged(project):
    project.pytester.makeconftest(f"{CONFTEST}{OWN_ARRIVALS}")
    asked = {"arrivals": "generator", "requests": 12}
    _, found = serve(project, traffic=asked, more="generator='mine'", options="'dispatch_seconds': 0.02,")
    assert any("dispatch: requests were sent up to" in note for note in the_round(found)["notes"])


def test_goodput_counts_requests_that_met_every_bound(project):
    # One slot at 25 ms a request, one every 20 ms: the queue grows by 5 ms a request.
    _, found = serve(
        project,
        traffic={"arrivals": "constant", "qps": 50.0, "requests": 80},
        options="'slots': 1,",
        step=0.005,
        more="slo={'ttft_ms': 200, 'percentile': 50}",
    )
    window = the_round(found)
    good = [each["ttft_ms"] <= 200 for each in window["latency"]["requests"]]
    assert 35 <= sum(good) <= 41  # the 39th waits 190 ms
    share = value(found, "good_share")
    assert 0.3 < share < 0.6
    assert value(found, "goodput") == pytest.approx(share * value(found, "requests_per_second"))
    assert value(found, "joules_per_good_request") == pytest.approx(value(found, "joules_per_request") / share)
    assert value(found, "slo_met") == float(share >= 0.5)


def test_a_service_level_that_all_requests_meet_is_met(project):
    _, found = serve(project, more="slo={'ttft_ms': 1000, 'tpot_ms': 100, 'e2el_ms': 2000}")
    assert (value(found, "good_share"), value(found, "slo_met")) == (1.0, 1.0)
    assert value(found, "goodput") == pytest.approx(value(found, "requests_per_second"))


def test_a_service_level_that_no_request_meets_has_no_joules_per_good_request(project):
    _, found = serve(project, more="slo={'tpot_ms': 1}")
    assert (value(found, "good_share"), value(found, "goodput"), value(found, "slo_met")) == (0.0, 0.0, 0.0)
    assert found["metrics"]["joules_per_good_request"]["reason"] == "no request met the service level"


def test_traffic_too_short_for_a_steady_window_is_taken_whole_and_says_so(project):
    result, found = serve(project, traffic={"arrivals": "constant", "qps": 20.0, "requests": 12})
    window = the_round(found)
    assert (window["start_ns"], window["tokens"]) == (window["served"]["start_ns"], 60)
    assert window["served"]["steady"] is False
    assert "the window is the whole pass, its ramp and drain included" in window["notes"][0]
    assert value(found, "joules_per_token") == pytest.approx(WATTS * value(found, "seconds") / 60)
    result.stdout.fnmatch_lines(["*the window is the whole pass, its ramp and drain included*"])


def test_requests_that_were_sent_late_are_flagged_and_the_round_stays_valid(project):
    result, found = serve(project, options="'dispatch_seconds': 0.02,", rounds=2)
    assert [round_["valid"] for round_ in found["cycles"][0]["rounds"]] == [True, True]
    assert all("dispatch: requests were sent up to" in round_["notes"][0] for round_ in found["cycles"][0]["rounds"])
    assert value(found, "dispatch_delay_p95_ms") > 19
    result.stdout.fnmatch_lines(["*2 rounds*dispatch: requests were sent up to*"])


def test_a_meter_that_reads_in_idle_times_alone_tells_why_it_has_no_joules(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "idle-only")
    _, found = serve(project)
    absent = found["metrics"]["joules_per_token"]
    assert absent["value"] is None
    assert "its meter reads no joules while the engine works" in absent["reason"]
    assert value(found, "cpu_joules") == pytest.approx(WATTS * value(found, "seconds"))


def test_a_sensor_that_is_gone_tells_so(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    _, found = serve(project)
    assert "the sensor is gone" in found["metrics"]["joules_per_token"]["reason"]


def test_a_closed_loop_keeps_its_engine_busy(project):
    _, found = serve(project, traffic={"arrivals": "closed", "concurrency": 4, "requests": 240})
    assert value(found, "requests_per_second") == pytest.approx(4 / 0.025, rel=0.05)
    assert value(found, "idle_share") < 0.1


def test_warm_up_is_the_same_traffic_without_stamps_and_no_service_level_gives_no_goodput(project):
    _, found = serve(project)
    (warmup,) = found["cycles"][0]["warmup_rounds"]
    assert (warmup["served"]["requests"], warmup["latency"]) == (30, None)
    assert found["metrics"]["goodput"]["reason"] == "no service level was promised (slo=...)"


def test_the_report_of_traffic_is_valid_by_the_schema_that_ships(project):
    serve(project, more="slo={'ttft_ms': 1000}")
    folder, known = project.runs()[-1], schemas()
    for path in [folder / "report.json", *(folder / "raw").glob("*.json")]:
        data = json.loads(path.read_text())
        jsonschema.validate(data, known[data["schema"].split("/")[0].removeprefix("lem.")])
