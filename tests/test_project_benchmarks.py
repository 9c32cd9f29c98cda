"""The benchmarks' own arithmetic, and that one failing method costs a run nothing but itself."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import project  # puts its root on the path
import pytest
from builders import a_cycle, a_measurement, metrics

from benchmarks import evidence, figures
from benchmarks.accuracy import run as accuracy_run
from benchmarks.accuracy import summary as accuracy
from benchmarks.accuracy import warmth
from benchmarks.campaigns import lanes
from benchmarks.engines import asked, factors, kills, parallel, starts
from benchmarks.engines import summary as engines
from benchmarks.graphwork.results import Results, laid_out
from benchmarks.graphwork.work import GraphWork, Stamps, choose_size
from benchmarks.overhead import startup
from benchmarks.overhead import summary as overhead
from pytest_lem.model.measurement import EngineRecord, Measurement
from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.search import Search, SearchPoint
from pytest_lem.model.specs import EngineSpec, WorkloadSpec
from pytest_lem.store.experiments import experiment_of


def window(start_s: float, seconds: float, replays: int, **joules: float) -> dict[str, Any]:
    start = round(start_s * 1e9)
    named = {name.replace("_x_", " x "): value for name, value in joules.items()}
    ends = {"start_ns": start, "end_ns": start + round(seconds * 1e9)}
    return {**ends, "asked_s": seconds, "replays": replays, "joules": named}


class FakeBoard:
    """A board that draws 100 W for each power of two of the work's size."""

    def __init__(self) -> None:
        self.watts = 0.0

    def snapshot(self) -> dict[str, Any]:
        return {"sm_mhz": 1500, "celsius": 50}

    def average_w(self) -> float:
        return self.watts

    def instant_w(self) -> float:
        return self.watts

    def limit_w(self) -> float:
        return 500.0


class FakeWork:
    """Work whose stamps say that it ran, at once."""

    def __init__(self, board: FakeBoard) -> None:
        self.board, self.runs = board, []

    def build(self, size: int, seed: int) -> dict[str, Any]:
        self.board.watts = size / 4
        return {"size": size}

    def replays(self, seconds: float) -> int:
        return round(seconds * 100)

    def run(self, replays: int, start_ns: int = 0, meanwhile: Any = None) -> Stamps:
        self.runs.append(replays)
        if meanwhile is not None:
            meanwhile()
        start = max(start_ns, time.monotonic_ns())
        return Stamps(start, start + replays * 10_000_000, replays)


class Steady:
    """A method that finds 3 J a replay of 10 ms."""

    name = "steady"

    def begin(self) -> None:
        pass

    def end(self, seconds: float) -> float:
        return 300 * seconds


class Broken(Steady):
    name = "broken"

    def begin(self) -> None:
        raise OSError("no such device")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> accuracy_run.Bench:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(accuracy_run, "power_trace", lambda watts, start_ns, seconds: [(0.5, watts())])
    board = FakeBoard()
    results = Results(tmp_path / "accuracy.json", "Accuracy", windows=[])
    history = warmth.History(time.monotonic_ns())
    return accuracy_run.Bench(board, FakeWork(board), None, results, random.Random(0), history)  # type: ignore[arg-type] # fakes


