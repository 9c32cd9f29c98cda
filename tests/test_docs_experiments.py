"""docs/experiments.md: its files run as written, its words are those of the table, its commands are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.experiment.campaign import read_campaign
from pytest_lem.experiment.check import checked
from pytest_lem.experiment.extends import KEY
from pytest_lem.experiment.words import NEUTRAL, WORDS

PAGE = (Path(__file__).parent.parent / "docs" / "experiments.md").read_text()
FILES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.S))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(f"# {name}\n{text}")
    return tmp_path


def section(title: str) -> str:
    return re.search(rf"\n## {title}\n(.*?)(?=\n## |\Z)", PAGE, re.S)[1]


@pytest.mark.parametrize(
    ("name", "count"), [("decode.lem.yaml", 2), ("service.lem.yaml", 1), ("sweep.lem.yaml", 5 * (4 - 1))]
)
def test_every_file_is_the_experiments_that_the_page_says(folder, name, count):
    assert checked(folder / name, lambda path: path.name).count == count


def test_the_campaign_is_one(folder):
    campaign = read_campaign(folder / "night.lem.yaml", str)
    assert [path.name for path in campaign.files] == ["decode.lem.yaml", "sweep.lem.yaml"]
    assert campaign.settings == {"cycles": 3, "order": "interleaved", "gap": "cool"}


@pytest.mark.slow
@pytest.mark.torch
def test_the_first_file_is_measured_and_named_as_the_page_says(folder, pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (pytester.path / "decode.lem.yaml").write_text((folder / "decode.lem.yaml").read_text())
    result = pytester.runpytest_subprocess("-v", "--lem-rounds=2", "--lem-round-seconds=0.2", "--lem-quick", "-k", "b8")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["decode.lem.yaml::decode[[]pytorch-fp32-b8-c0] PASSED*"])


def test_every_word_of_the_table_is_one():
    rows = [line.split("|")[1] for line in section("Words").splitlines() if line.startswith("| `")]
    named = [code.partition(":")[0] for row in rows for code in re.findall(r"`([^`]+)`", row)]
    sections = {word.partition(".")[0] for word in WORDS} | {"pytorch", "vllm", "tensorrt"}
    assert [word for word in named if word not in WORDS and word not in sections] == []
    assert len(named) > 30
    assert "is_encoder_decoder" in NEUTRAL
    assert f"`{KEY}`" in PAGE


def test_every_command_of_the_table_is_there(folder):
    named = re.findall(r"^\| `lem ([a-z ]+)", section("Commands"), re.M)
    assert len(named) == 7
    for command in named:
        done = CliRunner().invoke(app, [*command.split(), "--help"])
        assert done.exit_code == 0, command
        assert f" {command.strip()} " in done.stdout


@pytest.mark.parametrize(
    "command",
    ["config new first", "config validate decode.lem.yaml night.lem.yaml", "config show --why service.lem.yaml"],
)
def test_the_commands_do_what_the_page_says(folder, command):
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output


def test_the_lines_that_it_quotes_are_the_codes_own(folder):
    quoted = re.findall(r"^    decode\.lem\.yaml:\d+: (.*)$", section("Words"), re.M)
    (folder / "decode.lem.yaml").write_text("batching:\n  batch_sise: 1\n")
    one = CliRunner().invoke(app, ["config", "validate", "decode.lem.yaml"]).stdout
    (folder / "decode.lem.yaml").write_text("max_output_tokens: 16\ndecoder:\n  max_new_tokens: 32\n")
    other = CliRunner().invoke(app, ["config", "validate", "decode.lem.yaml"]).stdout
    assert one == f"decode.lem.yaml:2: {quoted[0]}\n"
    assert other == f"decode.lem.yaml:3: {quoted[1]}\n"
