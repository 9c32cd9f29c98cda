"""The matrix as a user meets it: items, a project's file, experiments that run, the documentation's examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from users_project import TEST

DOCUMENT = (Path(__file__).parent.parent / "docs" / "campaigns.md").read_text()
SECTION = DOCUMENT.partition("## The matrix")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.S)
OWN = 'experiments=[{"batch": 1, "rounds": 2}, {"batch": 8, "rounds": 3, "cycles": 2}]'
(YAML,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.S)


def ids(result):
    return re.findall(r"test_\w+\[(.*)\]", "\n".join(result.outlines))


@pytest.fixture
def collected(project):
    """The ids of a test with this marker, in a project with this lem.yaml."""

    def collected(marker="", *arguments, yaml=None):
        test = f"import pytest\n@pytest.mark.lem({marker})\ndef test_it(lem_backend, lem_workload, lem_energy): pass\n"
        project.write(test)
        if yaml is not None:
            (project.pytester.path / "lem.yaml").write_text(yaml)
        return project.run("--collect-only", "-q", *arguments)

    return collected


def test_the_first_documented_grid_is_the_items_that_it_says(project):
    project.write(EXAMPLES[0])
    found = ids(project.run("--collect-only", "-q"))
    assert "pytorch-bf16-in64-b1-c0" in found
    assert len(found) == 3 * 4 * 2
    assert not any(name.startswith("vllm-fp32") for name in found)
    assert {name.split("-")[-2] for name in found} == {"b1", "b4", "b16", "b64"}


def test_the_documented_experiments_are_three_items(project):
    project.write(EXAMPLES[1])
    assert ids(project.run("--collect-only", "-q")) == ["pytorch-bf16-b1-c0", "vllm-bf16-b8-c0", "vllm-bf16-b32-c0"]


def test_the_documented_project_file_is_a_layer(collected):
    result = collected("backend=['pytorch', 'vllm'], precision=['fp16', 'fp32']", "--lem-explain", yaml=YAML)
    result.stdout.fnmatch_lines(
        ["*21 experiments", "*synthetic:llama-3.2-1b *lem.yaml:1", "*7 values, below*lem.yaml:2"]
    )


def test_experiments_run_each_with_its_own_protocol(project):
    project.write(TEST.replace("batch=[1, 8]", OWN))
    project.run("-o", "lem_rounds=").assert_outcomes(passed=3)
    found = {
        (one["workload"]["batch"], one["protocol"]["rounds"], one["protocol"]["cycles"])
        for one in project.report()["measurements"]
    }
    assert found == {(1, 2, 1), (8, 3, 2)}


def test_the_command_line_decides_over_an_experiments_own_protocol(project):
    project.write(TEST.replace("batch=[1, 8]", OWN))
    project.run("--lem-rounds=1").assert_outcomes(passed=3)
    assert {one["protocol"]["rounds"] for one in project.report()["measurements"]} == {1}


def test_what_the_project_says_is_what_is_measured(project):
    project.write(TEST.replace(", output_tokens=4", ""))
    (project.pytester.path / "lem.yaml").write_text("output_tokens: [2, 4]\nrounds: 2\nunless: {batch: 8}\n")
    project.run("-o", "lem_rounds=9").assert_outcomes(passed=2)
    found = project.report()["measurements"]
    assert [f"[fake-bf16-out{n}-b1" in one["test"] for n, one in zip((2, 4), found, strict=True)] == [True, True]
    assert [(one["workload"]["output_tokens"], one["protocol"]["rounds"]) for one in found] == [(2, 2), (4, 2)]


def test_exclusions_that_leave_nothing_skip_the_test_and_say_where_they_stand(project):
    project.write()
    (project.pytester.path / "lem.yaml").write_text("\nunless: {backend: fake}\n")
    result = project.run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*unless (lem.yaml:2) leaves out all experiments of this test (2)"])


def test_an_excluded_engine_need_not_be_able_to(collected):
    # vLLM takes requests over time only where it is served
    marker = "backend=['pytorch', 'vllm'], target_qps=[2.0, None]"
    result = collected(f"{marker}, unless={{'backend': 'vllm', 'target_qps': 2.0}}")
    assert ids(result) == [
        "pytorch-bf16-qps2-b1-c0",
        "pytorch-bf16-qpsnone-b1-c0",
        "vllm-bf16-qpsnone-b1-c0",
    ]
    collected(marker).stdout.fnmatch_lines(["*target_qps: backend 'vllm': requests that arrive over time need *"])


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("{'pytorch': {'use_cahce': True}}", "pytorch: unknown option 'use_cahce'; did you mean 'use_cache'? Known *"),
        ("[{'batch': 1}, {'fake': {'token_secondz': 1}}]", "fake: unknown option 'token_secondz'; did you mean 'tok*"),
    ],
)
def test_an_exclusion_by_a_misspelt_option_is_refused_and_does_not_leave_everything_in(collected, section, line):
    result = collected(f"unless={section}")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*test_it.py::test_it: @pytest.mark.lem: unless*: {line}"])


def test_an_exclusion_knows_an_option_by_each_of_its_names_and_any_that_the_engine_passes_on(collected):
    marker = "backend=['pytorch', 'vllm'], pytorch={'attn_implementation': 'eager'}, vllm={'block_size': 16}"
    assert ids(collected(f"{marker}, unless={{'pytorch': {{'attn_implementation': 'eager'}}}}")) == ["vllm-bf16-b1-c0"]
    assert ids(collected(f"{marker}, unless={{'vllm': {{'block_size': {{'min': 16}}}}}}")) == ["pytorch-bf16-b1-c0"]


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("model: synthetic:tiny\nbacth: 8\n", "lem.yaml:2: unknown keyword 'bacth'; the nearest known one is 'batch'"),
        ("batch: 1\nbatch: 8\n", "lem.yaml:2: 'batch' is given twice, first in line 1; keep one"),
        ("model: synthetic:tyny\n", "lem.yaml:1: unknown model 'synthetic:tyny'; did you mean 'synthetic:tiny'?*"),
        ("\nbackend: pytroch\n", "lem.yaml:2: unknown backend 'pytroch'; did you mean 'pytorch'?*"),
        ("\npytorch:\n  use_cach: 1\n", "lem.yaml:2: pytorch: unknown option 'use_cach'; did you mean 'use_cache'?*"),
        ("\nunless:\n  pytorch: {use_cach: 1}\n", "lem.yaml:*: unless: pytorch: unknown option 'use_cach'; did you *"),
        ("rounds: 0\n", "lem.yaml:1: rounds: Input should be greater than or equal to 1 (got 0)"),
    ],
)
def test_a_project_file_that_cannot_be_ends_the_run_before_it_collects(project, collected, yaml, line):
    project.pytester.makefile(".ini", pytest="[pytest]\n")
    result = collected(yaml=yaml)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {line}"])


def test_a_project_file_is_the_one_of_pytests_root(project):
    project.write(TEST.replace("batch=[1, 8], ", ""))
    (project.pytester.path / "lem.yaml").write_text("batch: 32\n")
    project.pytester.mkdir("inner").joinpath("lem.yaml").write_text("this is not read: [")
    assert ids(project.run("--collect-only", "-q")) == ["fake-bf16-b32-c0"]


def test_a_test_without_an_engine_is_named_by_its_workload(project):
    project.write(
        "import pytest\n@pytest.mark.lem(batch=[1, 8], prompt_tokens=[2, 4])\ndef test_w(lem_workload): pass\n"
    )
    assert ids(project.run("--collect-only", "-q")) == ["in2-b1", "in2-b8", "in4-b1", "in4-b8"]