def test_cv_is_the_sample_standard_deviation_over_the_mean() -> None:
    assert figures.cv([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert figures.cv([5.0]) is None


def test_a_quantile_lies_between_order_statistics() -> None:
    assert figures.quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert figures.quantile(range(21), 0.95) == 19
    assert figures.quantile([7.0], 0.95) == 7.0


def test_drift_between_two_references_is_followed_and_beyond_them_held() -> None:
    truth = [(0.0, 10.0), (10.0, 12.0), (20.0, 12.0)]
    assert [figures.interpolate(truth, x) for x in (-5, 0, 2.5, 10, 15, 99)] == [10, 10, 10.5, 12, 12, 12]


def test_a_paired_cost_is_the_mean_ratio_with_an_interval_that_ignores_what_pairs_share() -> None:
    drifting = [1.0, 2.0, 4.0, 8.0]
    found = figures.paired_cost([1.01 * value for value in drifting], drifting)
    assert found.mean == pytest.approx(0.01)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)
    noisy = figures.paired_cost([1.0, 1.02], [1.0, 1.0])
    assert noisy.low is not None
    assert noisy.high is not None
    assert noisy.low < 0 < noisy.mean < noisy.high


def test_an_error_is_taken_against_the_reference_windows_before_and_after() -> None:
    data = {
        "protocol": {"reference_s": 30.0},
        "windows": [
            window(0, 30, 3000, meter=9000.0),
            window(40, 1, 100, meter=303.0, counter=330.0),
            window(50, 1, 100, meter=309.0, counter=280.0),
            window(60, 30, 3000, meter=9300.0),
        ],
    }
    meter, counter = accuracy.rows(data)
    # The middles of the references are 15 s and 75 s, so the truth there is 3 J and 3.1 J a replay.
    truths = [100 * (3 + 0.1 * (middle - 15) / 60) for middle in (40.5, 50.5)]
    errors = [303 / truths[0] - 1, 309 / truths[1] - 1]
    assert (meter.method, meter.seconds, meter.n) == ("meter", 1, 2)
    assert meter.bias == pytest.approx(sum(errors) / 2)
    assert meter.worst == pytest.approx(max(map(abs, errors)))
    assert meter.cv == pytest.approx(figures.cv([303.0, 309.0]))
    assert counter.method == "counter"
    assert counter.worst == pytest.approx(max(330 / truths[0] - 1, 1 - 280 / truths[1]))


def test_a_method_that_fails_is_told_and_dropped_and_the_others_go_on(bench: accuracy_run.Bench) -> None:
    bench.beside = [Steady(), Broken()]
    bench.alone = [Steady()]
    accuracy_run.measure(bench, [1.0], repeats=8, max_seconds=1e6)
    rows = json.loads(bench.results.path.read_text())["windows"]
    lengths = [row["asked_s"] for row in rows]
    assert lengths[0] == lengths[-1] == 30.0
    assert lengths.count(1.0) == 8 + 2
    assert sorted(row["phase"] for row in rows if row["asked_s"] == 1.0 and "phase" in row) == list(range(8))
    assert all(row["joules"]["steady"] == pytest.approx(3 * row["replays"]) for row in rows)
    assert bench.results.errors == ["broken: OSError: no such device"] * accuracy_run.GIVE_UP_AFTER


def test_a_run_that_gets_too_long_still_ends_with_a_reference(bench: accuracy_run.Bench) -> None:
    accuracy_run.measure(bench, [1.0], repeats=24, max_seconds=0)
    assert [row["asked_s"] for row in bench.results.data["windows"]] == [30.0, 30.0]
    assert bench.results.errors == ["block 1 was cut: 0 s are over"]


def test_the_largest_work_below_the_power_limit_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    board = FakeBoard()
    work = FakeWork(board)
    tries = choose_size(work, board, (512, 1024, 2048, 4096), 0)  # type: ignore[arg-type] # fakes
    assert [(each["size"], each["watts"]) for each in tries] == [(2048, 512), (512, 128), (1024, 256)]
    assert board.watts == 256, "the chosen size is the one that is built"


@pytest.mark.parametrize(("busy", "elapsed"), [(0, 0), (10, 11), (3, 5), (30, 31), (12, 12), (60, 90)])
def test_rest_and_work_before_a_window_keep_the_chips_busy_share(busy: float, elapsed: float) -> None:
    rest, work = warmth.conditioning(busy, elapsed)
    assert warmth.PREHEAT_S <= work <= warmth.LONGEST_S
    share = (busy + work) / (elapsed + rest + work)
    assert share == pytest.approx(warmth.DUTY) or (work == warmth.LONGEST_S and rest == 0 and share < warmth.DUTY)


def test_the_rise_of_power_in_a_long_window_is_taken_out_of_a_short_ones_error() -> None:
    trace = [(0.05, 10.0)] + [(0.1 * tick, 297.0 if tick <= 10 else 300.0) for tick in range(1, 296)]
    mean = (10 * 297 + 285 * 300) / 295
    assert warmth.first_seconds(trace, 1.0) == pytest.approx(297 / mean)
    assert warmth.first_seconds(trace[:12], 1.0) is None, "a trace no longer than the window tells nothing"
    windows = [window(0, 30, 3000, meter=3.0 * 3000) | {"power_w": trace}, window(40, 1, 100, meter=297.0)]
    (row,) = accuracy.rows({"protocol": {"reference_s": 30.0}, "windows": windows})
    assert row.bias == pytest.approx(-0.01)
    assert row.bias_even == pytest.approx(0.99 / (297 / mean) - 1)
    assert row.p95_even < 0.0005


def test_driver_calls_that_overlap_the_work_are_counted_as_inside() -> None:
    calls = [(0, 3), (8, 11), (15, 16), (20, 22), (30, 33)]
    found = overhead.calls_around(calls, 10, 20)
    assert found == {"count": 5, "inside": 2, "nearest_before_ns": 7, "nearest_after_ns": 0}


def test_the_fixed_time_of_a_round_is_what_its_work_does_not_take() -> None:
    round_ = {**window(5, 4, 800), "round_s": 4.3, "cpu_s": 0.02}
    assert overhead.fixed_seconds(round_) == pytest.approx(0.3)
    assert overhead.cpu_share([round_, round_]) == pytest.approx(0.02 / 4.3)


def test_throughput_cost_compares_seconds_a_replay() -> None:
    pairs = [{"metered": window(0, 4.004, 1000), "plain": window(5, 4.0, 1000)}] * 3
    assert overhead.throughput_cost(pairs).mean == pytest.approx(0.001)


def test_import_time_counts_our_imports_once_and_no_one_elses() -> None:
    report = """
import time:       100 |        100 |     json
import time:        50 |        150 |   pytest_lem.plugin.options
import time:        20 |         20 |   pytest_lem
import time:        30 |        200 | pytest_lem.plugin
import time:       999 |        999 | colorama
import time:         7 |          7 | pytest_lem.late
"""
    assert startup.import_microseconds(report, "pytest_lem") == 200 + 7


def test_start_up_runs_differ_in_our_plugin_alone(tmp_path: Path) -> None:
    with_it, without = (startup.pytest_command(tmp_path, plugin=plugin) for plugin in (True, False))
    assert [word for word in with_it if word not in without] == ["pytest_lem.plugin"]


def test_results_have_a_line_for_each_row_and_read_back() -> None:
    data = {"title": "x", "rows": [{"a": 1}, {"a": [2, 3]}], "none": []}
    assert json.loads(laid_out(data)) == data
    assert laid_out(data).count("\n") == 8


FAKE_TORCH = """
class _Tensor:
    def __itruediv__(self, other):
        return self

class _Cuda:
    class CUDAGraph:
        def replay(self): pass
    class graph:
        def __init__(self, graph): pass
        def __enter__(self): pass
        def __exit__(self, *_): pass
    synchronize = staticmethod(lambda: None)
    get_device_name = staticmethod(lambda: "a GPU")

cuda, bfloat16, __version__ = _Cuda, None, "0"
manual_seed = lambda seed: print("a word on standard output")
randn = lambda *size, **options: _Tensor()
mm = lambda left, right, out: None
"""


def test_the_works_process_starts_when_told_reports_errors_and_ends_with_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with GraphWork("GPU-1", sys.executable) as work:
        with pytest.raises(RuntimeError, match="run before build"):
            work.run(1)
        assert work.build(64, seed=0)["size"] == 64
        start = time.monotonic_ns() + 20_000_000
        told: list[int] = []
        stamps = work.run(5, start, lambda: told.append(time.monotonic_ns()))
        assert stamps.replays == 5
        assert told[0] < start <= stamps.start_ns <= stamps.end_ns
        with pytest.raises(ValueError, match="a reader's fault"):
            work.run(1, 0, raise_fault)
        assert work.run(2).replays == 2
    assert work.exit_code == 0


def raise_fault() -> None:
    raise ValueError("a reader's fault")


def test_the_extra_time_of_slower_rounds_is_told_with_the_power_it_was_spent_at() -> None:
    rounds = [
        {"start_ns": 0, "end_ns": round((4 + late) * 1e9), "passes": 3, "tokens": 100, "valid": True, "latency": None}
        | {"devices": [{"kind": "gpu", "joules": 1000 + 120 * late}]}
        for late in (0.0, 0.3, 0.1, 0.9, 0.5, 0.2)
    ]
    report = {"measurements": [{"id": "test_a[vllm-bf16-b1-c0]", "cycles": [{"rounds": rounds}]}]}
    (line,) = engines._spread(report)
    assert line.endswith("vllm-bf16-b1-c0 120 W (0.00 % left).")
    assert engines._spread({"measurements": [{"id": "x", "cycles": [{"rounds": rounds[:5]}]}]}) == []


def test_starts_and_kills_are_told_with_what_was_left() -> None:
    start = {"load_s": 40.0, "stop_s": 5.0, "processes": 3, "before": 0, "held": 70 * 2**30, "at_once": 0, "after": 0}
    facts = {"gpus": [], "engine": {"backend": "vllm"}, "errors": [], "versions": {"vllm": "0.26.0", "cuda": None}}
    told = starts.render({**facts, "starts": [start, {**start, "before": 2**20, "after": 3 * 2**20}]})
    assert "less that before the first start: 3 MiB at most (goal 64)" in told
    assert "| 2 | 40.0 | 5.0 | 3 | 1 | 71680 | 0 | 3 |" in told
    kill = {"step": "round", "reached": True, "after_s": 50.0, "processes": 4, "held": 2**30}
    kill |= {"processes_gone_s": 0.2, "memory_free_s": None, "processes_left": 0, "left_bytes": 2**30}
    told = kills.render({**facts, "kills": [kill, {**kill, "reached": False}]})
    assert "| round | 50.0 | 4 | 1024 | 0.2 | – | 0 | 1024 |" in told
    assert "| round (not reached) |" in told


@pytest.mark.torch
def test_a_killed_benchmark_leaves_no_engine(tmp_path: Path) -> None:
    test = tmp_path / "test_killed.py"
    keywords = "backend='pytorch', device='cpu', batch=1, prompt_tokens=8, output_tokens=8"
    test.write_text(kills.TEST.format(keywords=keywords))
    found = kills.one_kill("load", test, tmp_path / "results", lambda: 0)
    assert found["reached"]
    assert found["processes"] >= 1
    assert found["processes_left"] == 0


def test_an_engines_passes_are_told_as_the_work_that_was_metered() -> None:
    work = {"backend": "vllm", "model": "synthetic:tiny", "precision": "bfloat16", "versions": {"vllm": "0.26.0"}}
    work |= {"workload": {"batch": 256, "prompt_tokens": 256, "output_tokens": 128}, "replay_seconds": 1.0}
    told = "vllm 0.26.0, synthetic:tiny in bfloat16, batch 256, 256 tokens in and 128 out, 1.00 s a pass"
    assert overhead._work(work) == told


def factor(precision: str, joules: float | None, gpu: str = "", **options: Any) -> dict[str, Any]:
    values = {"joules_per_token": joules, "tokens_per_second": 200.0, "weights_bytes": 2.0**30}
    values |= {"mfu": 0.42, "roofline_memory": 0.6, "roofline_arithmetic": None, "roofline_rest": None}
    read = dict.fromkeys(factors.READ) | options
    return {
        "engine": {
            "requested": {"model": "m", "precision": precision, "options": {"use_cache": True, **options}},
            "observed": {
                "precision": precision,
                "options": read,
                "linear_layers": {"Linear4bit uint8": 14},
                "versions": {"torch": "2.13"},
            },
        },
        "metrics": {key: {"value": value, "low": None, "high": None} for key, value in values.items()},
        "cycles": [{"gpus": [gpu] if gpu else [], "rounds": [{"valid": True}, {"valid": False}]}],
    }


def test_a_factors_row_stands_beside_its_base_with_what_ran() -> None:
    measured = [factor("bfloat16", 2.0), factor("float16", 1.0, quantization="4bit"), factor("float32", None)]
    report = {"measurements": measured, "environment": {"gpus": []}, "missing": ["x: no kernel"]}
    lines = factors.render({"report": report}).splitlines()
    assert lines[0] == "- no GPU; torch 2.13."
    assert lines[3] == "- Not measured: x: no kernel"
    base, quantised, unknown = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[-3:])
    assert base[:9] == ["m", "–", "base", "2", "1.000", "200", "1.000", "1", "1/2"]
    assert quantised[2:5] == ["float16, quantization=4bit", "1", "0.500"]
    assert quantised[9:13] == ["42 %", "60 %", "–", "–"]
    assert quantised[13].startswith("float16; attention_implementation=None; ")
    assert quantised[13].endswith("quantization=4bit; matmul_precision=None; 14 Linear4bit uint8")
    assert unknown[2:5] == ["float32", "–", "–"]


