"""How a user names a run: by its id, how it begins, `latest`, or where it lies."""

from __future__ import annotations

import re

import pytest

from pytest_lem.model.errors import UsageError
from pytest_lem.store.runs import reported, run_place

FIRST, SECOND, KILLED = "20260105T090000000Z-aaaaaa", "20260106T090000000Z-bbbbbb", "20260107T090000000Z-cccccc"


@pytest.fixture
def results(tmp_path):
    """Two runs with reports, and a later one that was killed."""
    for name, file in ((FIRST, "report.json"), (SECOND, "report.json"), (KILLED, "run.json")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / file).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "run"),
    [(None, SECOND), ("latest", SECOND), (FIRST, FIRST), ("20260105", FIRST), ("20260106T09", SECOND)],
)
def test_a_run_is_named_by_how_it_begins_or_as_the_latest(results, named, run):
    assert run_place(named, results) == results / "runs" / run


@pytest.mark.parametrize("named", [None, "latest", "20260107"])
def test_a_killed_run_is_found_where_it_may_be(results, named):
    assert run_place(named, results, killed=True) == results / "runs" / KILLED


def test_a_place_on_disk_goes_before_a_beginning(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2026").write_text("{}")
    assert str(run_place("2026", results)) == "2026"


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("2026", f"2026: 3 runs begin so ({FIRST}, {SECOND}, {KILLED}); name more of it"),
        ("2027", "2027: there is no such run in {runs}, and no such file"),
        (
            "20260107",
            f"run {KILLED} has no report, as it was cut short or is still running; `lem results rebuild {KILLED}` "
            "makes one of what it measured",
        ),
    ],
)
def test_what_names_no_run_or_several_is_one_line(results, named, line, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UsageError, match=f"^{re.escape(line.format(runs=results / 'runs'))}$"):
        run_place(named, results)


def test_a_run_that_is_being_deleted_is_none(results):
    (results / "runs" / SECOND).rename(results / "runs" / f".{SECOND}")
    assert run_place("latest", results) == results / "runs" / FIRST


def test_runs_with_a_report_are_given_the_oldest_first(results):
    assert [path.name for path in reported(results)] == [FIRST, SECOND]
