"""One pass of traffic as a round: which part of it counts, what was done in it, and what makes it invalid."""

from __future__ import annotations

import pytest
from engine_starts import spec

from pytest_lem.engines.protocol import PassResult
from pytest_lem.meters.trail import Mark, Trail
from pytest_lem.model.latency import RequestTimes
from pytest_lem.model.reading import DeviceReading, DeviceState
from pytest_lem.served import served_round, submission_notes, work_notes
from pytest_lem.workloads.work import Request, Work

MS, SECOND = 1_000_000, 1_000_000_000
START = 100 * SECOND


def traffic(count=50, every_ms=100.0, *, late_ms=0.0, index=True):
    """Requests of 20 prompt tokens and 4 new ones, one every 100 ms, each of which stays 400 ms."""
    times = tuple(
        RequestTimes(
            index=i if index else None,
            due_ms=i * every_ms,
            sent_ms=i * every_ms + late_ms,
            ttft_ms=100.0,
            gaps_ms=(100.0,) * 3,
        )
        for i in range(count)
    )
    end = START + round((count - 1) * every_ms + 400) * MS
    result = PassResult(
        start_ns=START,
        end_ns=end,
        passes=1,
        tokens=4 * count,
        prompt_tokens=20 * count,
        requests=count,
        request_times=times,
        counters={"preemptions": 2.0},
    )
    requests = tuple(Request(prompt=(1,) * 20, output_tokens=4, arrival_s=i * every_ms / 1e3) for i in range(count))
    return result, Work(submission="open", requests=requests)


def a_trail(watts=200.0, *, phase_ms=30, device="GPU-0", **changes):
    """Ticks every 100 ms from before the pass to after it."""
    marks = tuple(Mark(START + (phase_ms + 100 * tick) * MS, watts * tick / 10) for tick in range(-5, 80))
    return Trail(device, "gpu", "nvml", "counter", **{"marks": marks} | changes)


def whole(device="GPU-0", **changes):
    known = {"joules": 1000.0, "std": 1.0, "source": "measured"} | changes
    return DeviceReading(device=device, kind="gpu", meter="nvml", method="counter", **known)


def the_round(trails=None, readings=None, ramp=0.0, **changes):
    result, work = traffic(**changes)
    return served_round(3, result, work, trails or [a_trail()], readings or [whole()], ramp_seconds=ramp)


def test_the_round_is_the_steady_window_between_ticks():
    found = the_round()
    # Steady from 0.4 s (four in flight) to 4.9 s (the last one comes); ticks at 30 ms and every 100 ms after it.
    assert ((found.start_ns - START) / MS, (found.end_ns - START) / MS) == (430, 4830)
    assert (found.index, found.passes, found.valid, found.notes) == (3, 1, True, ())
    # Four in flight, each with a token every 100 ms; one request every 100 ms.
    assert found.tokens == pytest.approx(4.4 / 0.1 * 4)
    assert found.requests == pytest.approx(44)
    assert found.prompt_tokens == pytest.approx(44 * 20)
    assert [reading.joules for reading in found.devices] == pytest.approx([880.0])


def test_clock_and_temperature_are_those_from_beside_the_pass():
    cold = DeviceState(time_ns=START - 5 * MS, sm_clock_mhz=345, temperature_c=31)
    warm = DeviceState(time_ns=START + 6000 * MS, sm_clock_mhz=1755, temperature_c=52)
    found = the_round(readings=[whole(before=cold, after=warm)])
    assert [(reading.before, reading.after) for reading in found.devices] == [(cold, warm)]


def test_the_whole_pass_is_kept_beside_its_window():
    found = the_round()
    served = found.served
    assert (served.start_ns, served.end_ns, served.steady) == (START, START + 5300 * MS, True)
    assert (served.requests, served.tokens, served.prompt_tokens) == (50, 200, 1000)
    assert served.prompt_lengths == (20,) * 50
    assert [reading.joules for reading in served.devices] == [1000.0]
    assert (len(found.latency.requests), found.latency.seconds) == (50, 5.3)
    assert found.counters == {"preemptions": 2.0}


def test_a_ramp_is_left_out():
    assert (the_round(ramp=2.0).start_ns - START) / MS == 2430


def test_several_gpus_have_one_window():
    other = a_trail(100.0, device="GPU-1", phase_ms=77)
    found = the_round([a_trail(), other], [whole(), whole("GPU-1")])
    assert [reading.device for reading in found.devices] == ["GPU-0", "GPU-1"]
    assert [reading.joules for reading in found.devices] == pytest.approx([880.0, 440.0])
    assert {reading.head.time_ns for reading in found.devices} == {found.start_ns}


def test_a_device_that_was_not_read_under_load_leaves_the_others_their_window():
    gone = Trail("package-0", "cpu", "rapl", "rapl", reason="it is gone")
    found = the_round([a_trail(), gone], [whole(), whole("package-0")])
    assert [reading.joules for reading in found.devices] == [pytest.approx(880.0), None]
    assert found.devices[1].reason == "it is gone"


def test_traffic_without_a_steady_time_is_taken_whole_and_says_so():
    found = the_round(count=12)
    assert (found.start_ns, found.end_ns) == (START, START + 1500 * MS)
    assert (found.tokens, found.requests, found.prompt_tokens) == (48, 12, 240)
    assert [reading.joules for reading in found.devices] == [1000.0]
    assert found.served.steady is False
    assert found.notes == (
        "the window is the whole pass, its ramp and drain included: the traffic has no steady time of 1 s and 3 "
        "counter ticks; give it more requests or seconds",
    )


def test_an_engine_that_does_not_tell_which_request_is_which_is_taken_whole():
    found = the_round(index=False)
    assert (found.tokens, found.served.steady, found.served.idle_share) == (200, False, None)
    assert found.notes[0].endswith("the engine does not tell when requests came")


@pytest.mark.parametrize("when", ["around the pass", "under load"])
def test_a_guard_that_spoke_makes_the_round_invalid(when):
    fault = ("another process is on the GPU: PID 7",)
    trail = a_trail(faults=fault if when == "under load" else ())
    found = the_round([trail], [whole(faults=fault if when != "under load" else ())])
    assert (found.valid, found.reason) == (False, "GPU-0: another process is on the GPU: PID 7")


def test_late_sending_is_noted_and_counts():
    found = the_round(late_ms=30.0)
    assert found.valid
    assert found.notes[0].startswith("dispatch: requests were sent up to 30 ms late (p95)")


def test_a_strategy_on_an_engine_that_batches_continuously_is_a_way_of_submitting():
    requests = tuple(Request(prompt=(1,), output_tokens=1) for _ in range(4))
    two, one = (
        Work(submission="waves", requests=requests, waves=waves) for waves in (((0, 1), (2, 3)), ((0, 1, 2, 3),))
    )
    assert submission_notes(spec("vllm"), two) == (
        "the batching strategy is a way of submitting here: vllm batches continuously, and gets each group when the "
        "one before it is answered",
    )
    assert submission_notes(spec("vllm"), one) == ()
    told = two.replace(notes={"groups": 2, "padding_tokens": 7, "overrun_tokens": 3})
    assert work_notes(spec("vllm"), told) == {"groups": 2}
    assert work_notes(spec("pytorch"), told) == told.notes
    assert submission_notes(spec("pytorch"), two) == ()