def test_a_factor_of_the_second_lane_is_held_against_the_base_of_its_own_gpu() -> None:
    again = {"attention_implementation": "sdpa"}
    first = [factor("bfloat16", 2.0, "GPU-aaaaaaaa-1"), factor("float32", 5.0, "GPU-aaaaaaaa-1")]
    second = [factor("bfloat16", 1.6, "GPU-bbbbbbbb-2", **again), factor("float32", 4.8, "GPU-bbbbbbbb-2")]
    one_lane = [factor("bfloat16", 1.0, "GPU-cccccccc-3", **again), factor("bfloat16", 2.0, "GPU-cccccccc-3")]
    report = {"measurements": [*first, *second, *one_lane], "environment": {"gpus": []}, "missing": []}
    rows = [line.split("|") for line in factors.render({"report": report}).splitlines()[-6:]]
    assert [(row[2].strip(), row[5].strip()) for row in rows] == [
        *(("aaaaaaaa", "1.000"), ("aaaaaaaa", "2.500")),
        *(("bbbbbbbb", "1.000"), ("bbbbbbbb", "3.000")),
        *(("cccccccc", "0.500"), ("cccccccc", "1.000")),
    ]


@pytest.mark.slow
@pytest.mark.torch
def test_attention_kernels_that_are_not_here_stand_in_the_table_with_what_was_said_of_them(tmp_path: Path) -> None:
    file = Path(project.ROOT, "benchmarks", "test_factors.py")
    command = [sys.executable, "-m", "pytest", str(file), "-k", "test_kernels", "--lem-results", str(tmp_path)]
    quiet = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(project.ROOT)}
    subprocess.run([*command, "-p", "no:cacheprovider"], cwd=tmp_path, env=quiet, capture_output=True, check=False)
    (report,) = tmp_path.glob("runs/*/report.json")
    told = factors.render({"report": json.loads(report.read_text())}).splitlines()
    first, second, third = (line for line in told if line.startswith("- Not measured: "))
    assert "'flash_attention_2' needs a GPU of compute capability 8.0; eager and sdpa are here" in first
    assert "'flash_attention_3' needs a GPU of compute capability 9.0; eager and sdpa are here" in second
    assert "attention_implementation='kernels-community/flash-attn2' c" in third
    assert third.endswith("; eager and sdpa are here")


