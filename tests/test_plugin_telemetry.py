"""What GPUs told while the engine worked, as a user meets it: in the report, the table, the run's folder; and off."""

from __future__ import annotations

import json
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from fake_pynvml import WorkingGpu, fake_pynvml

from pytest_lem.meters import nvml, telemetry
from pytest_lem.meters.nvml_meter import GpuMeter
from pytest_lem.model.telemetry import BY_KEY
from pytest_lem.plugin.check import telemetry_hertz
from pytest_lem.plugin.recorder import Recorder
from pytest_lem.store import timelines

GPU = "GPU-aaaa1111-0000"
TEST = """
import pytest

@pytest.mark.lem(backend="fake", output_tokens=20, fake={"token_seconds": 0.01})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
ROUNDS = ("-o", "lem_meter=nvml", "-o", "lem_round_seconds=0.8", "-o", "lem_rounds=2")
ACTIVE = {1: 82.0, 2: 75.0, 3: 11.0, 5: 72.0, 10: 20.0}
TELEMETRY = ("nvmlDeviceGetUtilizationRates", "nvmlGpmQueryDeviceSupport", "nvmlGpmSampleGet")


@pytest.fixture
def gpu(project, monkeypatch):
    """A project on a machine with one GPU that always works; gives the module that stands for NVML."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvml.library.cache_clear()
    # How much a busy host lets readings take is not what is tested here.
    monkeypatch.setattr(telemetry, "CORE_SHARE", 1.0)
    monkeypatch.setattr(telemetry, "GOAL_SHARE", 1.0)
    lib = fake_pynvml(WorkingGpu(GPU, gpm=ACTIVE, used=8 * 2**30, reasons=0x04))
    monkeypatch.setitem(sys.modules, "pynvml", lib)
    yield lib
    nvml.library.cache_clear()


@pytest.fixture
def no_pyarrow(monkeypatch):
    monkeypatch.setattr(timelines, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name))


def pairs(edges):
    """The head and the tail of each window."""
    return list(zip(edges[::2], edges[1::2], strict=True))


def kept(project) -> list[Path]:
    return sorted((project.runs()[-1] / "telemetry").glob("*"))


@pytest.fixture
def edges(gpu, monkeypatch):
    """Which calls (from, to) were made while the meter read the head or the tail of a window."""
    found: list[tuple[int, int]] = []

    def noted(method):
        def act(*arguments):
            began = len(gpu.calls)
            try:
                return method(*arguments)
            finally:
                found.append((began, len(gpu.calls)))

        return act

    monkeypatch.setattr(GpuMeter, "begin", noted(GpuMeter.begin))
    monkeypatch.setattr(GpuMeter, "end", noted(GpuMeter.end))
    return found


