"""Metrics from raw rounds: each definition checked against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from builders import a_cycle, a_latency_pass, a_reading, a_round, an_invalid_round

from pytest_lem.aggregate import cost, metrics
from pytest_lem.device_joules import Context
from pytest_lem.model.cycle import DeviceMemory
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.metrics import METRICS
from pytest_lem.model.reading import MeterRecord

CUDA, CPU = Context(device="cuda"), Context(device="cpu")


def test_every_metric_of_the_table_is_there_with_a_value_or_a_reason():
    found = metrics([a_cycle()], CUDA)
    assert set(found) == set(METRICS)
    assert all(value.value is not None or value.reason for value in found.values())
    assert all(value.value is None or value.source for value in found.values())


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("joules_per_token", 800 / 2_000),
        ("joules_per_total_token", 800 / 10_000),
        ("joules_per_request", 800 / 80),
        ("tokens_per_second", 2_000 / 4),
        ("total_tokens_per_second", 10_000 / 4),
        ("requests_per_second", 80 / 4),
        ("seconds", 4 / 10),
        ("power_w", 800 / 4),
        ("gpu_joules", 800 / 10),
        ("load_seconds", 3.5),
    ],
)
def test_a_metric_is_what_its_definition_says(key, expected):
    assert metrics([a_cycle(rounds=4)], CUDA)[key].value == pytest.approx(expected)


def test_joules_of_several_gpus_are_summed_late():
    two = a_round(devices=(a_reading(800.0), a_reading(400.0, device="GPU-b")))
    found = metrics([a_cycle(rounds=(two,))], CUDA)
    assert found["joules_per_token"].value == pytest.approx(1_200 / 2_000)


def test_one_gpu_that_cannot_be_read_leaves_no_sum():
    half = a_round(devices=(a_reading(800.0), a_reading(None, device="GPU-b", reason="the counter is gone")))
    found = metrics([a_cycle(rounds=(half,))], CUDA)["joules_per_token"]
    assert found.value is None
    assert found.reason == "nvml on GPU-b: the counter is gone"


def test_system_joules_need_every_part():
    gpu, cpu = a_reading(800.0), a_reading(100.0, device="package-0", kind="cpu", meter="rapl")
    ram = a_reading(20.0, device="ram", kind="ram", meter="codecarbon", source="estimated")
    without = metrics([a_cycle(rounds=(a_round(devices=(gpu, cpu)),))], CUDA)["system_joules"]
    whole = metrics([a_cycle(rounds=(a_round(devices=(gpu, cpu, ram)),))], CUDA)["system_joules"]
    assert without.value is None
    assert "memory" in without.reason
    assert whole.value == pytest.approx(92.0)
    assert whole.source == "estimated"


def test_an_engine_on_the_cpu_is_charged_its_packages_and_memory():
    cpu = a_reading(100.0, device="package-0", kind="cpu", meter="rapl")
    ram = a_reading(20.0, device="dram-0", kind="ram", meter="rapl")
    found = metrics([a_cycle(rounds=(a_round(devices=(cpu, ram)),), memory=())], CPU)
    assert found["joules_per_token"].value == pytest.approx(120 / 2_000)
    assert found["gpu_joules"].reason == "the engine uses no GPU"
    assert found["peak_memory_bytes"].reason == "the engine uses no GPU"


def test_without_a_meter_joules_are_absent_with_every_meters_reason_and_rates_are_measured():
    refused = (
        MeterRecord(name="nvml", used=False, reason="no NVIDIA driver"),
        MeterRecord(name="rapl", used=False, reason="no powercap"),
    )
    bare = a_cycle(rounds=(a_round(devices=()),))
    found = metrics([bare], Context(device="cpu", meters=refused))
    assert found["joules_per_token"].value is None
    assert found["joules_per_token"].reason == (
        "no meter reads the CPU here (nvml: no NVIDIA driver; rapl: no powercap)"
    )
    assert found["tokens_per_second"].value == pytest.approx(500)


def test_an_invalid_round_is_not_averaged_in():
    good = [a_round(i) for i in range(4)]
    bad = an_invalid_round(4, devices=(a_reading(80_000.0),))
    found = metrics([a_cycle(rounds=(*good, bad))], CUDA)["joules_per_token"]
    assert (found.value, found.n) == (pytest.approx(0.4), 4)


def test_when_no_round_is_valid_the_reason_is_the_guards_own():
    found = metrics([a_cycle(rounds=(an_invalid_round(0, "GPU-a: counter stood still"),))], CUDA)
    assert found["joules_per_token"].reason == "none of 1 rounds is valid: GPU-a: counter stood still"
    assert found["tokens_per_second"].value is None


def test_the_energy_interval_is_not_tighter_than_the_meters_own_uncertainty():
    unsure = tuple(a_round(i, devices=(a_reading(800.0, std=80.0),)) for i in range(4))
    found = metrics([a_cycle(rounds=unsure)], CUDA)["joules_per_token"]
    assert found.high > 0.4 * 1.1  # 10 % a round, 5 % for the mean of four, and t of a few


def test_co2_is_joules_times_the_grids_factor_and_an_estimate():
    found = metrics([a_cycle()], Context(device="cuda", grams_per_joule=400 / 3.6e6))["co2_grams"]
    assert found.value == pytest.approx(80 * 400 / 3.6e6)
    assert found.source == "estimated"
    assert "--lem-carbon" in metrics([a_cycle()], CUDA)["co2_grams"].reason


def test_latency_percentiles_are_numpys_over_all_requests():
    times = [RequestTimes(ttft_ms=10.0 + i, gaps_ms=(5.0, 7.0 + i)) for i in range(8)]
    rounds = tuple(a_round(i, latency=LatencyPass(seconds=1, requests=(t,))) for i, t in enumerate(times))
    found = metrics([a_cycle(rounds=rounds)], CUDA)
    gaps = [gap for t in times for gap in t.gaps_ms]
    assert found["ttft_p90_ms"].value == pytest.approx(np.percentile([10.0 + i for i in range(8)], 90))
    assert found["itl_p99_ms"].value == pytest.approx(np.percentile(gaps, 99))
    assert found["tpot_ms"].value == pytest.approx(np.mean([(12.0 + i) / 2 for i in range(8)]))


def test_a_single_output_token_has_a_ttft_and_no_tpot():
    alone = a_round(latency=a_latency_pass(ttft_ms=20.0, tokens=1))
    found = metrics([a_cycle(rounds=(alone,))], CUDA)
    assert found["ttft_ms"].value == pytest.approx(20.0)
    assert found["tpot_ms"].reason == "tpot needs at least two output tokens a request"


def test_peak_memory_is_summed_over_gpus():
    memory = tuple(DeviceMemory(device=f"GPU-{i}", allocated_bytes=100, reserved_bytes=150) for i in range(2))
    found = metrics([a_cycle(memory=memory)], CUDA)
    assert (found["peak_memory_bytes"].value, found["peak_reserved_bytes"].value) == (200, 300)


def test_an_engines_own_stamps_give_queue_prefill_decode_and_end_to_end():
    stamped = {"queue_ms": 1.0, "prefill_ms": 19.0, "decode_ms": 30.0, "e2e_ms": 51.0}
    slow = RequestTimes(ttft_ms=40.0, gaps_ms=(30.0,), **{name: 2 * value for name, value in stamped.items()})
    fast = RequestTimes(ttft_ms=20.0, gaps_ms=(30.0,), **stamped)
    found = metrics([a_cycle(rounds=(a_round(latency=LatencyPass(seconds=1, requests=(fast, slow))),))], CUDA)
    assert [found[f"{stem}_ms"].value for stem in ("queue", "prefill", "decode", "e2el")] == [1.5, 28.5, 45.0, 76.5]
    silent = metrics([a_cycle(rounds=(a_round(latency=a_latency_pass()),))], CUDA)["queue_p99_ms"]
    assert (silent.value, silent.reason) == (None, "the engine does not tell queue times")


def test_an_engines_counters_are_told_per_request_per_pass_and_at_their_peak():
    counted = {"cached_tokens": 160.0, "preemptions": 5.0, "kv_cache_usage": 0.25, "weights_bytes": 1e9}
    rounds = (a_round(0, counters=counted), a_round(1, counters={**counted, "kv_cache_usage": 0.5}))
    found = metrics([a_cycle(rounds=rounds)], CUDA)
    assert found["cached_tokens"].value == 160 / 80
    assert found["preemptions"].value == 5 / 10
    assert found["kv_cache_usage"].value == 0.5
    assert found["weights_bytes"].value == 1e9
    assert found["engine_flops_per_token"].reason == "the engine does not report it"
    flops = metrics([a_cycle(rounds=(a_round(counters={"engine_flops": 4e6}),))], CUDA)["engine_flops_per_token"]
    assert (flops.value, flops.source) == (2_000, "estimated")


def test_an_uneven_share_of_several_gpus_is_told():
    uneven = a_round(devices=(a_reading(900.0), a_reading(700.0, device="GPU-b")))
    found = metrics([a_cycle(rounds=(uneven,))], CUDA)["gpu_imbalance"]
    assert (found.value, found.source) == (pytest.approx(200 / 800), "measured")
    guessed = a_round(devices=(a_reading(900.0), a_reading(700.0, device="GPU-b", source="estimated")))
    assert metrics([a_cycle(rounds=(guessed,))], CUDA)["gpu_imbalance"].source == "estimated"
    assert metrics([a_cycle()], CUDA)["gpu_imbalance"].reason == "the engine runs on one GPU or none"


def test_a_window_has_energy_and_time_but_no_tokens():
    found = metrics([a_cycle(rounds=(a_round(passes=1, tokens=0, requests=0),))], Context(device="cuda", work=False))
    assert found["gpu_joules"].value == pytest.approx(800)
    assert found["joules_per_token"].reason == "a window has no tokens or requests"


def test_precision_is_judged_on_measured_joules_and_else_on_time():
    guess = a_round(devices=(a_reading(800.0, source="estimated"),))
    assert cost(a_round(), CUDA) == pytest.approx(0.4)
    assert cost(guess, CUDA) == pytest.approx(4 / 2_000)


def test_latency_over_several_cycles_is_the_spread_of_the_cycles_not_of_their_rounds():
    cycles = [
        a_cycle(index, rounds=tuple(a_round(i, latency=a_latency_pass(ttft)) for i in range(4)))
        for index, ttft in enumerate((20.0, 30.0, 40.0))
    ]
    found = metrics(cycles, CUDA)
    middle = (20 * 30 * 40) ** (1 / 3)  # cycles are averaged on the log scale
    assert (found["ttft_ms"].value, found["ttft_ms"].n) == (pytest.approx(middle), 3)
    assert found["ttft_p99_ms"].value == pytest.approx(middle)
    assert (found["ttft_ms"].low, found["ttft_ms"].high) == (20, 40)  # twelve rounds, but three launches only


def test_a_cycle_that_was_cut_short_counts_only_where_there_is_no_other():
    whole = a_cycle(0)
    cut = a_cycle(1, rounds=(a_round(1, devices=(a_reading(8_000.0),)),), stopped="interrupted")
    assert metrics([whole, cut], CUDA)["joules_per_token"].value == pytest.approx(0.4)
    assert metrics([cut], CUDA)["joules_per_token"].value == pytest.approx(4.0)


def test_joules_of_a_host_that_other_lanes_shared_say_so_and_those_of_a_gpu_do_not():
    cpu = a_reading(40.0, device="package-0", kind="cpu", meter="rapl")
    cycle = a_cycle(rounds=(a_round(devices=(a_reading(), cpu)),), lanes=2)
    found = metrics([cycle], CUDA)
    assert {key for key, value in found.items() if value.shared} == {"cpu_joules"}
    alone = metrics([cycle.model_copy(update={"lanes": 1})], CUDA)
    assert not any(value.shared for value in alone.values())
    assert metrics([cycle], CPU)["joules_per_token"].shared  # the engine's own device is the host


def test_a_test_that_ran_again_on_the_same_engine_measured_no_second_launch():
    first = a_cycle(rounds=tuple(a_round(i, devices=(a_reading(800.0 + i),)) for i in range(4)))
    again = a_cycle(rounds=tuple(a_round(i, devices=(a_reading(810.0 + i),)) for i in range(4)))
    found = metrics([first, again], CUDA)["joules_per_token"]
    assert (found.n, found.covers) == (8, "this session only")
    other = metrics([first, again.model_copy(update={"launch": "another"})], CUDA)["joules_per_token"]
    assert (other.n, other.covers) == (2, "range")


def test_the_time_of_a_build_is_told_apart_from_that_of_the_load():
    built = metrics([a_cycle(build_seconds=2.5)], CUDA)
    assert (built["build_seconds"].value, built["load_seconds"].value) == (2.5, 3.5)
    without = metrics([a_cycle()], CUDA)["build_seconds"]
    assert (without.value, without.reason) == (None, "this engine built nothing before it served")


def test_the_joules_of_a_build_are_its_gpus_and_no_part_of_those_of_serving():
    read = (a_reading(600.0), a_reading(500.0, device="GPU-b"), a_reading(90.0, device="package-0", kind="cpu"))
    built = metrics([a_cycle(build_seconds=2.5, build_devices=read)], CUDA)
    assert built["build_joules"].value == pytest.approx(1100.0)
    assert built["build_joules"].source == "measured"
    assert built["gpu_joules"].value == metrics([a_cycle()], CUDA)["gpu_joules"].value
    unread = metrics([a_cycle(build_seconds=2.5)], CUDA)["build_joules"]
    assert (unread.value, unread.reason) == (None, "no meter watched while the engine was built")
    gone = (a_reading(None, reason="GPU is lost"),)
    lost = metrics([a_cycle(build_seconds=2.5, build_devices=gone)], CUDA)["build_joules"]
    assert lost.value is None
    assert "GPU is lost" in lost.reason
    shared = (a_reading(600.0, faults=("another process is on the GPU: PID 4242",)),)
    beside = metrics([a_cycle(build_seconds=2.5, build_devices=shared)], CUDA)["build_joules"]
    assert (beside.value, beside.reason) == (None, "another process is on the GPU: PID 4242")
