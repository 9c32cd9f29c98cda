"""FLOP/s, utilisation, joules per TFLOP and the roofline of rounds, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import a_cycle, a_measurement, a_meter, a_round, a_window, an_engine

import pytest_lem.arithmetic
from pytest_lem.aggregate import metrics
from pytest_lem.arithmetic import arithmetic_of
from pytest_lem.engines.models import SYNTHETIC
from pytest_lem.launches import context_of, launches, ungateable
from pytest_lem.model.arithmetic import Arithmetic, Coefficients
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.measurement import Measurement
from pytest_lem.model.reading import MeterDevice
from pytest_lem.model.round import Served
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.render.html.summary import summary
from pytest_lem.render.roofline import COUNTED, roofline, roofline_lines
from pytest_lem.render.terminal import table
from pytest_lem.reporting import late_metrics
from pytest_lem.workloads.work import build_work

# A pass of 8 requests of 100 + 25 tokens: the default round is ten of them in 4 s, for 800 J. 24 steps of 10 ms each
# read 24 × 16 GB, which an H100 could do in 4.77 ms a step, and do 24 × 2 TFLOP, which takes it 2.02 ms.
PASS = Arithmetic(
    method="analytic",
    prefill_flops=8e12,
    decode_flops=48e12,
    requests=8,
    prompt_tokens=800,
    output_tokens=200,
    decode_tokens=192,
    decode_steps=24,
    weights_read_bytes=24 * 15e9,
    kv_read_bytes=24 * 1e9,
)
TINY = {
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
OBSERVED = {"architecture": TINY, "precision": "bfloat16", "weights_bytes": 1_115_392, "parameters": 557_696}


def hooked(gap_ms: float = 10.0) -> LatencyPass:
    return LatencyPass(seconds=0.26, requests=(RequestTimes(ttft_ms=20, gaps_ms=(gap_ms,) * 24, count=8),))


def measured(
    arithmetic: Arithmetic | None = PASS, gap_ms: float = 10.0, changes: dict | None = None, **more
) -> Measurement:
    rounds = tuple(a_round(index, **{"latency": hooked(gap_ms), **(changes or {})}) for index in range(2))
    found = a_measurement(cycles=(a_cycle(rounds=rounds, arithmetic=arithmetic),), **more)
    return found.model_copy(update={"metrics": late_metrics(found)})


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("flops_per_token", 56e12 / 200),
        ("flops_per_request", 56e12 / 8),
        ("prefill_flops_per_token", 8e12 / 800),
        ("decode_flops_per_token", 48e12 / 192),
        ("flops_per_second", 560e12 / 4),
        ("mfu", 140e12 / 989.4e12),
        ("joules_per_tflop", 800 / 560),
        ("roofline_memory", 16e9 / 3352e9 / 0.010),
        ("roofline_arithmetic", 2e12 / 989.4e12 / 0.010),
        ("roofline_rest", 1 - 16e9 / 3352e9 / 0.010),
    ],
)
def test_each_definition_by_hand(key, expected):
    found = measured().metrics[key]
    assert found.value == pytest.approx(expected)
    assert found.source == "estimated"


def test_joules_per_tflop_have_the_interval_of_their_joules_and_no_gate_judges_them():
    found = measured()
    tflop, token = found.metrics["joules_per_tflop"], found.metrics["joules_per_token"]
    assert tflop.low / tflop.value == pytest.approx(token.low / token.value)
    assert ungateable(found, "joules_per_tflop").startswith("it is estimated")
    assert launches(found, "flops_per_second")[0].values == pytest.approx((140e12, 140e12))


def test_a_round_cut_out_of_traffic_does_its_share_of_the_pass():
    whole = Served(start_ns=0, end_ns=8_000_000_000, requests=8, prompt_tokens=800, tokens=200, steady=True)
    part = {"passes": 1, "requests": 4.5, "prompt_tokens": 400, "tokens": 150, "served": whole}
    found = measured(changes=part).metrics
    assert found["flops_per_second"].value == pytest.approx((8e12 / 2 + 48e12 * 3 / 4) / 4)
    assert found["flops_per_token"].value == pytest.approx(56e12 / 200)


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"arithmetic": None}, "mfu", "the FLOPs of its work were not recorded"),
        ({"arithmetic": Arithmetic(method=None, reason="not known")}, "flops_per_token", "not known"),
        (
            {"engine": an_engine(precision="bf16"), "meters": ()},
            "mfu",
            "the GPU's name is not known: no meter told it (--lem-meter=nvml does)",
        ),
        ({"changes": {"counters": {"cached_tokens": 64}}}, "mfu", "64 prompt tokens came out of the prefix cache"),
        ({"changes": {"latency": None}}, "roofline_rest", "token times were not recorded"),
        (
            {"arithmetic": PASS.replace(decode_steps=None, bytes_reason="requests come one by one")},
            "roofline_memory",
            "requests come one by one",
        ),
    ],
)
def test_what_cannot_be_told_is_absent_with_its_reason(changes, key, reason):
    found = measured(**changes).metrics[key]
    assert found.value is None
    assert found.reason.startswith(reason)


def test_a_single_output_token_is_no_decoding():
    single = PASS.replace(decode_flops=0, output_tokens=8, decode_tokens=0, decode_steps=0)
    found = measured(single).metrics
    for key in ("decode_flops_per_token", "roofline_memory"):
        assert found[key].reason == "a single output token a request is no decoding"


def test_two_gpus_have_the_peaks_of_both():
    gpus = ("GPU-a", "GPU-b")
    devices = tuple(MeterDevice(id=gpu, kind="gpu", name="NVIDIA H100 80GB HBM3") for gpu in gpus)
    cycle = a_cycle(rounds=(a_round(),), gpus=gpus, arithmetic=PASS)
    found = a_measurement(cycles=(cycle,), meters=(a_meter(devices=devices),))
    assert context_of(found).peaks.flops_per_second == 2 * 989.4e12


def test_an_engine_that_multiplies_float32_as_tf32_is_held_against_the_peak_of_that():
    devices = (MeterDevice(id="GPU-a", kind="gpu", name="NVIDIA H100 80GB HBM3"),)
    cycle = a_cycle(rounds=(a_round(),), gpus=("GPU-a",), arithmetic=PASS)

    def peak(tf32):
        observed = {"options": {"tf32": tf32}}
        engine = an_engine(precision="float32").model_copy(update={"observed": observed})
        found = a_measurement(cycles=(cycle,), engine=engine, meters=(a_meter(devices=devices),))
        return context_of(found).peaks.flops_per_second

    assert peak(True) == pytest.approx(494.7e12)
    assert peak(False) == pytest.approx(66.9e12)


def test_layers_of_which_it_is_not_known_what_they_multiply_in_still_have_a_roofline_of_memory():
    engine = an_engine().model_copy(update={"observed": {"options": {"quantization": "8bit"}}})
    found = measured(engine=engine)
    reason = "in what numbers layers that are quantised as '8bit' are multiplied is not known"
    assert found.metrics["roofline_memory"].value == pytest.approx(16e9 / 3352e9 / 0.010)
    for key in ("mfu", "roofline_arithmetic", "roofline_rest"):
        assert (found.metrics[key].value, found.metrics[key].reason) == (None, reason)
    assert found.metrics["flops_per_second"].value == pytest.approx(140e12)
    assert roofline(found) == f"of a step of decode 48 % are 14.9 GiB read; of its 2.00 TFLOP: {reason}"
    assert roofline(found) in table([found], width=None)


def test_a_window_has_no_flops():
    found = late_metrics(a_window())
    assert found["flops_per_token"].reason == "a window has no tokens or requests"
    assert metrics((), context_of(a_window()))["mfu"].value is None


@pytest.mark.parametrize(
    ("gap_ms", "arithmetic", "bound"),
    [
        (6.0, PASS, "memory: of a step 80 % are 14.9 GiB read, 34 % are 2.00 TFLOP, 20 % neither"),
        (2.5, PASS.replace(weights_read_bytes=0), "arithmetic: of a step 12 % are 954 MiB read, 81 % are 2.00 TFLOP"),
        (50.0, PASS, "the host, or by kernels below their peak: of a step 9.5 % are 14.9 GiB read"),
    ],
)
def test_the_line_says_what_binds_decode(gap_ms, arithmetic, bound):
    line = roofline(measured(arithmetic, gap_ms))
    assert line.startswith(f"decode is bound by {bound}")
    assert line.endswith("(FLOPs: analytic)")


def test_the_line_on_the_page_is_that_of_an_8b_shape_at_batch_8_in_steps_of_5_7_ms_on_an_h100():
    shape = json.loads((SYNTHETIC / "llama-3.1-8b.json").read_text())
    table = 2 * shape["vocab_size"] * shape["hidden_size"]
    observed = {"architecture": shape, "weights_bytes": 2 * 8_030_261_248, "embedding_bytes": table}
    known = arithmetic(WorkloadSpec(batch=8, prompt_tokens=256, output_tokens=128), **observed)
    line = roofline(measured(known, gap_ms=5.72))
    assert line.startswith("decode is bound by memory: of a step 80 % are 14.3 GiB read, 2.1 % are 121 GFLOP")
    page = (Path(__file__).parents[1] / "docs" / "flops.md").read_text()
    assert f"test_decode[pytorch-bf16-b8-c0]: {line}" in " ".join(page.split())


def test_the_table_has_a_line_of_each_measurement_whose_roofline_is_known_and_none_where_none_is():
    found = measured()
    lines = table([found, a_measurement("t.py::other")], width=None).splitlines()
    assert [line for line in lines if "decode is bound" in line] == roofline_lines(
        [found], ["test_decode[pytorch-bf16-b8-c0]"]
    )[:1]
    assert lines[-1] == COUNTED
    assert "roofline" not in table([a_measurement()], width=None)
    page = summary([found], ())
    assert "decode is bound by the host, or by kernels below their peak" in page


def test_a_method_that_was_asked_and_did_not_answer_is_a_footnote_with_both_numbers():
    note = "calflops says 4e+13 FLOPs a pass, 28.6 % below the analytic 5.6e+13"
    text = table([measured(PASS.replace(notes=(note,)))], width=None)
    assert f"[1] FLOPs are analytic: {note}" in text
    last_resort = PASS.replace(method="parameters", notes=("the FLOPs of the architecture 'new' are not known",))
    text = table([measured(last_resort)], width=None)
    assert "[1] FLOPs are 2 × parameters: the FLOPs of the architecture 'new' are not known" in text


def arithmetic(workload: WorkloadSpec, **observed) -> Arithmetic:
    work = build_work(workload, 1024, lambda texts: [])
    return arithmetic_of(EngineSpec(backend="pytorch"), OBSERVED | observed, work, "analytic")


def test_the_work_of_a_pass_is_that_of_its_requests_and_its_waves():
    found = arithmetic(WorkloadSpec(batch=2, requests=4, prompt_tokens=10, output_tokens=5))
    per_token = 2 * (2 * 128 * (4 + 4) * 32 + 2 * 4 * 32 * 128 + 6 * 128 * 256)
    assert found.method == "analytic"
    assert found.prefill_flops == 4 * (10 * per_token + 55 * 4 * 4 * 32 * 2 + 2 * 128 * 1024)
    assert found.decode_flops == 4 * (4 * (per_token + 2 * 128 * 1024) + (11 + 12 + 13 + 14) * 4 * 4 * 32 * 2)
    assert (found.requests, found.prompt_tokens, found.output_tokens, found.decode_tokens) == (4, 40, 20, 16)
    assert found.decode_steps == 8
    # an untied embedding's rows are not read: 2 × 1024 × 128 of 557,056 weights that are
    assert found.weights_read_bytes == pytest.approx(8 * 1_115_392 * (1 - 1024 * 128 / 557_056))
    assert found.kv_read_bytes == 4 * (11 + 12 + 13 + 14) * 2 * 2 * 2 * 32 * 2


def test_counting_reaches_to_the_longest_request(monkeypatch):
    """Where layers attend to a window, what shorter contexts cost says nothing of a longer one."""
    cost = Coefficients(per_token=60, per_position=10, per_sample=40, positions=324)
    asked = []
    monkeypatch.setattr(pytest_lem.arithmetic, "counted", lambda *how: asked.append(how[2]) or cost)
    work = build_work(WorkloadSpec(batch=2, prompts=((2,) * 100, (2,) * 300), output_tokens=25), 1024, lambda texts: [])
    observed = OBSERVED | {"architecture": {"model_type": "new"}}
    found = arithmetic_of(EngineSpec(backend="pytorch"), observed, work, "counted")
    assert asked == [300 + 25 - 1]
    assert (found.method, found.coefficients) == ("counted", cost)


def test_quantised_weights_are_fewer_bytes_and_the_same_flops():
    work = WorkloadSpec(batch=2, requests=4, prompt_tokens=10, output_tokens=5)
    whole, packed = arithmetic(work), arithmetic(work, options={"quantization": "4bit"}, weights_bytes=300_000)
    assert (packed.method, packed.coefficients) == (whole.method, whole.coefficients)
    assert (packed.prefill_flops, packed.decode_flops) == (whole.prefill_flops, whole.decode_flops)
    assert packed.weights_read_bytes == pytest.approx(whole.weights_read_bytes * 300_000 / 1_115_392)
    assert packed.kv_read_bytes == whole.kv_read_bytes


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        ({"options": {"data_parallel_size": 2}}, "replicas decode side by side, each its own part of the waves"),
        (
            {"options": {"pipeline_parallel_size": 2}},
            "layers on several GPUs read their weights one GPU after the other",
        ),
        (
            {"placement": {"GPU-a": {}, "GPU-b": {}}},
            "layers on several GPUs read their weights one GPU after the other",
        ),
        ({"options": {"prompt_lookup_num_tokens": 10}}, "drafted tokens share a pass: how many steps there are is not"),
        ({"options": {"assistant_model": "synthetic:tiny", "num_assistant_tokens": 5}}, "drafted tokens share a pass"),
        ({"options": {"speculative_config": {"method": "ngram"}}}, "drafted tokens share a pass"),
        ({"engine": {"max_num_seqs": 1}}, "the engine runs at most 1 requests together"),
        ({"weights_bytes": None}, "the engine does not tell what its weights take"),
        ({"architecture": {"model_type": "new"}}, "the model's architecture is not known"),
    ],
)
def test_bytes_that_are_not_known_are_absent_and_flops_are_there(observed, reason):
    found = arithmetic(WorkloadSpec(batch=2, prompt_tokens=10, output_tokens=5), **observed)
    assert found.prefill_flops
    assert found.decode_steps is None
    assert found.bytes_reason.startswith(reason)


def test_an_fp8_cache_is_half_as_wide_and_an_engine_without_a_cache_has_no_such_flops():
    work = WorkloadSpec(batch=2, prompt_tokens=10, output_tokens=5)
    wide, narrow = arithmetic(work), arithmetic(work, engine={"kv_cache_dtype": "fp8_e4m3"})
    assert narrow.kv_read_bytes == wide.kv_read_bytes / 2
    without = arithmetic(work, options={"use_cache": False})
    assert (without.method, without.reason) == (None, "without a cache every token is computed again and again")
