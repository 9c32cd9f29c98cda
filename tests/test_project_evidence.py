"""A table in docs/evidence that claims to be generated is what its JSON makes."""

from __future__ import annotations

import json
from pathlib import Path

import project  # noqa: F401 - puts the project's root on the path
import pytest

from benchmarks import evidence
from benchmarks.engines.keep import unplaced


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(evidence.GENERATORS, "apples", lambda data: f"| apples |\n| ---: |\n| {data['apples']} |")
    source = {"title": "Apples", "command": "python count.py", "date": "2026-01-01", "apples": 3}
    (tmp_path / "apples-h100.json").write_text(json.dumps(source))
    evidence.main(["--write", "--folder", str(tmp_path)])
    return tmp_path


def test_every_table_in_the_project_is_what_its_json_makes() -> None:
    assert evidence.faults(evidence.FOLDER) == []


def test_a_new_page_names_its_command_and_holds_the_table(folder: Path) -> None:
    text = (folder / "apples-h100.md").read_text()
    assert text.startswith("# Apples\n")
    assert "`python count.py`, 2026-01-01:" in text
    assert "| 3 |" in text
    assert evidence.main(["--check", "--folder", str(folder)]) == 0


def test_a_number_changed_by_hand_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "apples-h100.md"
    page.write_text(page.read_text().replace("| 3 |", "| 4 |"))
    assert evidence.main(["--check", "--folder", str(folder)]) == 1
    assert "apples-h100.md: differs from what apples-h100.json makes" in capsys.readouterr().out


def test_words_around_the_table_are_kept_when_it_is_renewed(folder: Path) -> None:
    page = folder / "apples-h100.md"
    page.write_text(page.read_text().replace("# Apples", "# Our apples\n\nPicked by hand.") + "\nA last word.\n")
    source = folder / "apples-h100.json"
    source.write_text(source.read_text().replace('"apples": 3', '"apples": 5'))
    evidence.main(["--write", "--folder", str(folder)])
    text = page.read_text()
    assert text.startswith("# Our apples\n\nPicked by hand.")
    assert text.endswith("A last word.\n")
    assert "| 5 |" in text
    assert "| 3 |" not in text


def test_a_page_that_claims_a_json_it_has_not_is_found(folder: Path) -> None:
    (folder / "apples-h100.json").rename(folder / "pears.json")
    assert evidence.faults(folder) == ["apples-h100.md: claims to be generated, but has no JSON with a generator"]


def test_a_json_without_its_page_is_found(folder: Path) -> None:
    (folder / "apples-h100.md").unlink()
    assert evidence.faults(folder) == ["apples-h100.md: differs from what apples-h100.json makes; run `make evidence`"]


def test_a_report_that_is_kept_does_not_say_where_it_was_made() -> None:
    engine = {"observed": {"executable": "/home/me/v/bin/python"}, "requested": {"python": "/home/me/v/bin/python"}}
    options = {"lem_results": "/home/me/.lem", "lem_python": ["pytorch=/home/me/t/python,vllm=/opt/v/python"]}
    report = {
        "environment": {"host": "mine"},
        "run": {"options": {"command": options, "settings": {}}},
        "measurements": [{"engine": engine}, {"engine": {"observed": {}, "requested": {"python": None}}}],
    }
    kept = unplaced(report)
    assert "/" not in json.dumps(kept)
    assert kept["run"]["options"]["command"] == {"lem_python": ["pytorch=python,vllm=python"]}
    assert [each["engine"]["requested"]["python"] for each in kept["measurements"]] == ["python", None]
