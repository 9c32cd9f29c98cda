"""`lem report` and `--lem-html`: how a user comes to the page, and what stops them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from builders import a_measurement, an_environment, metrics
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.render.html.packing import unpacked
from pytest_lem.store.report import Report, RunInfo, save_report


def lem(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def shown(page):
    return unpacked(re.search(r'id="data">([^<]*)<', page.read_text())[1])


@pytest.fixture
def results(tmp_path):
    """Three runs, each a day and a tenth of a joule after the one before."""
    began = datetime(2026, 1, 5, tzinfo=UTC)
    for day in range(3):
        started = began + timedelta(days=day)
        info = RunInfo(id=f"2026010{5 + day}Z-a", started=started, ended=None, complete=True, quick=False)
        measured = a_measurement(metrics=metrics(joules_per_token=0.1 * (day + 1)))
        folder = tmp_path / ".lem" / "runs" / info.id
        folder.mkdir(parents=True)
        save_report(Report(run=info, environment=an_environment(), measurements=(measured,)), folder / "report.json")
    return tmp_path / ".lem"


def test_the_newest_run_is_written_where_it_was_asked(results, tmp_path):
    page = tmp_path / "page.html"
    result = lem("--results", results, "--out", page)
    assert (result.exit_code, result.output) == (0, f"{page}: run 20260107Z-a\n")
    assert page.read_text().startswith("<!doctype html>")
    assert shown(page)["rows"][0]["m"]["joules_per_token"][0] == 0.3


def test_without_a_place_it_is_report_html_here(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lem().output == "report.html: run 20260107Z-a\n"
    assert (tmp_path / "report.html").is_file()


def test_several_runs_are_one_page_with_a_history_each_once(results, tmp_path):
    page = tmp_path / "page.html"
    named = ["20260107Z-a", "20260105Z-a", results / "runs" / "20260105Z-a"]
    result = lem(*named, "--results", results, "--out", page)
    assert result.output == f"{page}: run 20260107Z-a, with 1 earlier run\n"
    points = shown(page)["rows"][0]["history"]["joules_per_token"]
    assert [point[:2] for point in points] == [[0, 0.1], [1, 0.3]]


def test_other_programs_get_json(results, tmp_path):
    page = tmp_path / "page.html"
    told = json.loads(lem("20260105Z-a", "20260106Z-a", "--results", results, "--out", page, "--json").output)
    assert told == {"page": str(page), "run": "20260106Z-a", "earlier": ["20260105Z-a"]}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "nowhere: there is no such run in {results}/runs, and no such file"),
        (["--out", "no/page.html"], "--out=no/page.html: there is no folder no; make it, or name another"),
        (["--out", "/tmp"], "--out=/tmp: that is a folder; name a file"),
        (["{results}/broken.json"], "{results}/broken.json: *"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(results, tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    (results / "broken.json").write_text("{")
    result = lem(*(each.format(results=results) for each in arguments), "--results", results)
    assert result.exit_code == 2
    (told,) = result.output.splitlines()
    assert re.fullmatch(re.escape(f"lem report: {line.format(results=results)}").replace(r"\*", ".*"), told)
    assert list(tmp_path.glob("*.html")) == []


def test_a_folder_without_runs_is_one_line(tmp_path):
    result = lem("--results", tmp_path)
    assert result.exit_code == 2
    assert result.output == (
        f"lem report: there is no run with a report in {tmp_path / 'runs'}; name one, or measure first\n"
    )


def test_the_help_shows_examples_as_they_are_typed():
    assert "    lem report --out public/index.html   somewhere else" in lem("--help").output.splitlines()


# At the end of a run


def test_a_run_writes_its_page_where_it_was_asked(project):
    project.write()
    result = project.run("--lem-html=page.html")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["report: *report.json", "page: page.html"])
    page = project.pytester.path / "page.html"
    assert [row["test"] for row in shown(page)["rows"]] == [m["test"] for m in project.report()["measurements"]]


def test_the_page_may_be_asked_for_in_the_ini(project):
    project.write()
    project.run("-o", "lem_html=page.html", "-k", "b1").assert_outcomes(passed=1, deselected=1)
    assert len(shown(project.pytester.path / "page.html")["rows"]) == 1


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--lem-html=nowhere/page.html", "--lem-html=nowhere/page.html: there is no such folder; make it, or name *"),
        ("--lem-html=.", "--lem-html=.: that is a folder; name a file"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(project, option, line):
    project.write()
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {line}"])


def test_a_run_without_the_option_writes_no_page(project):
    project.write()
    project.run().stdout.no_fnmatch_line("page: *")
    assert list(project.pytester.path.rglob("*.html")) == []
