"""docs/searches.md: its examples run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "searches.md").read_text()
SEARCH, PHASES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def shown(pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(text, *arguments):
        pytester.makepyfile(test_example=text)
        return pytester.runpytest_subprocess("--lem-round-seconds=0.3", *arguments)

    return run


@pytest.mark.slow
@pytest.mark.torch
def test_the_search_finds_a_batch_and_says_so(shown):
    result = shown(SEARCH)
    result.assert_outcomes(passed=1)
    line = "test_cheapest_batch*: best batch for tokens_per_second is *Pareto front with tpot_p99_ms*"
    result.stdout.fnmatch_lines([line])


@pytest.mark.slow
@pytest.mark.torch
def test_the_phases_are_told_by_the_meter_that_is_there(shown):
    result = shown(PHASES, "--lem-meter=codecarbon")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_phases*: prefill *, decode *; their sum is * % from the whole*(estimated)"])
