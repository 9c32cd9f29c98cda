"""`lem results export` and `lem results import`: how a user gets tables out, and other tools' numbers beside them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import a_measurement, an_environment, metrics
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.store.report import Report, RunInfo, save_report

OPTIMUM = Path(__file__).parent / "foreign" / "tiny-gpt2" / "benchmark_report.json"
BENCHMARK = Path(__file__).parent / "foreign" / "pytest-benchmark.json"
RUNS = ("20260105Z-a", "20260106Z-a")


def lem(*arguments):
    return CliRunner().invoke(app, ["results", *map(str, arguments)])


@pytest.fixture
def results(tmp_path):
    """Two runs; a token costs 0.1 J in the first and 0.2 J in the second."""
    for number, name in enumerate(RUNS, 1):
        started = datetime(2026, 1, 4 + number, tzinfo=UTC)
        info = RunInfo(id=name, started=started, ended=None, complete=True, quick=False)
        measured = a_measurement(metrics=metrics(joules_per_token=0.1 * number))
        folder = tmp_path / ".lem" / "runs" / name
        folder.mkdir(parents=True)
        save_report(Report(run=info, environment=an_environment(), measurements=(measured,)), folder / "report.json")
    return tmp_path / ".lem"


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_newest_run_is_printed_as_csv(results):
    result = lem("export", "--results", results)
    (row,) = read_csv(result.stdout)
    assert (result.exit_code, row["run"], row["joules_per_token"]) == (0, "20260106Z-a", "0.2")


def test_runs_are_one_table_in_the_order_they_were_named_each_once(results):
    result = lem("export", *reversed(RUNS), results / "runs" / RUNS[1], "--results", results)
    assert [(row["run"], row["joules_per_token"]) for row in read_csv(result.stdout)] == [
        ("20260106Z-a", "0.2"),
        ("20260105Z-a", "0.1"),
    ]


@pytest.mark.parametrize(
    ("name", "form", "begins"),
    [
        ("t.csv", "csv", "tool,tool_version,run,"),
        ("t.json", "json", '{\n "schema": "lem.table/1"'),
        ("t.md", "markdown", "| configuration | J/token (mJ) |"),
        ("T.TEX", "latex", "% \\usepackage{booktabs}"),
        ("table", "csv", "tool,tool_version,run,"),
    ],
)
def test_a_files_ending_says_its_format(results, tmp_path, name, form, begins):
    out = tmp_path / name
    result = lem("export", "--out", out, "--results", results)
    assert (result.exit_code, result.output) == (0, f"{out}: 1 row as {form}\n")
    assert out.read_text().startswith(begins)


@pytest.mark.neighbours("pyarrow")
def test_a_parquet_file_is_read_by_others(results, tmp_path):
    from pyarrow import parquet

    result = lem("export", *RUNS, "--out", tmp_path / "t.parquet", "--results", results)
    assert result.exit_code == 0
    assert parquet.read_table(tmp_path / "t.parquet").column("joules_per_token").to_pylist() == [0.1, 0.2]


def test_the_format_that_was_asked_for_wins_over_the_ending(results, tmp_path):
    lem("export", "--out", tmp_path / "t.txt", "--format", "json", "--results", results)
    assert json.loads((tmp_path / "t.txt").read_text())["rows"][0]["joules_per_token"] == 0.2


def test_metrics_can_be_chosen(results):
    told = json.loads(lem("export", "--metric", "power_w", "--json", "--results", results).stdout)
    metrics_told = [column["name"] for column in told["columns"] if column["name"].startswith(("power", "joules"))]
    assert metrics_told[0] == "power_w"
    assert not any(name.startswith("joules") for name in metrics_told)
    text = lem("export", "--metric", "power_w", "--format", "markdown", "--results", results).stdout
    assert text.splitlines()[0] == "| configuration | power (W) |"


def test_other_programs_are_told_in_json_what_was_written(results, tmp_path):
    out = tmp_path / "t.csv"
    told = json.loads(lem("export", *RUNS, "--out", out, "--json", "--results", results).stdout)
    assert told == {"file": str(out), "format": "csv", "rows": 2, "runs": list(RUNS), "imports": []}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--format", "xlsx"], "--format=xlsx: unknown format; known: csv, parquet, json, markdown, latex"),
        (["--format", "parquet"], "--format=parquet: that is no text; name a file with --out"),
        (["--format", "csv", "--json"], "--json: prints JSON, not csv; leave it out, or name a file with --out"),
        (["--out", "/tmp"], "--out=/tmp: that is a folder; name a file"),
        (["--out", "no/t.csv"], "--out=no/t.csv: there is no folder no; make it, or name another"),
        (["--metric", "ttft"], "--metric=ttft: unknown metric; the nearest known one is 'ttft_ms', 'all' is each"),
        (["nowhere"], "nowhere: there is no such run in {results}/runs, and no such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(results, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = lem("export", *arguments, "--results", results)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"lem results export: {line.format(results=results)}\n"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_has_examples(command):
    result = lem(command, "--help")
    assert (result.exit_code, f"lem results {command} " in result.stdout) == (0, True)


# Other tools' files


def test_an_import_stands_beside_a_run_marked_as_foreign(results):
    result = lem("import", OPTIMUM, "--name", "optimum", "--results", results)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{results}/imports/optimum.json: 1 row of optimum-benchmark 0.6.0"
    assert "idle power included" in lines[1]
    assert lines[-1] == "beside a run: lem results export RUN optimum --format markdown"
    ours, theirs = read_csv(lem("export", RUNS[0], "optimum", "--results", results).stdout)
    assert (ours["tool"], theirs["tool"], theirs["tool_version"]) == ("pytest-lem", "optimum-benchmark", "0.6.0")
    assert (theirs["joules_per_token_unit"], theirs["joules_per_token_source"]) == ("J/tok", "estimated")
    assert float(theirs["joules_per_token"]) == pytest.approx(0.00899, rel=1e-2)
    assert theirs["power_w_reason"] == "optimum-benchmark does not tell it"


def test_an_import_without_a_name_is_called_by_its_tool_and_file(results):
    told = json.loads(lem("import", BENCHMARK, "--results", results, "--json").stdout)
    assert (told["name"], told["tool"], told["version"]) == ("pytest-benchmark", "pytest-benchmark", "5.3.1")
    assert told["rows"][0] == "test_speed.py::test_sum[10]"
    text = lem("export", told["name"], "--format", "markdown", "--results", results).stdout
    assert "measured by pytest-benchmark 5.3.1, not by pytest-lem" in text


def test_a_file_that_is_unknown_is_one_line(results, tmp_path):
    (tmp_path / "x.json").write_text("{}")
    result = lem("import", tmp_path / "x.json", "--results", results)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert result.stderr.startswith(f"lem results import: {tmp_path}/x.json: not a file that can be imported; expected")
    assert not (results / "imports").exists()


@pytest.mark.parametrize("command", [["baseline", "add"], ["report"], ["merge"]])
def test_an_import_is_never_taken_for_a_run(results, command):
    lem("import", OPTIMUM, "--name", "optimum", "--results", results)
    names = ["main"] if command[0] == "baseline" else []
    place = str(results / "imports" / "optimum.json")
    result = CliRunner().invoke(app, [*command, *names, place, "--results", str(results)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert not (results / "baselines").exists()


def test_an_import_is_no_baseline(project, results):
    lem("import", OPTIMUM, "--name", "optimum", "--results", results)
    project.write()
    result = project.run(f"--lem-baseline={results / 'imports' / 'optimum.json'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *optimum.json: *"])
