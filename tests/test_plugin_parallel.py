"""A user's project whose engine is shared by two processes, through the command line."""

from __future__ import annotations

import json

import pytest
from test_engine_parallel import three  # noqa: F401
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


KILLED = """
import os, signal, threading
import pytest

work = pytest.mark.lem(
    backend="pytorch", model="synthetic:tiny", precision="float32", batch=2, prompt_tokens=16, output_tokens=8,
    pytorch={"tensor_parallel_size": 2, "num_threads": 1},
)

@work
@pytest.mark.lem(rounds=100, round_seconds=1)
def test_killed(lem_backend, lem_workload, lem_energy):
    pid = lem_backend.observed["ranks"][1]["pid"]
    threading.Timer(1, os.kill, (pid, signal.SIGKILL)).start()
    lem_energy.measure(lem_backend, lem_workload)

@work
def test_next(lem_backend, lem_workload, lem_energy):
    assert lem_energy.measure(lem_backend, lem_workload).joules_per_token > 0
"""


def check(project, share=1, ranks=2):
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
            (rank, share * round_["tokens"]) for rank in range(ranks)
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


@pytest.mark.parametrize("way", ["tensor_parallel_size", "pipeline_parallel_size"])
def test_three_ranks_tell_their_tokens_and_memory_each_in_the_raw_file(project, three, way):  # noqa: F811
    asked = TEST.replace('"tensor_parallel_size": 2', f'"{way}": 3').replace("synthetic:tiny", three)
    project.write(asked.replace("== 2", "== 3"))
    # In this process, where the model's shape is known.
    project.run("--lem-backend=pytorch").assert_outcomes(passed=1)
    check(project, ranks=3)


def test_a_killed_rank_fails_its_test_and_the_next_one_has_a_whole_engine(project):
    project.write(KILLED)
    result = project.subprocess("-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*engine 'pytorch': run failed: rank 1 died (signal SIGKILL)*"])
    killed, whole = project.report()["measurements"]
    assert killed["id"].endswith("test_killed[pytorch-fp32-b2]")
    assert (killed["cycles"][0]["stopped"], whole["cycles"][0]["stopped"]) == ("failed", "rounds")
    assert killed["cycles"][0]["launch"] != whole["cycles"][0]["launch"]


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