def test_each_round_says_how_its_gpu_was_used_and_the_report_what_that_comes_to(project, gpu, edges):
    project.write(TEST)
    result = project.run(*ROUNDS)
    result.assert_outcomes(passed=1)

    (cycle,) = project.report()["measurements"][0]["cycles"]
    for round_ in [*cycle["warmup_rounds"], *cycle["rounds"]]:
        (use,) = round_["use"]
        assert use["device"] == GPU
        assert set(use["gauges"]) == set(BY_KEY)
        assert use["gauges"]["sm_active"]["mean"] == 0.75
        assert use["gauges"]["power_w"]["mean"] == 120.0
        assert use["throttle_reasons"] == {"sw_power_cap": 1.0}
        assert 0 < use["hertz"] < 21
    expected = {"sm_active": 0.75, "tensor_active": 0.72, "dram_active": 0.2, "peak_used_bytes": 8 * 2**30}
    assert {key: project.metric(key)["value"] for key in expected} == pytest.approx(expected)
    assert {project.metric(key)["source"] for key in expected} == {"measured"}
    told = " ".join(line.strip() for line in result.outlines)
    assert "SM 75 %, tensor 72 %, DRAM 20 %, a kernel ran 97 % of the time; 120 W (at most 120), 1980 MHz" in told
    assert "8.00 GiB used; throttled: sw_power_cap 100 % of the time" in told
    (raw,) = (project.runs()[-1] / "raw").glob("*GPU-aaaa*.json")
    readings = json.loads(raw.read_text())["readings"]
    assert [reading["use"]["gauges"]["dram_active"]["mean"] for reading in readings] == [0.2] * 3

    # Nothing is asked while the meter takes the edges of a window.
    assert len(edges) == 6, "a head and a tail of each round, the warm-up's too"
    at_edges = Counter(name for begin, end in edges for name, _ in gpu.calls[begin:end])
    assert at_edges["nvmlDeviceGetTotalEnergyConsumption"] > 20
    assert [name for name in TELEMETRY if name in at_edges] == []
    # Nor between one round's tail and the next one's head: only from a head's end to its tail's beginning.
    calls = list(enumerate(gpu.calls))[edges[0][0] :]
    asked = [index for index, (name, _) in calls if name == "nvmlDeviceGetUtilizationRates"]
    rounds = [*cycle["warmup_rounds"], *cycle["rounds"]]
    of_rounds = [[index for index in asked if head[1] <= index < tail[0]] for head, tail in pairs(edges)]
    assert sum(map(len, of_rounds)) == len(asked) >= 3
    # There it is asked before the work begins, and between its end and its message, no more often than the rate lets.
    for (head, tail), round_, indices in zip(pairs(edges), rounds, of_rounds, strict=True):
        begin, end = round_["start_ns"], round_["end_ns"]
        outside = [index for index in indices if not begin <= gpu.calls[index][1] <= end]
        idle = (gpu.calls[tail[0]][1] - gpu.calls[head[1] - 1][1] - (end - begin)) / 1e9
        assert len(outside) <= 2 + 40 * idle


def test_off_means_that_no_gpu_is_asked(project, gpu):
    project.write(TEST)
    result = project.run("--lem-telemetry=off", *ROUNDS)

    result.assert_outcomes(passed=1)
    assert [name for name, _ in gpu.calls if name in TELEMETRY] == []
    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert [round_["use"] for round_ in cycle["rounds"]] == [[], []]
    assert "(--lem-telemetry)" in project.metric("sm_active")["reason"]
    assert kept(project) == []
    result.stdout.no_fnmatch_line("*device*")


@pytest.mark.parametrize("word", ["fast", "-1", "0.5", "101", "nan"])
def test_a_rate_that_cannot_be_is_refused_in_one_line(project, word):
    project.write(TEST)
    result = project.run(f"--lem-telemetry={word}")
    result.stderr.fnmatch_lines(
        [f"ERROR: --lem-telemetry={word}: expected samples a second, 1 to 100 (default: 20), or off"]
    )


@pytest.mark.parametrize(
    ("arguments", "hertz"),
    [
        ((), 20),
        (("-o", "lem_telemetry=50"), 50),
        (("-o", "lem_telemetry=50", "--lem-telemetry=5"), 5),
        (("--lem-telemetry=0",), None),
    ],
)
def test_the_command_line_sets_the_rate_or_else_the_ini(pytester, arguments, hertz):
    assert telemetry_hertz(pytester.parseconfig(*arguments)) == hertz


def test_a_driver_that_fails_in_the_middle_costs_telemetry_and_no_round(project, gpu, monkeypatch):
    broken = lambda handle: (_ for _ in ()).throw(gpu.NVMLError(15))  # noqa: E731 - a call that raises
    told = Recorder.round

    def fails_after_the_warmup(self, *arguments):
        monkeypatch.setattr(gpu, "nvmlDeviceGetUtilizationRates", broken)
        told(self, *arguments)

    monkeypatch.setattr(Recorder, "round", fails_after_the_warmup)
    project.write(TEST)
    project.run(*ROUNDS).assert_outcomes(passed=1)

    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert cycle["warmup_rounds"][0]["use"][0]["gauges"]["gpu_utilization"]["mean"] == 0.97
    for round_ in cycle["rounds"]:
        assert round_["valid"], round_["reason"]
        gauges = round_["use"][0]["gauges"]
        assert gauges["gpu_utilization"]["mean"] is None
        assert gauges["gpu_utilization"]["reason"].endswith("utilization: GPU is lost")
        assert gauges["sm_active"]["mean"] == 0.75


