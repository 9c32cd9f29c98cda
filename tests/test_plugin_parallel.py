"""A user's project whose engine is shared by two processes, through the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pytest_lem.cli import app

pytestmark = [pytest.mark.torch, pytest.mark.slow]

TEST = """
import pytest

@pytest.mark.lem(
    backend=["pytorch", "vllm"], model="synthetic:tiny", precision="float32", batch=2, prompt_tokens=16,
    output_tokens=8, pytorch={"tensor_parallel_size": 2, "num_threads": 1},
)
def test_decode(lem_backend, lem_workload, lem_energy):
    found = lem_energy.measure(lem_backend, lem_workload)
    assert len(lem_backend.observed["ranks"]) == 2
    assert found.joules_per_token > 0
"""
OTHER = """
backend: pytorch
model: synthetic:tiny
precision: float32
device: cpu
prompt_tokens: 16
output_tokens: 8
sharding: {strategy: pipeline_parallel, num_shards: 2}
pytorch: {num_threads: 1}
"""


def check(project, share=1):
    """What holds of each measured round: joules of the host once, tokens once, and each rank in its raw file.

    `share` is a rank's part in the tokens: all of them where ranks share a model.
    """
    (measurement,) = project.report()["measurements"]
    (cycle,) = measurement["cycles"]
    (path,) = (project.runs()[-1] / "raw").glob("*.json")
    readings = [each for each in json.loads(path.read_text())["readings"] if each["phase"] == "round"]
    assert len(readings) == len(cycle["rounds"]) == 4
    for round_, raw in zip(cycle["rounds"], readings, strict=True):
        assert round_["tokens"] == 16 * round_["passes"]  # of a batch of 2, or 2 requests
        assert raw["ranks"] == round_["ranks"]
        assert [(each["rank"], each["tokens"]) for each in raw["ranks"]] == [
            (0, share * round_["tokens"]),
            (1, share * round_["tokens"]),
        ]
        assert all(each["resident_bytes"] > 0 for each in raw["ranks"])
        assert sum(each["weights_bytes"] for each in raw["ranks"]) == round_["counters"]["weights_bytes"]
        # The made-up CPU takes 100 W, whatever number of processes runs on it.
        assert raw["reading"]["joules"] == pytest.approx(100 * (round_["end_ns"] - round_["start_ns"]) / 1e9)
    joules = [
        raw["reading"]["joules"] / round_["tokens"] for round_, raw in zip(cycle["rounds"], readings, strict=True)
    ]
    low, high = min(joules), max(joules)
    assert low <= measurement["metrics"]["joules_per_token"]["value"] <= high
    done = CliRunner().invoke(app, ["results", "verify", "--results", str(project.pytester.path / ".lem")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "every rank is there" in done.stdout


def test_a_marker_asks_for_two_ranks_and_the_table_says_so(project):
    project.write(TEST)
    result = project.subprocess("--lem-backend=pytorch", "-p", "no:randomly")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_decode*pytorch-fp32-b2*TP 2*"])
    check(project)


def test_two_replicas_answer_a_request_each_and_the_table_says_so(project):
    project.write(TEST.replace("tensor_parallel_size", "data_parallel_size"))
    result = project.subprocess("--lem-backend=pytorch", "-p", "no:randomly")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_decode*pytorch-fp32-b2*DP 2*"])
    check(project, share=0.5)


def test_an_experiment_file_asks_for_two_stages(project):
    (project.pytester.path / "split.lem.yaml").write_text(OTHER + "batch: 2\n")
    result = project.subprocess("split.lem.yaml")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PP 2*"])
    check(project)


def test_a_size_that_the_model_does_not_have_ends_the_run_before_a_start(project):
    project.write(TEST.replace('"tensor_parallel_size": 2', '"tensor_parallel_size": 3'))
    result = project.subprocess("--lem-backend=pytorch")
    assert result.ret != 0
    result.stdout.fnmatch_lines(
        ["*pytorch: tensor_parallel_size=3 does not divide the model's 4 attention heads; take 1 or 2*"]
    )
