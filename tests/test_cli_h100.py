"""Results that an H100 wrote, from docs/evidence: told, exported and drawn by the commands."""

from __future__ import annotations

import csv
import json

import pytest
from project import ROOT
from typer.testing import CliRunner

from pytest_lem.cli import app

EVIDENCE = ROOT / "docs" / "evidence"


@pytest.fixture
def h100(tmp_path, monkeypatch):
    """A folder of results with the run that `name` of the evidence holds; gives the run's report."""
    monkeypatch.chdir(tmp_path)

    def put(name):
        report = json.loads((EVIDENCE / f"{name}.json").read_text())["report"]
        folder = tmp_path / ".lem" / "runs" / report["run"]["id"]
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps(report))
        return report

    return put


def lem(*words):
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == 0, result.output
    return result.output


def test_traffic_on_an_h100_is_exported_with_its_numbers(h100):
    report = h100("served-h100-vllm-8b")
    rows = list(csv.DictReader(lem("results", "export", report["run"]["id"], "--format", "csv").splitlines()))
    found = [float(row["joules_per_good_request"]) for row in rows]
    assert found == [each["metrics"]["joules_per_good_request"]["value"] for each in report["measurements"]]
    assert [row["joules_per_token_source"] for row in rows] == ["measured"] * 3


def test_traffic_on_an_h100_is_listed_cheapest_first_and_compared_by_what_a_good_request_costs(h100):
    h100("served-h100-vllm-8b")
    listed = lem("results", "list", "--configurations", "--sort", "joules_per_token").splitlines()[2:]
    assert ["poisson120" in line for line in listed] == [True, False, False]
    words = ("results", "compare", "poisson60", "poisson120", "--metric", "joules_per_good_request", "--json")
    (pair,) = json.loads(lem(*words))
    (metric,) = pair["metrics"]
    assert metric["ratio"] == pytest.approx(59.7 / 11.64, rel=0.01)
    assert metric["reason"] == "3 of 8 rounds needed"
    assert pair["apart"] == "session"


def test_launches_of_an_unchanged_engine_on_two_h100s_are_compared_and_what_differs_is_named(h100):
    runs = [h100(name)["run"]["id"] for name in ("launches-h100", "launches-h100-host")]
    (pair,) = json.loads(lem("results", "compare", *(f"{run}:test_launches.py" for run in runs), "--json"))
    assert pair["apart"] == "board"
    assert [line.partition(":")[0] for line in pair["differs"]] == ["board", "clocks", "workload"]
    joules = pair["metrics"][0]
    assert joules["low"] < joules["ratio"] < joules["high"]


def test_the_page_names_the_rate_that_keeps_the_service_level_and_not_the_cheaper_one_that_breaks_it(h100, tmp_path):
    h100("served-h100-vllm-8b")
    lem("report", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "cheapest configuration that meets the service level: test_traffic[vllm-bf16-poisson60-b64]" in page


def test_launches_on_an_h100_become_a_page_and_a_table(h100, tmp_path):
    report = h100("launches-h100")
    lem("report", "--out", "page.html")
    assert "NVIDIA H100 80GB HBM3" in (tmp_path / "page.html").read_text()
    table = lem("results", "export", report["run"]["id"], "--format", "markdown")
    assert "961" in table
