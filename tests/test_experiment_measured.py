"""Files measured for real: the page's example cut down to a tiny model, and one experiment asked for in three ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
PAGE = Path(__file__).parent / "experiments" / "llenergymeasure.lem.yaml"
CUT = """\
_extends: page.yaml
config_name: cut
model_name: synthetic:tiny
backend: pytorch
fp_precision: float32
gpus: [0]
num_processes: 1
sharding: {strategy: none}
batching: {batch_size: 2}
traffic_simulation: {target_qps: 20.0}
num_input_prompts: 6
max_input_tokens: 16
decoder: {max_new_tokens: 8}
rounds: 2
round_seconds: 0.3
warmup_rounds: 1
warmup_seconds: 0
"""
FILE = """\
config_name: decode
model_name: synthetic:tiny
batch_size: 2
max_input_tokens: 8
max_output_tokens: 4
decoder: {preset: creative, seed: 3}
rounds: 2
round_seconds: 0.2
warmup_rounds: 1
warmup_seconds: 0
"""
FUNCTION = """\
import pytest

@pytest.mark.lem(
    model="synthetic:tiny", batch=2, prompt_tokens=8, output_tokens=4, decoding={"preset": "creative", "seed": 3},
    rounds=2, round_seconds=0.2, warmup_rounds=1, warmup_seconds=0,
)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def measured(folder, *command):
    """The measurements of the run that a command makes."""
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    newest = max(folder.glob(".lem/runs/*/report.json"))
    return json.loads(newest.read_text())["measurements"], done.stdout


def test_the_pages_example_cut_down_to_a_tiny_model_runs_to_a_report(folder):
    (folder / "page.yaml").write_text(PAGE.read_text())
    (folder / "cut.lem.yaml").write_text(CUT)
    (found,), output = measured(folder, "-m", "pytest")
    assert found["test"] == "cut.lem.yaml::cut[pytorch-fp32-b2]"
    assert found["workload"]["traffic"]["arrivals"] == "poisson"
    assert found["workload"]["decoding"]["temperature"] == 0
    assert [cycle["stopped"] for cycle in found["cycles"]] == ["rounds"]
    assert {round_["requests"] for round_ in found["cycles"][0]["rounds"]} == {6}
    assert found["metrics"]["tokens_per_second"]["value"] > 0
    assert "page.yaml:20: batching.strategy: sorted_dynamic is left out" in output


def test_a_function_a_file_and_the_command_ask_for_the_same(folder):
    (folder / "decode.lem.yaml").write_text(FILE)
    (folder / "test_it.py").write_text(FUNCTION)
    (function, file), _ = measured(folder, "-m", "pytest", "test_it.py", "decode.lem.yaml")
    command = "import sys; from pytest_lem.cli import main; sys.argv[0] = 'lem'; main()"
    (command_,), _ = measured(folder, "-c", command, "experiment", "decode.lem.yaml")
    asked = [(each["engine"]["requested"], each["workload"], each["protocol"]) for each in (function, file, command_)]
    assert asked[0] == asked[1] == asked[2]
    assert function["test"].startswith("test_it.py::")
    assert file["test"] == command_["test"]
