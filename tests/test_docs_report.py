"""docs/report.md: its commands do what it says, its pictures and numbers are there."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from project import ROOT
from typer.testing import CliRunner

from pytest_lem.cli import app

PAGE = (ROOT / "docs" / "report.md").read_text()
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"^    (\S.*)$", PAGE, re.M)]


def test_its_commands_are_those_that_are_tried_here():
    assert [command.partition(" ")[0] for command in COMMANDS] == ["pytest", "lem", "lem", "lem"]


def test_its_commands_write_the_pages_that_they_name(project, monkeypatch):
    project.write()
    folder = project.pytester.path
    (folder / "public").mkdir()
    program, _, option = shlex.split(COMMANDS[0])
    assert program == "pytest"
    project.run(option).assert_outcomes(passed=2)
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    project.run()
    monkeypatch.chdir(folder)
    runs = sorted(path.name for path in (folder / ".lem" / "runs").glob("*Z-*"))
    for command in COMMANDS[1:]:
        names = iter(runs * 2)
        words = [next(names) if word == "RUN" else word for word in shlex.split(command)[1:]]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert (folder / "public" / "index.html").read_text().count("<table") == page.count("<table") > 0
    assert f"run {runs[-1]}" in (folder / "report.html").read_text()
    assert "with 1 earlier run" in (folder / "report.html").read_text()


def test_each_part_that_it_names_is_on_the_page():
    template = (ROOT / "pytest_lem" / "render" / "html" / "assets" / "page.html").read_text()
    heads = {head.lower() for head in re.findall(r"<h2[^>]*>([^<]+)</h2>", template)}
    parts = re.findall(r"^\| ([a-z, ]+) \|", PAGE, re.M)[1:]
    named = {word for part in parts for word in ([part] if part in heads else part.split(", "))}
    assert named == heads


@pytest.mark.parametrize("link", re.findall(r"\]\(([^):]+)\)", PAGE))
def test_what_it_links_to_is_there(link):
    assert (ROOT / "docs" / link).is_file()


def test_its_pictures_are_small_and_have_words_for_those_who_do_not_see_them():
    pictures = re.findall(r"!\[([^\]]+)\]\((report-\w+\.png)\)", PAGE)
    assert len(pictures) == 3
    for words, name in pictures:
        assert len(words) > 40
        assert (ROOT / "docs" / name).stat().st_size < 250_000


def test_the_size_that_it_states_was_measured():
    found = json.loads((ROOT / "docs" / "evidence" / "html-report.json").read_text())["pages"][-1]
    stated = re.search(r"(\d+) configurations of (\d) cycles are ([\d.]+) MB", PAGE)
    assert (found["configurations"], found["cycles"]) == (int(stated[1]), int(stated[2]))
    assert round(found["bytes"] / 1e6, 1) == float(stated[3])
    assert max(visit["ready"] for visit in found["visits"]) < 1000


def test_its_step_of_ci_asks_for_options_that_exist(pytestconfig):
    steps = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.S)[1])
    options = re.findall(r"--(lem-[a-z]+)", steps[0]["run"])
    assert options == ["lem-baseline", "lem-html"]
    assert all(hasattr(pytestconfig.option, name.replace("-", "_")) for name in options)
