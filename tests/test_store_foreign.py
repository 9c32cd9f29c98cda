"""Files of other tools: their numbers in our units, what they mean, and what is refused."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.store.foreign.reading import read_foreign
from pytest_lem.store.foreign.shelf import fitting_name, from_shelf, shelve, shelved

FILES = Path(__file__).parent / "foreign"
OPTIMUM = FILES / "tiny-gpt2" / "benchmark_report.json"
BENCHMARK = FILES / "pytest-benchmark.json"


def told():
    return json.loads(OPTIMUM.read_text())


def written(folder, data, name="benchmark_report.json"):
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def value(row, key):
    return row.metrics[key].value


# optimum-benchmark: a file that its 0.6.0 wrote, without most of its lists of values


def test_kilowatt_hours_of_a_call_become_joules_of_each_device_and_a_token():
    (row,) = read_foreign(OPTIMUM).rows
    energy = told()["generate"]["energy"]
    assert value(row, "cpu_joules") == pytest.approx(energy["cpu"] * 3.6e6)
    assert value(row, "system_joules") == pytest.approx(energy["total"] * 3.6e6)
    assert value(row, "joules_per_token") == pytest.approx(energy["cpu"] * 3.6e6 / 32)  # 2 requests of 16 tokens
    assert value(row, "joules_per_request") == pytest.approx(energy["cpu"] * 3.6e6 / 2)
    assert {row.metrics[key].source for key in ("cpu_joules", "ram_joules", "joules_per_token")} == {"estimated"}
    assert (value(row, "gpu_joules"), row.metrics["gpu_joules"].reason) == (None, "its value is not above 0")


def test_its_rates_are_of_the_whole_call_and_times_are_in_ms():
    (row,) = read_foreign(OPTIMUM).rows
    targets = told()
    assert value(row, "seconds") == targets["generate"]["latency"]["mean"]
    assert value(row, "tokens_per_second") == pytest.approx(32 / targets["generate"]["latency"]["mean"])
    assert value(row, "tokens_per_second") < targets["decode"]["throughput"]["value"]
    assert value(row, "ttft_p99_ms") == pytest.approx(1e3 * targets["prefill"]["latency"]["p99"])
    assert value(row, "tpot_ms") == pytest.approx(1e3 * targets["decode"]["latency"]["mean"] / 15)
    assert value(row, "load_seconds") == targets["load_model"]["latency"]["mean"]
    assert row.metrics["seconds"].n == 300
    assert all(each.low is None for each in row.metrics.values())


def test_its_configuration_is_read_from_the_file_beside_it():
    found = read_foreign(OPTIMUM)
    (row,) = found.rows
    assert (found.tool, found.version, found.file) == ("optimum-benchmark", "0.6.0", "benchmark_report.json")
    assert (row.name, row.engine, row.model, row.precision) == ("tiny-gpt2", "pytorch", "tiny-gpt2", "fp32")
    assert (row.load, row.tokens, row.device) == ("batch 2", "16 + 16 tokens", "CPU")
    assert "idle power included" in found.means[0]


def test_without_a_configuration_the_work_is_told_by_its_rates(tmp_path):
    shutil.copy(OPTIMUM, tmp_path)
    (row,) = read_foreign(tmp_path / OPTIMUM.name).rows
    assert (row.load, row.tokens) == ("batch 2", "? + 16 tokens")
    assert value(row, "joules_per_token") == value(read_foreign(OPTIMUM).rows[0], "joules_per_token")
    assert row.notes[0] == "2 × 16 tokens a call are worked out from its rates, for one beam"


def test_report_and_configuration_in_one_file_are_the_same(tmp_path):
    config = json.loads((OPTIMUM.parent / "benchmark_config.json").read_text())
    both = read_foreign(written(tmp_path, {"config": config, "report": told()}, "benchmark.json"))
    assert both.rows == read_foreign(OPTIMUM).rows


def test_joules_of_gpus_are_measured_and_are_those_of_a_token(tmp_path):
    targets = told()
    targets["generate"]["energy"]["gpu"] = 2e-7
    targets["generate"]["memory"] = {"unit": "MB", "max_ram": 1.0, "max_allocated": 3.5, "max_reserved": 4.0}
    (row,) = read_foreign(written(tmp_path, targets)).rows
    assert value(row, "gpu_joules") == pytest.approx(0.72)
    assert value(row, "joules_per_token") == pytest.approx(0.72 / 32)
    assert (row.metrics["joules_per_token"].source, row.device) == ("measured", "GPU")
    assert (value(row, "peak_memory_bytes"), value(row, "peak_reserved_bytes")) == (3.5e6, 4e6)


def test_an_older_one_tells_a_call_in_its_two_parts(tmp_path):
    targets = told()
    whole = targets.pop("generate")
    (row,) = read_foreign(written(tmp_path, targets)).rows
    assert value(row, "cpu_joules") == pytest.approx(whole["energy"]["cpu"] * 3.6e6)
    assert value(row, "seconds") == pytest.approx(whole["latency"]["mean"])


def test_what_was_not_tracked_is_absent_with_a_reason(tmp_path):
    targets = {name: {**parts, "energy": None} for name, parts in told().items()}
    (row,) = read_foreign(written(tmp_path, targets)).rows
    reason = "it was not tracked: scenario.energy was off"
    assert (value(row, "joules_per_token"), row.metrics["joules_per_token"].reason) == (None, reason)
    targets["prefill"]["throughput"] = targets["decode"]["throughput"] = None
    (row,) = read_foreign(written(tmp_path, targets)).rows
    assert row.metrics["tokens_per_second"].reason.startswith("how many tokens a call brings cannot be told")


def test_a_call_that_makes_no_text_has_its_time_and_requests(tmp_path):
    forward = told()["prefill"]
    (row,) = read_foreign(written(tmp_path, {"load": None, "forward": forward})).rows
    assert value(row, "requests_per_second") == pytest.approx(2 / forward["latency"]["mean"])
    assert value(row, "joules_per_request") == pytest.approx(forward["energy"]["cpu"] * 3.6e6 / 2)
    assert value(row, "joules_per_token") is None


# pytest-benchmark: a file that its 5.3.1 wrote, without most of its lists of values


def test_each_benchmark_is_a_row_with_its_mean_time_and_no_joules():
    found = read_foreign(BENCHMARK)
    assert (found.tool, found.version, found.when) == ("pytest-benchmark", "5.3.1", "2026-11-24T12:26:42.463502+00:00")
    names = [f"test_speed.py::{name}" for name in ("test_sum[10]", "test_sum[100]", "test_once")]
    assert [row.name for row in found.rows] == names
    stats = [each["stats"] for each in json.loads(BENCHMARK.read_text())["benchmarks"]]
    assert [value(row, "seconds") for row in found.rows] == [each["mean"] for each in stats]
    assert [row.metrics["seconds"].n for row in found.rows] == [each["rounds"] for each in stats]
    joules = found.rows[0].metrics["joules_per_token"]
    assert (joules.value, joules.reason) == (None, "pytest-benchmark measures time only")
    assert found.rows[2].notes == ("group =strange|group",)


# What is refused

KNOWN = "expected optimum-benchmark's benchmark_report.json or benchmark.json, or pytest-benchmark's --benchmark-json"


def without_unit():
    data = told()
    data["generate"]["energy"]["unit"] = "Wh"
    return data


def broken_mean():
    data = json.loads(BENCHMARK.read_text())
    data["benchmarks"][1]["stats"]["mean"] = "fast"
    return data


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("{", f"not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); {KNOWN}"),
        ("", f"not JSON (Expecting value: line 1 column 1 (char 0)); {KNOWN}"),
        ([1], f"not a file that can be imported; {KNOWN}"),
        ({}, f"not a file that can be imported; {KNOWN}"),
        ({"a": {}}, f"not a file that can be imported; {KNOWN}"),
        ({"a": {"latency": None, "speed": 1}}, f"not a file that can be imported; {KNOWN}"),
        ({"schema": "lem.report/1"}, "pytest-lem wrote this itself (lem.report/1): name it as RUN, nothing to import"),
        (without_unit(), "generate.energy.unit: Input should be 'kWh'"),
        (broken_mean(), "benchmarks.1.stats.mean: Input should be a valid number, unable to parse string as a number"),
        ("[" * 100_000, "not JSON (*"),
    ],
)
def test_any_other_file_is_one_line_that_names_it(tmp_path, data, line):
    path = written(tmp_path, data)
    with pytest.raises(StoreError) as refused:
        read_foreign(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: {line.removesuffix('*')}")
    assert line.endswith("*") or said == f"{path}: {line}"
    assert "\n" not in said


def test_a_file_that_is_not_there_and_a_configuration_that_is_broken_are_named(tmp_path):
    with pytest.raises(StoreError, match=r"^cannot read .*none\.json: No such file or directory$"):
        read_foreign(tmp_path / "none.json")
    shutil.copy(OPTIMUM, tmp_path)
    written(tmp_path, {"backend": 3}, "benchmark_config.json")
    with pytest.raises(StoreError, match=r"benchmark_config\.json: backend: "):
        read_foreign(tmp_path / OPTIMUM.name)


JSON = st.recursive(
    st.none()
    | st.sampled_from([1e308, 5e-324, -1.0])
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PATHS = [
    (*place, key) for place in [("decode",), ("generate",), ("prefill",)] for key in ("latency", "throughput", "energy")
]


@given(st.sampled_from(PATHS), st.sampled_from(["unit", "mean", "value", "cpu", "total", "p99", "count"]), JSON)
@example(("generate", "latency"), "mean", 5e-324)
@example(("decode", "throughput"), "value", 1e308)
def test_whatever_a_field_holds_it_is_read_or_refused_in_a_line(tmp_path_factory, place, key, held):
    data = told()
    data[place[0]][place[1]][key] = held
    path = written(tmp_path_factory.mktemp("held"), data)
    with suppress(StoreError):
        (row,) = read_foreign(path).rows
        known = [each.value for each in row.metrics.values() if each.value is not None]
        assert all(0 < each < float("inf") for each in known)


# Where imports are kept


def test_an_import_is_kept_by_its_name_apart_from_runs(tmp_path):
    found = read_foreign(OPTIMUM)
    assert shelve(found, "optimum", tmp_path) == tmp_path / "imports" / "optimum.json"
    assert (shelved(tmp_path), from_shelf("optimum", tmp_path)) == (["optimum"], found)
    assert from_shelf("other", tmp_path) is None
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 101, "a b"])
def test_a_name_is_no_path(tmp_path, name):
    with pytest.raises(UsageError, match=r"^--name="):
        shelve(read_foreign(OPTIMUM), name, tmp_path)
    assert from_shelf(name, tmp_path) is None


def test_a_file_that_was_given_no_name_has_one_of_its_own():
    assert fitting_name("optimum-benchmark", OPTIMUM) == "optimum-benchmark-tiny-gpt2"
    assert fitting_name("pytest-benchmark", Path("speed of ü.json")) == "pytest-benchmark-speed-of"
