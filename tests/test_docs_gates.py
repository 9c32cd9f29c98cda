"""docs/gates.md: its example runs as written, and its commands name options that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_lem.plugin.options import OPTIONS

PAGE = (Path(__file__).parent.parent / "docs" / "gates.md").read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]


@pytest.mark.slow
@pytest.mark.torch
def test_the_example_gates_throughput_and_a_metric_of_the_tests_own(pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makepyfile(test_example=EXAMPLE)
    short = ("--lem-rounds=8", "--lem-round-seconds=0.2", "--lem-max-seconds=30")
    pytester.runpytest_subprocess(*short, "--lem-save=main").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess(*short, "--lem-baseline=main", "-v")
    result.stdout.fnmatch_lines(["*gate-tokens_per_second[]]*", "*gate-quality[]]*"])
    assert result.parseoutcomes()["passed"] == 3


def test_every_option_on_the_page_is_one():
    known = {option.flag for option in OPTIONS}
    assert set(re.findall(r"--lem-[a-z-]+", PAGE)) <= known