def test_both_ways_to_tell_phases_apart_stand_in_one_table() -> None:
    by_windows = Phases(
        test="benchmarks/test_phases.py::test_phases[vllm-bf16-b32-c0]",
        outputs=(1, 64, 128),
        rounds=24,
        prefill=PhasePart(tokens=16_384, joules=200.0, joules_per_token=0.0122, low=0.012, high=0.0124),
        decode=PhasePart(tokens=4_064, joules=300.0, joules_per_token=0.0738, low=0.073, high=0.075),
        whole_joules=500.0,
        sum_error=-0.004,
        source="measured",
    )
    by_regression = Phases(
        test="benchmarks/test_phases.py::test_phases_of_traffic[vllm-bf16-poisson20-b64-c0]",
        method="regression",
        rounds=8,
        windows=320,
        prefill=PhasePart(tokens=160_000, reason="unresolvable: too wide"),
        decode=PhasePart(tokens=80_000, joules=1_680.0, joules_per_token=0.021, low=0.011, high=0.031),
        base=BasePart(seconds=35.0, joules=14_600.0, watts=414.0, low=389.0, high=440.0),
        whole_joules=16_600.0,
        sum_error=0.021,
        source="measured",
        notes=("1 round left out: fewer than 10 windows",),
    )
    versions = {"engine": {"observed": {"versions": {"vllm": "0.26.0"}}}}
    report = {"environment": {"gpus": []}, "measurements": [versions]}
    report["phases"] = [each.model_dump(mode="json") for each in (by_windows, by_regression)]
    lines = evidence.GENERATORS["phases"]({"report": report}).splitlines()
    assert lines[0] == "- no GPU; vllm 0.26.0."
    assert lines[2] == "- vllm-bf16-poisson20-b64-c0, prefill: unresolvable: too wide."
    assert lines[3] == "- vllm-bf16-poisson20-b64-c0: 1 round left out: fewer than 10 windows."
    windows, regression = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[-2:])
    assert windows[1:] == [
        "windows",
        "12.2 (12 … 12.4)",
        "73.8 (73 … 75)",
        "in the phases",
        "40 % / 60 % / –",
        "-0.4 %",
        "24",
        "measured",
    ]
    assert regression[1:] == [
        "regression",
        "–",
        "21 (11 … 31)",
        "414 (389 … 440)",
        "– / 10 % / 88 %",
        "+2.1 %",
        "8 (320 windows)",
        "measured",
    ]


