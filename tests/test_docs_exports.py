"""docs/exports.md: its commands do what it says, its columns are those of the table."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.util import find_spec

import pytest
from project import ROOT
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.cli.export import ENDINGS, FORMATS
from pytest_lem.render.table import ABOUT, table

PAGE = (ROOT / "docs" / "exports.md").read_text()
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"^    (\S.*)$", PAGE, re.M)]
FOREIGN = ROOT / "tests" / "foreign"


def test_its_commands_are_those_that_are_tried_here():
    words = [shlex.split(command)[:3] for command in COMMANDS]
    assert words[:-1] == [["lem", "results", "export"]] * 4 + [["lem", "results", "import"]] * 2 + [
        ["lem", "results", "export"]
    ]
    assert words[-1][0] == "pytest"


def test_its_commands_write_the_tables_that_they_name(project, monkeypatch):
    project.write()
    folder = project.pytester.path
    project.run().assert_outcomes(passed=2)
    project.run(shlex.split(COMMANDS[-1])[-1]).assert_outcomes(passed=2)
    assert (folder / "summary.md").read_text().startswith("### Energy of inference: 2 measurements")
    for name in ("benchmark_report.json", "benchmark_config.json"):
        shutil.copy(FOREIGN / "tiny-gpt2" / name, folder)
    shutil.copy(FOREIGN / "pytest-benchmark.json", folder / "speed.json")
    monkeypatch.chdir(folder)
    runs = [path.name for path in project.runs()]
    said = []
    for command in COMMANDS[:-1]:
        names = iter(runs)
        words = [next(names) if word == "RUN" else word for word in shlex.split(command)[1:]]
        if "table.parquet" not in words or find_spec("pyarrow"):
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.output
            said.append(result.output)
    assert said[0].splitlines()[1].startswith("pytest-lem,")
    assert r"\toprule" in (folder / "table.tex").read_text()
    assert '"name": "power_w"' in said[-4]
    assert "measured by optimum-benchmark 0.6.0" in said[-1]


def test_its_formats_are_all_there_are():
    assert re.findall(r"^\| `(\w+)` \| `(\.\w+)` \|", PAGE, re.M) == [(ENDINGS[end], end) for end in ENDINGS]
    assert set(FORMATS) == set(ENDINGS.values())


def test_its_columns_are_those_of_the_table():
    columns = [column.name for column in table([], ["joules_per_token"]).columns]
    listed = re.findall(r"`(joules_per_token\w*)`", re.search(r"\| column \|.*?\n\n", PAGE, re.S)[0])
    assert columns == [*(column.name for column in ABOUT), *listed]
    named = re.search(r"columns about\nit: (.*?) and more", PAGE, re.S)[1]
    assert set(re.findall(r"`(\w+)`", named)) <= {column.name for column in ABOUT}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^):]+)\)", PAGE))
def test_what_it_links_to_is_there(link):
    file, _, place = link.partition("#")
    heads = re.findall(r"^## (.*)$", (ROOT / "docs" / file).read_text(), re.M)
    assert not place or place in [head.lower().replace(" ", "-") for head in heads]
