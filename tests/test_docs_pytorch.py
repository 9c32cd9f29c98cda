"""docs/pytorch.md: its example runs as written, and its tables name the options that there are."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import pytest
from users_project import CONFTEST

from pytest_lem.engines.pytorch import PytorchOptions, Quantization

PAGE = (Path(__file__).parent.parent / "docs" / "pytorch.md").read_text()
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]


def first_cells(title: str) -> list[str]:
    """What the first column of a section's table says, code by code."""
    section = re.search(rf"\n## {title}\n(.*?)(?=\n## |\Z)", PAGE, re.S)[1]
    rows = [line for line in section.partition("|---|")[2].splitlines() if line.startswith("| `")]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.slow
@pytest.mark.torch
def test_the_example_measures_an_assistant_and_a_quantised_model(pytester, monkeypatch):
    if find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makepyfile(test_example=EXAMPLE)
    pytester.makeconftest(CONFTEST)
    short = ("--lem-rounds=1", "--lem-round-seconds=0.1")
    pytester.runpytest_subprocess(*short).assert_outcomes(passed=2)


def test_every_option_is_in_the_table_and_no_other():
    assert sorted(first_cells("Options")) == sorted(PytorchOptions.model_fields)


def test_every_way_to_quantise_is_in_its_table():
    assert first_cells("Quantisation") == list(get_args(Quantization))
