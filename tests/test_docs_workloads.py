"""docs/workloads.md: its examples run as written, and its tables say what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from users_project import CONFTEST

from pytest_lem.model.presets import PRESETS, SERVICE_LEVELS
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.data import read_data

PAGE = (Path(__file__).parent.parent / "docs" / "workloads.md").read_text()
EXAMPLE, GENERATOR = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def section(title: str) -> str:
    return re.search(rf"\n## {title}\n(.*?)(?=\n## |\Z)", PAGE, re.S)[1]


def first_cells(title: str) -> list[str]:
    """What the first column of a section's table says, code by code."""
    table = section(title).partition("|---|")[2]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row.split("|")[1])]


@pytest.mark.slow
@pytest.mark.torch
def test_the_example_measures_both_ways_to_group(pytester, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makepyfile(test_example=EXAMPLE)
    result = pytester.runpytest_subprocess("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*-sortedstatic-b2-c0[]] PASSED*"])


def test_the_generator_of_a_conftest_is_asked(project):
    project.pytester.makeconftest(f"{CONFTEST}\n{GENERATOR}")
    project.write(
        "import pytest\n\n"
        "@pytest.mark.lem(backend='fake', fake={'traffic': True, 'token_seconds': 0.001}, generator='mine')\n"
        "def test_it(lem_backend, lem_workload, lem_energy):\n"
        "    lem_energy.measure(lem_backend, lem_workload)\n"
    )
    project.run("--lem-rounds=1").assert_outcomes(passed=1)
    round_ = project.report()["measurements"][0]["cycles"][0]["rounds"][0]
    assert round_["prompt_tokens"] == round_["passes"] * 40 * (1 + 2 + 3 + 4)


@pytest.mark.parametrize("written", first_cells("Lengths"))
def test_every_length_is_one(written):
    assert WorkloadSpec(prompt_tokens=ast.literal_eval(written)).prompt_tokens


@pytest.mark.parametrize("written", first_cells("Traffic"))
def test_all_traffic_is_some(written):
    assert WorkloadSpec(traffic=ast.literal_eval(written)).arriving is not None


@pytest.mark.parametrize("written", first_cells("Groups"))
def test_every_strategy_is_one(written):
    assert WorkloadSpec(batching=written).batching == written


def test_the_presets_are_those_of_the_code():
    assert first_cells("Drawing tokens") == list(PRESETS)
    for name, fields in PRESETS.items():
        row = next(line for line in section("Drawing tokens").splitlines() if line.startswith(f"| `{name}`"))
        if fields["temperature"]:
            top_p, top_k = f"top-p {fields['top_p']}", f"top-k {fields['top_k']}"
            assert f"temperature {fields['temperature']:g}, {top_p}, {top_k}" in row


def test_the_service_levels_are_those_of_the_code():
    assert set(re.findall(r'`"([^"]+)"`', section("Service levels"))) == set(SERVICE_LEVELS)


def test_every_set_of_prompts_that_is_named_is_there():
    row = next(line for line in section("Prompts").splitlines() if line.startswith("| `source`"))
    names = ["chat", *re.search(r"`builtin:chat`, (.*?):", row)[1].replace("`", "").split(", ")]
    spec = WorkloadSpec(data={"source": "builtin:all"}).data
    assert len(read_data(spec).texts) == sum(
        len(read_data(spec.replace(source=f"builtin:{name}")).texts) for name in names if name != "all"
    )
