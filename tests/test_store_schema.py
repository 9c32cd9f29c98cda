"""The shipped JSON Schemas are the models' own, and real files satisfy them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import GPU, a_cycle, a_latency_pass, a_measurement, a_metric, a_round, a_verdict, a_window, an_environment
from jsonschema import Draft202012Validator

from pytest_lem.model.cycle import Recorded
from pytest_lem.model.telemetry import Timeline
from pytest_lem.store.baselines import save_run
from pytest_lem.store.durations import remember
from pytest_lem.store.foreign.reading import read_foreign
from pytest_lem.store.foreign.shelf import shelve
from pytest_lem.store.report import read_report
from pytest_lem.store.run import Run
from pytest_lem.store.schema import FOLDER, schemas, text
from pytest_lem.store.timelines import TimelineLine, append

KINDS = ("run", "sample", "raw", "report", "durations", "baseline", "foreign", "timeline")


LINES = ("sample", "timeline")
TOLD = Timeline(device=GPU, time_ns=(5,), since_ns=(None,), values={"power_w": (300.0,)}, throttle_reasons=("idle",))


def shipped(kind: str) -> dict:
    return json.loads((FOLDER / f"{kind}.json").read_text())


@pytest.fixture
def run(tmp_path) -> Run:
    """A run that wrote every kind of file and line."""
    run = Run.create(tmp_path, options={"rounds": 8}, environment=an_environment(), quick=False, plan=["test_a"])
    measured = a_measurement(
        cycles=(a_cycle(rounds=(a_round(1, latency=a_latency_pass()), a_round(2, valid=False, reason="stranger"))),),
        metrics={"joules_per_token": a_metric(), "power_w": a_metric("power_w", None)},
    )
    samples = run.samples()
    samples.begin(a_measurement(cycles=(), metrics={}))
    samples.cycle(measured.id, a_cycle(rounds=0, warmup_rounds=()))
    samples.round(measured.id, 0, "warmup", a_round())
    samples.measurement(measured)
    samples.verdict(a_verdict(status="unavailable", value=None, low=None, high=None))
    samples.missing("test_b: interrupted")
    samples.failed("test_c", "the engine died")
    remember(tmp_path, [a_measurement(cycles=(a_cycle(seconds=61.5),))])
    run.write_raw(measured)
    append(run.directory, [TimelineLine(measurement_id=measured.id, cycle=0, phase="round", round=1, timeline=TOLD)])
    samples.recorded(measured.id, 0, Recorded(metric="quality", value=0.9, better="higher"), a_metric(value=0.9))
    report = read_report(run.write_report([measured, a_window()], [a_verdict()], ["test_b: interrupted"]))
    save_run(tmp_path, "main", report)
    shelve(read_foreign(Path(__file__).parent / "foreign" / "pytest-benchmark.json"), "other", tmp_path)
    return run


def documents(run: Run, kind: str) -> list[dict]:
    names = {"run": "run.json", "sample": "samples-main.jsonl", "raw": "raw/*.json"}
    names |= {"report": "report.json", "durations": "durations.json"}
    names |= {"baseline": "baselines/main/*.json", "foreign": "imports/*.json", "timeline": "telemetry/*.jsonl"}
    results = run.directory.parents[1]
    folders = {"durations": run.directory.parent, "baseline": results, "foreign": results}
    folder = folders.get(kind, run.directory)
    paths: list[Path] = list(folder.glob(names[kind]))
    texts = [path.read_text() for path in paths]
    return [json.loads(row) for each in texts for row in (each.splitlines() if kind in LINES else [each])]


def test_the_package_ships_a_schema_for_each_kind_of_file():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_what_the_models_say(kind):
    assert (FOLDER / f"{kind}.json").read_text() == text(schemas()[kind]), "run: python -m pytest_lem.store.schema"


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_a_valid_schema(kind):
    Draft202012Validator.check_schema(shipped(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_files_as_written_satisfy_the_shipped_schema(run, kind):
    found = documents(run, kind)
    assert len(found) == (8 if kind == "sample" else 1)
    for document in found:
        Draft202012Validator(shipped(kind)).validate(document)
        assert document["schema"] == f"lem.{kind}/1"


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_refuses_what_the_contract_does_not_name(run, kind):
    document = documents(run, kind)[0] | {"surprise": 1}
    assert not Draft202012Validator(shipped(kind)).is_valid(document)


def test_the_schema_refuses_a_measurement_whose_metric_lost_its_source(run):
    (report,) = documents(run, "report")
    del report["measurements"][0]["metrics"]["joules_per_token"]["source"]
    assert not Draft202012Validator(shipped("report")).is_valid(report)