TPOT_MS = {1: 5.0, 2: 8.0, 4: 12.0, 8: 20.0, 16: 40.0}
JOULES = {1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0, 16: 0.5}


def batch_measured(batch: int, test: str, **changes: Any) -> Measurement:
    values = metrics(joules_per_token=JOULES[batch], tpot_p99_ms=TPOT_MS[batch])
    engine = {"requested": EngineSpec(backend="vllm"), "observed": {"versions": {"vllm": "0.26.0"}}}
    return a_measurement(
        test,
        engine=EngineRecord(**{**engine, **changes}),
        workload=WorkloadSpec(batch=batch),
        cycles=(a_cycle(rounds=3),),
        metrics=values,
    )


def searched(best: int, **changes: Any) -> Search:
    """Of the batches 8 and 16 was measured as much as tells that 8 is the best."""
    points = tuple(
        SearchPoint(
            value=batch,
            name=f"batch={batch}",
            meets=meets,
            why="" if meets else "tpot_p99_ms 40 is over 30 ms",
            objective=JOULES[batch],
            low=0.98 * JOULES[batch],
            high=1.02 * JOULES[batch],
            latency_ms=TPOT_MS[batch],
            rounds=3,
        )
        for batch, meets in ((4, True), (16, False), (8, True))
    )
    found = {"over": "batch", "objective": "joules_per_token", "unit": "J/tok", "better": "lower"}
    found |= {"slo": {"tpot_p99_ms": 30.0}, "candidates": tuple(JOULES), "points": points, "latency": "tpot_p99_ms"}
    return Search(**{"test": "t.py::test_search[vllm-bf16-c0]", **found, "best": best, "rounds": 9, **changes})


