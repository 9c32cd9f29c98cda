"""docs/parallel.md: its example is collected, and what it quotes is what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_lem.engines.pytorch import PytorchOptions
from pytest_lem.model.round import Round

PAGE = (Path(__file__).parent.parent / "docs" / "parallel.md").read_text()


def test_the_example_makes_an_experiment_of_each_way(pytester, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    pytester.makepyfile(test_example=example)
    found = pytester.runpytest_subprocess("--collect-only", "-q")
    assert [line.count("test_parallel[") for line in found.outlines if "::" in line] == [1] * 8


def test_its_options_are_those_of_the_engine():
    told = re.findall(r"^\| `(\w+)=N` \|", PAGE, re.M)
    assert told == ["tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"]
    assert set(told) <= set(PytorchOptions.model_fields)
    assert "ranks" in Round.model_fields


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ("run failed: rank 1 died (signal SIGKILL)", "test_plugin_parallel.py"),
        ("pytorch needs 2 GPU(s), 1 visible here", "test_engine_parallel.py"),
    ],
)
def test_what_it_quotes_is_asserted_where_it_happens(words, where):
    assert words in PAGE
    assert words in (Path(__file__).parent / where).read_text()


def test_a_table_says_that_placed_layers_are_not_parallel():
    words = "layers on 2 GPUs, one at a time"
    assert words in " ".join(PAGE.split())
    assert words in (Path(__file__).parent / "test_engine_placement.py").read_text()
