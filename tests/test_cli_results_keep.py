"""`lem results prune` and `rebuild`: old runs go, what somebody needs stays, what was lost is made anew."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from builders import a_cycle, a_measurement, an_environment
from results_lab import TEST, a_run, name_of, on_day
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.store.report import read_report
from pytest_lem.store.run import Run


def lem(results, *arguments):
    return CliRunner().invoke(app, [*arguments, "--results", str(results)])


def prune(results, *arguments):
    done = lem(results, "results", "prune", *arguments)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def there(results):
    return sorted(path.name for path in (results / "runs").iterdir() if path.is_dir())


@pytest.fixture
def results(tmp_path):
    """Runs of four days."""
    for day in (5, 6, 7, 8):
        on_day(tmp_path, day, a_measurement(TEST, cycles=(a_cycle(rounds=8),)))
    return tmp_path


def test_all_but_the_newest_go(results):
    assert prune(results, "--keep", "3") == [name_of(5), "1 run deleted"]
    assert there(results) == [name_of(6), name_of(7), name_of(8)]
    assert prune(results, "--keep", "3") == ["0 runs deleted"]


def test_a_dry_run_says_what_would_go_and_deletes_nothing(results):
    assert prune(results, "--keep", "2", "--dry-run") == [name_of(5), name_of(6), "2 runs would be deleted"]
    assert len(there(results)) == 4


def test_runs_that_began_long_ago_go(results):
    a_run(results, "new", run={"started": datetime.now(UTC) - timedelta(days=29)})
    assert prune(results, "--older-than", "30d")[-1] == "4 runs deleted"
    assert there(results) == ["new"]


def test_with_both_options_a_run_goes_that_both_name(results):
    for hours in (1, 2):
        a_run(results, f"new{hours}", run={"started": datetime.now(UTC) - timedelta(hours=hours)})
    assert prune(results, "--keep", "1", "--older-than", "90m")[-1] == "5 runs deleted"
    assert there(results) == ["new1"]
    on_day(results, 5)
    assert prune(results, "--keep", "2", "--older-than", "90m") == ["0 runs deleted"]


def test_a_run_that_a_baseline_holds_stays(results):
    for day in (5, 7):
        assert lem(results, "baseline", "add", "main", name_of(day)).exit_code == 0
    assert prune(results, "--keep", "1") == [
        name_of(6),
        f"{name_of(7)} stays: baseline main holds it",
        f"{name_of(5)} stays: baseline main holds it",
        "1 run deleted",
    ]
    assert there(results) == [name_of(5), name_of(7), name_of(8)]


def test_a_baseline_that_cannot_be_read_stops_it_all(results):
    lem(results, "baseline", "add", "main", name_of(5))
    path = results / "baselines" / "main" / f"{name_of(5)}.json"
    path.write_text("{")
    done = lem(results, "results", "prune", "--keep", "1")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"lem results prune: {path}: Invalid JSON")
    assert len(there(results)) == 4


def test_a_run_that_goes_on_stays_until_it_has_ended(results):
    run = Run.create(results, options={}, environment=an_environment(), quick=False, name="20260101T000000000Z-a")
    record = json.loads((run.directory / "run.json").read_text())
    (run.directory / "run.json").write_text(json.dumps(record | {"started": "2026-01-01T00:00:00Z"}))
    held = run.hold()
    assert prune(results, "--keep", "4") == [f"{run.id} stays: it is still running", "0 runs deleted"]
    os.close(held)
    assert prune(results, "--keep", "4") == [run.id, "1 run deleted"]


def test_a_run_of_unknown_age_stays(results):
    (results / "runs" / name_of(5) / "report.json").write_text("{")
    assert prune(results, "--keep", "3") == [f"{name_of(5)} stays: nobody knows how old it is", "0 runs deleted"]


def test_what_a_killed_prune_left_is_cleared_away(results):
    left = results / "runs" / f".{name_of(4)}.0123abcd.deleted"
    left.mkdir()
    (left / "report.json").write_text("{}")
    prune(results, "--keep", "4")
    assert not left.exists()


def test_other_programs_are_told_what_went_and_what_stays(results):
    lem(results, "baseline", "add", "main", name_of(6))
    done = lem(results, "results", "prune", "--keep", "2", "--json", "--dry-run")
    assert json.loads(done.output) == {
        "deleted": [],
        "would_delete": [name_of(5)],
        "stay": {name_of(6): "baseline main holds it"},
    }
    assert json.loads(lem(results, "results", "prune", "--keep", "2", "--json").output)["deleted"] == [name_of(5)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "name what goes: --keep N, or --older-than 30d"),
        (["--older-than", "a month"], "--older-than=a month: write a number and m, h, d or w, such as 30d"),
    ],
)
def test_what_is_not_clear_deletes_nothing(results, words, line):
    done = lem(results, "results", "prune", *words)
    assert (done.exit_code, done.stderr) == (2, f"lem results prune: {line}\n")
    assert len(there(results)) == 4


# Made anew


def test_the_index_is_made_anew_from_the_files(results):
    index = results / "runs" / "index.sqlite"
    assert lem(results, "results", "rebuild").output == f"{index}: 4 runs, 4 configurations\n"
    index.write_text("broken")
    told = json.loads(lem(results, "results", "rebuild", "--json").output)
    assert told == {"index": str(index), "saved": True, "runs": 4, "configurations": 4}


def test_an_index_that_cannot_be_written_is_said(results):
    index = results / "runs" / "index.sqlite"
    index.mkdir()
    done = lem(results, "results", "rebuild")
    assert (done.exit_code, done.output) == (
        0,
        f"{index}: cannot be written; 4 runs, 4 configurations were read\n",
    )


def test_a_killed_run_gets_the_report_that_it_did_not_write(tmp_path):
    run = Run.create(tmp_path, options={}, environment=an_environment(), quick=False, plan=[TEST, "test_b"])
    run.samples().measurement(a_measurement(TEST))
    path = run.directory / "report.json"
    assert lem(tmp_path, "results", "rebuild", run.id).output == f"{path}: 1 measurement, 2 missing\n"
    report = read_report(path)
    assert [each.test for each in report.measurements] == [TEST]
    assert report.missing[1] == "test_b: planned, never measured"
    (row,) = json.loads(lem(tmp_path, "results", "list", "--json").output)
    assert row["outcome"] == "incomplete"


def test_a_report_that_is_there_is_never_replaced(results):
    path = results / "runs" / name_of(5) / "report.json"
    before = path.read_bytes()
    done = lem(results, "results", "rebuild", name_of(5))
    assert done.exit_code == 2
    assert (
        done.stderr
        == f"lem results rebuild: {path.parent}: the report of its end is there; nothing is to be made anew\n"
    )
    assert path.read_bytes() == before