def search_page(search: Search, *more: Measurement) -> list[str]:
    # A report names a search by the item that made it, and measurements by their experiment.
    tried = [batch_measured(int(point.value), experiment_of(search.test)) for point in search.points]
    sweep = [batch_measured(batch, f"t.py::test_sweep[vllm-bf16-b{batch}]") for batch in JOULES]
    made = [each.model_dump(mode="json") for each in (*tried, *more, *sweep)]
    report = {"environment": {"gpus": []}, "measurements": made, "searches": [search.model_dump(mode="json")]}
    return evidence.generator("search-h100-vllm-8b")({"report": report}).splitlines()


def test_a_search_stands_beside_the_sweep_of_all_that_it_might_have_measured() -> None:
    elsewhere = EngineSpec(backend="pytorch")
    other = batch_measured(8, "t.py::test_sweep[pytorch-bf16-b8]", requested=elsewhere)
    lines = search_page(searched(8), other)
    assert lines[0] == "- no GPU; vllm 0.26.0."
    assert lines[2] == "test_search[vllm-bf16-c0], joules_per_token over batch; bounds: tpot_p99_ms 30."
    assert lines[4:7] == [
        "- Search: best 8; 3 of 5 measured, 9 rounds.",
        "- Sweep: best 8; 5 of 5 measured, 15 rounds.",
        "- The same, with 60% of the rounds.",
    ]
    untried, best, missed = ([cell.strip() for cell in lines[place].split("|")[1:-1]] for place in (-5, -2, -1))
    assert untried == ["1", "–", "–", "–", "8 (7.84 … 8.16)", "5", "–", "kept"]
    assert best[:6] == ["8 **best**", "3", "1 (0.98 … 1.02)", "20", "1 (0.98 … 1.02)", "20"]
    assert missed[-2:] == ["missed: tpot_p99_ms 40 is over 30 ms", "missed"]


