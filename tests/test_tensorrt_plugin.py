"""A user measures with `--lem-backend=tensorrt`: the stand-in in an environment of its own, beside another engine."""

from __future__ import annotations

import json

import fake_pynvml
import pytest
import tensorrt_contract
from fake_pynvml import FakeGpu
from typer.testing import CliRunner

from pytest_lem.cli import app

TEST = """
import pytest

@pytest.mark.lem(backend=["fake", "tensorrt"], model="synthetic:tiny", batch=[1, 4], prompt_tokens=8, output_tokens=4,
                 unless={"backend": "fake", "batch": 1}, fake={"token_seconds": 0.001},
                 tensorrt={"max_batch_size": 8, "max_input_len": 16, "max_output_len": 16, "enable_trt_overlap": True})
def test_decode(lem_backend, lem_workload, lem_energy):
    assert lem_energy.measure(lem_backend, lem_workload).tokens_per_second > 1
"""
BUILT = """
backend: tensorrt
batch: 2
prompt_tokens: 8
output_tokens: 4
tensorrt:
  runtime: engine
  max_batch_size: 8
  max_input_len: 16
  max_output_len: 16
  quantization: 8bit
"""


@pytest.fixture
def machine(project, tmp_path, monkeypatch):
    """A user's project on a machine with one GPU that no other test leases."""
    gpu = f"GPU-{abs(hash(str(tmp_path))):x}"
    fake_pynvml.install(project.pytester.path / "site", FakeGpu(gpu))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
    return project


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that holds the newest version with both runtimes, and nothing of ours."""
    return tensorrt_contract.interpreter(tmp_path_factory.mktemp("env"), "1.2")


def test_the_newest_version_with_both_runtimes_beside_another_engine_in_one_table(machine, python):
    machine.write(TEST)
    (machine.pytester.path / "built.lem.yaml").write_text(BUILT)
    result = machine.subprocess(f"--lem-python=tensorrt={python}", "--lem-rounds=2")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*tensorrt-bf16-b2*", "*fake-bf16-b4*", "*tensorrt-bf16-b1*", "*tensorrt-bf16-b4*"])
    built, *others = machine.report()["measurements"]
    ours = [each for each in others if each["engine"]["requested"]["backend"] == "tensorrt"]
    check(ours, python)
    assert built["metrics"]["build_seconds"]["value"] == 2.5
    assert built["metrics"]["build_joules"]["reason"] == "no meter reads GPUs here"
    assert [each["device"] for each in built["cycles"][0]["build_devices"]] == ["package-0"]
    assert built["engine"]["observed"]["build"]["from_cache"] is False


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.0", "1.1", "newest"])
def test_two_interpreters_in_one_run_and_one_table(machine, tmp_path, version):
    python = tensorrt_contract.interpreter(tmp_path / "env", version)
    machine.write(TEST)
    result = machine.subprocess(f"--lem-python=tensorrt={python}", "--lem-rounds=2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*fake-bf16-b4*", "*tensorrt-bf16-b1*", "*tensorrt-bf16-b4*"])
    check([each for each in machine.report()["measurements"] if "fake" not in each["id"]], python)


SORTED = """
import pytest

@pytest.mark.lem(backend="tensorrt", model="synthetic:tiny", prompts=[[1] * 8, [2] * 4], batch=2, requests=4,
                 output_tokens=4, batching="sorted_static")
def test_groups(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def test_a_strategy_is_reported_as_a_way_of_submitting_where_nothing_is_padded(machine, python):
    machine.write(SORTED)
    result = machine.subprocess(f"--lem-python=tensorrt={python}", "--lem-rounds=1")
    result.assert_outcomes(passed=1)
    (cycle,) = machine.report()["measurements"][0]["cycles"]
    note = (
        "the batching strategy is a way of submitting here: tensorrt batches continuously, and gets each group when "
        "the one before it is answered"
    )
    assert (cycle["notes"], cycle["work"]) == ([note], {"groups": 2})
    result.stdout.fnmatch_lines(["*the batching strategy is a way of submitting here: tensorrt batches*"])


def check(ours, python) -> None:
    """Two measurements of the PyTorch runtime by this interpreter, with all that it tells."""
    assert len(ours) == 2
    assert {each["engine"]["observed"]["executable"] for each in ours} == {python}
    assert len({each["cycles"][0]["launch"] for each in ours}) == 1  # one start serves both batches
    for each in ours:
        values = {name: metric["value"] for name, metric in each["metrics"].items()}
        assert values["ttft_ms"] > 0
        assert values["tpot_ms"] > 0
        assert values["itl_ms"] > 0
        assert values["peak_memory_bytes"] == 3 << 20
        assert each["metrics"]["build_seconds"]["reason"] == "this engine built nothing before it served"


def test_without_the_library_it_says_what_to_install_and_how_to_point_at_it(machine):
    machine.write(TEST.replace('["fake", "tensorrt"]', '"tensorrt"').replace("[1, 4]", "1"))
    result = machine.subprocess("--lem-rounds=2")
    result.stdout.fnmatch_lines(
        [
            "*No module named 'tensorrt_llm'; install it with: pip install tensorrt-llm in an environment of its own*",
            "*--lem-python=tensorrt=/path/to/its/python*",
        ]
    )


def test_lem_engines_tells_its_version_in_another_interpreter_and_what_is_missing_here(python):
    told = json.loads(CliRunner().invoke(app, ["engines", "--python", python, "--json"]).output)["tensorrt"]
    assert told["available"] is True
    assert told["versions"] == {"tensorrt_llm": "1.2.1"}
    assert told["precisions"] == ["float16", "bfloat16"]
    here = CliRunner().invoke(app, ["engines"]).output
    (line,) = (line for line in here.splitlines() if line.startswith("tensorrt"))
    assert "tensorrt_llm not installed: pip install tensorrt-llm in an environment of its own" in line
    assert "--lem-python=tensorrt=" in line
