"""Every example of the README runs as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pytest_lem.plugin.options import OPTIONS

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)
SHORT = ("--lem-rounds=2", "--lem-round-seconds=0.1")  # all else is as the page says


@pytest.mark.torch
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_python_example_passes_as_written(pytester, monkeypatch, number):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makepyfile(test_first=BLOCKS[number])
    result = pytester.runpytest_subprocess("test_first.py", "--lem-quick", *SHORT)
    assert set(result.parseoutcomes()) == {"passed"}
    assert list((pytester.path / ".lem" / "runs").glob("*/report.json"))


@pytest.mark.torch
def test_the_demo_ends_with_a_table_and_a_report(pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = pytester.runpytest_subprocess("--lem-demo", *SHORT)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*lem: energy of inference*", "*QUICK*", "report: *report.json"])


def test_the_table_of_options_names_each_option_once():
    rows = re.findall(r"^\| `(--lem-[a-z-]+)", README, re.M)
    assert sorted(rows) == sorted(option.flag for option in OPTIONS)


def test_every_command_of_the_readme_is_one_that_exists():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    commands = [line.strip().partition("  #")[0] for line in README.splitlines() if line.startswith("    ")]
    for command in commands:
        words = shlex.split(command) if command.startswith(("make ", "pytest ", "pip ")) else []
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", makefile, re.M)
        for word in words:
            if word.startswith("--lem"):
                assert word.partition("=")[0] in {option.flag for option in OPTIONS}