def test_a_search_that_found_another_best_than_the_sweep_is_told() -> None:
    assert "- They do not agree." in search_page(searched(4))
    assert "- Search: best 4 (too close to tell: 8); 3 of 5 measured, 9 rounds." in search_page(searched(4, ties=(8,)))
    assert "- One of those that the search calls alike, with 60% of the rounds." in search_page(searched(4, ties=(8,)))
    assert "- They do not agree." in search_page(searched(4).replace(best=None))


def test_boards_are_named_by_uuid_where_cuda_sees_only_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two:
        def __init__(self, index: int = 0) -> None:
            self.uuid = f"GPU-{index}"

        def facts(self) -> dict[str, Any]:
            return {"uuid": self.uuid, "name": "H100", "driver": "580", "count": 2}

    monkeypatch.setattr(asked, "Board", Two)
    assert [gpu["uuid"] for gpu in asked.boards(["GPU-1"])] == ["GPU-1"]
    assert asked.named(asked.boards(["GPU-1"])) == "H100, driver 580"
    assert asked.named(asked.boards([])) == "no GPU"


def test_lanes_are_told_with_what_was_measured_twice_and_what_two_gain() -> None:
    row = {"test": "pytorch-bf16-b1-c0", "worker": "gw0", "gpus": ["GPU-aaaabbbbcccc"], "launch": "7"}
    row |= {"stopped": "rounds", "seconds": 20.0, "load_s": 5.0}
    first = {"planned": 2, "workers": 2, "killed_after": 1, "exit": 1, "measured": [row], "seconds": 60.0}
    then = {"exit": 0, "seconds": 30.0, "measured": [row, row], "missing": [], "complete": True}
    then |= {"experiments": 1, "cycles": 2}
    speed = [{"n": n, "workers": w, "gpus": ["GPU-a"] * w, "exit": 0, "cycles": 8} for n, w in (("1", 1), ("auto", 2))]
    speed = [{**each, "seconds": s, "cycles_per_hour": 28_800 / s} for each, s in zip(speed, (200, 104), strict=True)]
    speed[1]["measured"] = [row]
    told = lanes.render({"gpus": [], "errors": [], "killed": {"first": first, "resumed": then}, "speed": speed})
    assert "one of them killed after 1 had measured; exit 1, 1 measured in 60 s" in told
    assert "1 experiments with 2 cycles in the report, complete, 0 missing; measured twice: pytorch-bf16-b1-c0." in told
    assert "| pytorch-bf16-b1-c0 | gw0 | GPU-aaaabbbb | 7 | 5.0 | 20.0 | rounds |" in told
    assert "2 workers measure ×1.92 as many cycles an hour as one." in told
    assert "| auto | pytorch-bf16-b1-c0 | GPU-aaaabbbb | 7 | 5.0 | 20.0 |" in told