@pytest.mark.neighbours("pyarrow")
def test_the_timeline_is_a_parquet_file_a_cycle_with_units(project, gpu):
    from pyarrow import parquet

    project.write(TEST)
    result = project.run(*ROUNDS)

    (path,) = kept(project)
    table = parquet.read_table(path)
    for name, unit in {"power_w": "W", "temperature_c": "°C", "time_ns": "ns", "memory_used_bytes": "B"}.items():
        assert table.schema.field(name).metadata[b"unit"].decode() == unit
    assert table.schema.metadata[b"cycle"] == b"0"
    cycle = project.report()["measurements"][0]["cycles"][0]
    for row in table.to_pylist():
        rounds = cycle["warmup_rounds"] if row["phase"] == "warmup" else cycle["rounds"]
        assert rounds[row["round"]]["start_ns"] <= row["time_ns"] <= rounds[row["round"]]["end_ns"]
        assert (row["device"], row["power_w"], row["sm_clock_mhz"]) == (GPU, 120.0, 1980.0)
        assert row["sm_active"] in (0.75, None)
    assert {(row["phase"], row["round"]) for row in table.to_pylist()} == {("warmup", 0), ("round", 0), ("round", 1)}
    result.stdout.fnmatch_lines([f"device timelines: {path.parent}"])


def test_ctrl_c_keeps_the_timeline_of_the_rounds_that_were_finished(project, gpu, no_pyarrow, monkeypatch):
    told = Recorder.round

    def interrupted(self, measurement, cycle, phase, round_, *more):
        told(self, measurement, cycle, phase, round_, *more)
        if (phase, round_.index) == ("round", 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "round", interrupted)
    project.write(TEST)
    result = project.pytester.runpytest_inprocess(*ROUNDS, "-o", "lem_rounds=9", no_reraise_ctrlc=True)

    (path,) = kept(project)
    lines = timelines.read_lines(path)
    assert [(line.phase, line.round) for line in lines] == [("warmup", 0), ("round", 0), ("round", 1)]
    for line in lines:
        assert line.timeline.device == GPU
        assert set(line.timeline.values["power_w"]) == {120.0}
        assert {value for value in line.timeline.values["dram_active"] if value is not None} == {0.2}
    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert [round_["use"][0]["gauges"]["sm_active"]["mean"] for round_ in cycle["rounds"]] == [0.75, 0.75]
    # Without pyarrow they stay JSON lines, and the run says once what to install.
    said = [line for line in result.outlines if "pytest-lem[parquet]" in line]
    assert len(said) == 1
    assert said[0].startswith(f"device timelines: {path.parent} (JSON lines; pip install")


@pytest.fixture
def packing(monkeypatch):
    """Has pyarrow, as far as the run can tell, that does what the test says: `packing(first, then)`."""

    def act(*answers):
        left = list(answers)

        def as_parquet(lines):
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr(timelines, "find_spec", lambda name: name)
        monkeypatch.setattr(timelines, "as_parquet", as_parquet)

    return act


def test_a_pyarrow_that_does_not_work_costs_no_measurement(project, gpu, packing):
    packing(ImportError("libarrow.so: cannot open shared object file"))
    project.write(TEST)
    result = project.run(*ROUNDS)

    result.assert_outcomes(passed=1)
    assert project.metric("sm_active")["value"] == 0.75
    (path,) = kept(project)
    assert len(timelines.read_lines(path)) == 3
    said = [line for line in result.outlines if line.startswith("lem: timelines stay as JSON lines: ")]
    assert len(said) == 1
    assert "libarrow.so" in said[0]
    assert result.ret == 0


def test_ctrl_c_while_the_timeline_is_made_parquet_loses_nothing_and_the_end_of_the_run_makes_it(project, gpu, packing):
    packing(KeyboardInterrupt(), b"PAR1")
    project.write(TEST)
    project.pytester.runpytest_inprocess(*ROUNDS, no_reraise_ctrlc=True)

    assert [path.suffix for path in kept(project)] == [".parquet"]
    assert project.metric("sm_active")["value"] == 0.75
    # Its test had not ended, and could have had more to measure.
    assert project.report()["missing"] == ["test_it.py::test_decode[fake-bf16-b1-c0]: the run ended before it did"]
