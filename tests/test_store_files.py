"""Any id gives a file name, and nothing but JSON gets into a file."""

from __future__ import annotations

import json
import math

import pytest
from builders import a_cycle, a_measurement, a_reading, a_round, an_edge, an_engine, an_environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_lem.model.errors import StoreError
from pytest_lem.model.latency import LatencyPass, RequestTimes
from pytest_lem.model.measurement import Measurement
from pytest_lem.store.files import to_json, unique_slug, write_atomic
from pytest_lem.store.run import Run

NAN = float("nan")


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, options={}, environment=an_environment(), quick=False)


def loads(text: str) -> dict:
    return json.loads(text, parse_constant=pytest.fail)


@given(st.text(max_size=400))
def test_a_name_made_of_any_id_is_short_and_portable(text):
    name = unique_slug(text)
    assert len(name) <= 71
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert not name.startswith(".")


@given(st.text(max_size=80), st.text(max_size=80))
def test_different_ids_never_share_a_name(one, other):
    assert (unique_slug(one) == unique_slug(other)) == (one == other)


def test_an_id_longer_than_a_file_name_may_be_still_gets_its_files(run):
    test = "benchmarks/test_x.py::test_x[" + "option/" * 60 + "b8]"
    (path,) = run.write_raw(a_measurement(test))
    assert len(path.name.encode()) <= 255
    assert json.loads(path.read_text())["measurement_id"] == test


def test_a_test_that_runs_again_adds_files_and_replaces_none(run):
    first, second = run.write_raw(a_measurement()) + run.write_raw(a_measurement())
    assert first != second
    assert first.exists()
    assert second.exists()


def test_each_gpu_of_a_cycle_has_its_own_file(run):
    rounds = (a_round(1, devices=(a_reading(10.0, device="GPU-a"), a_reading(20.0, device="GPU-b"))),)
    paths = run.write_raw(a_measurement(cycles=(a_cycle(rounds=rounds, warmup_rounds=()),)))
    joules = {
        row["device"]: row["readings"][0]["reading"]["joules"] for row in map(loads, (p.read_text() for p in paths))
    }
    assert joules == {"GPU-a": 10.0, "GPU-b": 20.0}


def test_an_edge_with_a_nan_disappears_whole_and_the_reading_says_why():
    reading = a_reading(5.0, head=an_edge(power_w=NAN), tail=an_edge(power_w=55.0))
    written = loads(to_json(reading))
    assert written["head"] is None
    assert written["tail"]["power_w"] == 55.0
    assert written["joules"] == 5.0
    assert written["reason"] == "head was left out: power_w: not a finite number (nan)"


def test_a_latency_pass_with_a_nan_leaves_the_round_standing():
    spoiled = LatencyPass(seconds=1.0, requests=(RequestTimes(ttft_ms=1.0, gaps_ms=(2.0, NAN)),))
    written = loads(to_json(a_round(latency=spoiled)))
    assert written["latency"] is None
    assert written["tokens"] == 2_000
    assert written["reason"].startswith("latency was left out: ")


def test_a_reason_that_was_there_is_kept_beside_the_new_one():
    written = loads(to_json(a_round(valid=False, reason="foreign process", latency=LatencyPass(seconds=NAN))))
    assert written["reason"].startswith("foreign process; latency was left out")


def test_what_an_engine_observed_is_written_whatever_its_type():
    engine = an_engine().model_copy(
        update={"observed": {"dtype": object, "scale": math.inf, "shape": (1, 2), "n": None}}
    )
    written = loads(to_json(engine))["observed"]
    assert written == {"dtype": "<class 'object'>", "scale": "inf", "shape": [1, 2], "n": None}


def test_a_nan_where_nothing_may_be_null_is_an_error_and_no_file():
    with pytest.raises(StoreError, match=r"^RequestTimes cannot be stored: ttft_ms: not a finite number \(nan\)$"):
        to_json(RequestTimes(ttft_ms=NAN))


ANY_FLOAT = st.one_of(st.sampled_from([math.nan, math.inf, -math.inf]), st.floats(0, 1e6))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(joules=ANY_FLOAT, std=ANY_FLOAT, power=ANY_FLOAT, value=ANY_FLOAT, low=ANY_FLOAT, load=ANY_FLOAT)
def test_whatever_number_is_spoiled_the_measurement_is_stored_and_reads_back(joules, std, power, value, low, load):
    measurement = a_measurement()
    metric = measurement.metrics["power_w"].model_copy(update={"value": value, "low": low})
    reading = a_reading(joules, std=std, head=an_edge(power_w=power))
    cycle = a_cycle(rounds=(a_round(devices=(reading,)),), load_seconds=load)
    text = to_json(measurement.model_copy(update={"cycles": (cycle,), "metrics": {"power_w": metric}}))
    loads(text)
    back = Measurement.model_validate_json(text)
    kept = back.cycles[0].rounds[0].devices[0].joules
    assert kept == (joules if math.isfinite(joules) else None)
    assert back.metrics["power_w"].value == (value if math.isfinite(value) else None)
    assert back.cycles[0].load_seconds == (load if math.isfinite(load) else None)


def test_a_name_that_is_too_long_is_told_as_any_other_that_cannot_be_written(tmp_path):
    with pytest.raises(StoreError, match=r"^cannot write .*a\.html: File name too long$"):
        write_atomic(tmp_path / f"{'a' * 250}.html", "text")
    assert list(tmp_path.iterdir()) == []