def test_a_second_run_on_a_held_gpu_is_told_with_what_it_said_and_that_it_began_after_the_first() -> None:
    first = {"pid": 7, "exit": 0, "gpus": ["GPU-a"], "began_s": 100.0, "ended_s": 130.0}
    second = {"pid": 8, "exit": 0, "gpus": ["GPU-a"], "began_s": 141.5, "ended_s": 170.0, "told": "waiting for GPU-a…"}
    waited = {"seconds": 80.0, "first": first, "second": second}
    told = lanes.render({"gpus": [], "errors": [], "waiting": waited})
    assert "while the first (PID 7) held it said: ``waiting for GPU-a…``" in told
    assert "began 11.5 s after the first run's last one had ended; exits 0 and 0." in told


def test_engines_over_two_gpus_are_told_by_gpu_with_what_they_cost_beside_one() -> None:
    def reading(uuid: str, joules: float) -> dict[str, Any]:
        return {"device": uuid, "kind": "gpu", "joules": joules, "std": None}

    def measured(name: str, options: dict[str, Any], joules: dict[str, float], rate: float) -> dict[str, Any]:
        asked = {"backend": "vllm", "model": "synthetic:llama-3.1-8b", "options": options}
        rounds = [
            {"valid": True, "tokens": 100, "devices": [reading(uuid, more * each) for uuid, each in joules.items()]}
            for more in (1.0, 1.01)
        ]
        values = {"joules_per_token": sum(joules.values()) / 100, "tokens_per_second": rate, "ttft_ms": 9, "tpot_ms": 3}
        return {
            "id": f"test[{name}]",
            "engine": {"requested": asked, "observed": {"versions": {"vllm": "0.26.0"}}},
            "workload": {"batch": 32},
            "cycles": [{"gpus": list(joules), "rounds": rounds}],
            "metrics": {key: {"value": value, "low": None, "high": None} for key, value in values.items()},
        }

    two = measured("tp", {"tensor_parallel_size": 2}, {"GPU-aaaaaaaa": 12.0, "GPU-bbbbbbbb": 8.0}, 1500)
    one = measured("one", {}, {"GPU-aaaaaaaa": 16.0}, 1000)
    report = {"environment": {"gpus": []}, "run": {"id": "r", "complete": True}, "measurements": [two, one]}
    first, second = parallel.render({"report": report}).splitlines()[-2:]
    # Two rounds are too few for an interval: their range is told.
    assert first == (
        "| vllm, one GPU | 32 | 0.16 | 1000 | 9 | 3 | 0.7 % | aaaaaaaa 0.1608 (0.16 … 0.1616) | – | – | – |"
    )
    each = "aaaaaaaa 0.1206 (0.12 … 0.1212), bbbbbbbb 0.0804 (0.08 … 0.0808)"
    assert second.endswith(f"| 0.7 % | {each} | 20.0 % | 1.25 | 1.50 |")
    six = {**one, "cycles": [{"rounds": [round_ for round_ in one["cycles"][0]["rounds"] for _ in range(3)]}]}
    interval = parallel.per_gpu(six)["GPU-aaaaaaaa"]
    assert (interval.n, interval.covers) == (6, "this session only")
    assert interval.low < 0.16 < interval.value < 0.1616 < interval.high
    read = {**six["cycles"][0]["rounds"][0], "devices": [{**reading("GPU-aaaaaaaa", 16.0), "std": 1.6}]}
    (unsure,) = parallel.per_gpu({"cycles": [{"rounds": [read] * 4}]}).values()
    assert unsure.high / unsure.value > 1.1  # never tighter than what the meter does not know
    launches = parallel.per_gpu({"cycles": [{"rounds": [read] * 4}] * 2})["GPU-aaaaaaaa"]
    assert (launches.value, launches.n, launches.covers) == (pytest.approx(0.16), 2, "range")
    placed = {"engine": {"requested": {"backend": "pytorch", "gpus": 2, "options": {"device_map": "auto"}}}}
    assert parallel._engine(placed) == "pytorch, layers on 2 GPUs, one at a time"
