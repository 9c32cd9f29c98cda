"""The report has the contract's shape, is written whole or not at all, and holds nothing but JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import GPU, a_measurement, a_verdict, a_window, an_environment

from pytest_lem.model.errors import StoreError
from pytest_lem.store.report import read_report
from pytest_lem.store.run import Run


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, options={"rounds": 8}, environment=an_environment(), quick=False)


def written(path: Path) -> dict:
    return json.loads(path.read_text(), parse_constant=pytest.fail)


def test_the_report_has_the_shape_that_other_programs_read(run):
    report = written(run.write_report([a_measurement()], [a_verdict()], []))
    assert list(report) == ["schema", "run", "environment", "measurements", "verdicts", "searches", "phases", "missing"]
    assert report["schema"] == "lem.report/1"
    assert set(report["run"]) == {"id", "started", "ended", "complete", "quick", "options"}
    assert set(report["environment"]) == {"host", "git", "cpu", "python", "platform", "gpus", "packages"}
    assert set(report["environment"]["gpus"][0]) == {"uuid", "name", "driver", "power_limit_w", "clocks_mhz"}
    (measurement,) = report["measurements"]
    named = {"id", "test", "name", "experiment", "known_as"}
    assert set(measurement) == named | {"engine", "workload", "protocol", "meters", "cycles", "metrics"}
    assert set(measurement["engine"]) == {"requested", "observed"}
    (cycle,) = measurement["cycles"]
    assert {"index", "launch", "gpus", "warmup_rounds", "steady", "rounds"} <= set(cycle)
    assert {"index", "start_ns", "end_ns", "valid", "reason", "devices", "tokens"} <= set(cycle["rounds"][0])
    assert {"value", "unit", "low", "high", "n", "source", "reason"} <= set(measurement["metrics"]["power_w"])


def test_the_values_survive_the_way_to_disk_and_back(run):
    measurements = (a_measurement(), a_window())
    report = read_report(run.write_report(measurements, [a_verdict()], []))
    assert report.measurements == measurements
    assert report.verdicts == (a_verdict(),)
    assert report.measurements[0].joules_per_token == 0.4
    assert report.run.id == run.id
    assert report.run.options == {"rounds": 8}
    assert report.run.started <= report.run.ended


def test_a_run_is_complete_when_nothing_is_missing(run):
    assert written(run.write_report([], [], []))["run"]["complete"] is True
    report = written(run.write_report([], [], ["test_b: interrupted"]))
    assert report["run"]["complete"] is False
    assert report["missing"] == ["test_b: interrupted"]


def test_the_report_is_found_by_the_directory_of_its_run(run):
    run.write_report([a_measurement()], [], [])
    assert read_report(run.directory).measurements == (a_measurement(),)


def test_a_number_that_is_not_finite_is_absent_with_the_reason(run):
    measurement = a_measurement()
    nan = measurement.metrics["power_w"].model_copy(update={"value": float("nan"), "low": None, "high": None})
    spoiled = measurement.model_copy(update={"metrics": {"power_w": nan}})
    metric = written(run.write_report([spoiled], [], []))["measurements"][0]["metrics"]["power_w"]
    assert metric["value"] is None
    assert metric["reason"] == "value was left out: not a finite number (nan)"


def test_a_report_that_cannot_be_written_leaves_the_older_one_and_no_litter(run, monkeypatch):
    run.write_report([a_measurement()], [], [])
    before = {path.name for path in run.directory.iterdir()}

    def no_space(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(StoreError) as caught:
        run.write_report([], [], ["everything"])
    assert str(caught.value) == f"cannot write {run.directory / 'report.json'}: No space left on device"
    assert {path.name for path in run.directory.iterdir()} == before
    assert read_report(run.directory).measurements == (a_measurement(),)


def test_a_report_that_is_no_report_is_named_with_its_fault(tmp_path):
    path = tmp_path / "report.json"
    path.write_text('{"schema": "lem.report/1"}')
    with pytest.raises(StoreError, match=r"report\.json: run: Field required$"):
        read_report(path)


def test_each_device_keeps_its_own_readings_in_a_file_of_its_own(run):
    (path,) = run.write_raw(a_measurement())
    assert path.parent == run.directory / "raw"
    assert path.name.endswith(f"-c0-{GPU}.json")
    raw = written(path)
    assert (raw["schema"], raw["cycle"], raw["device"]) == ("lem.raw/1", 0, GPU)
    assert [(row["phase"], row["round"]) for row in raw["readings"]] == [("warmup", 0), ("round", 1), ("round", 2)]
    assert [row["reading"]["joules"] for row in raw["readings"]] == [800.0, 800.0, 800.0]
