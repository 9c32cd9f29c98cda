"""Files that GPTQ and AWQ have quantised, by the package that transformers loads them with: tox's `gptq`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engine_starts import spec, started

from pytest_lem.arithmetic import arithmetic_of
from pytest_lem.flops.products import multiplied_in
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.work import build_work

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.gptqmodel]
PROMPTS = (tuple(range(3, 8)), tuple(range(20, 41)))
LINEAR = 2 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256)  # weights of the 14 layers that are packed
WHOLE = LINEAR + 2 * 256 * 128 + 5 * 128  # and those of embedding, head and norms
METHODS = ("gptq", "awq")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What was observed and made of each folder, and which work it was."""
    folder = tmp_path_factory.mktemp("files")
    program = Path(__file__).with_name("gptq_files.py")
    subprocess.run([sys.executable, str(program), str(folder / "models")], check=True)
    made = {}
    for name in (*METHODS, *(f"{method}_float" for method in METHODS)):
        asked = spec("pytorch", model=str(folder / "models" / name), precision="float32", options={"num_threads": 1})
        with started(asked, folder) as engine:
            engine.prepare(WorkloadSpec(batch=2, prompts=PROMPTS, output_tokens=12))
            made[name] = (asked, engine.observed, engine.run(1).token_ids)
    return made


@pytest.mark.parametrize("method", METHODS)
def test_packed_files_make_the_tokens_of_the_same_weights_unpacked(found, method):
    _, _, tokens = found[method]
    assert [len(answer) for answer in tokens] == [12, 12]
    assert tokens == found[f"{method}_float"][2]
    assert found["gptq"][2] != found["awq"][2]


@pytest.mark.parametrize("method", METHODS)
def test_what_runs_is_read_from_the_layers(found, method):
    observed = found[method][1]
    assert (observed["precision"], observed["options"]["quantization"]) == ("float32", method)
    packed, head = sorted(observed["linear_layers"].items(), reverse=True, key=lambda each: each[1])
    assert (packed[1], head) == (14, ("Linear float32", 1))
    assert observed["notes"] == []
    plain = found[f"{method}_float"][1]
    assert plain["options"]["quantization"] is None
    assert observed["parameters"] == plain["parameters"] == WHOLE


@pytest.mark.parametrize("method", METHODS)
def test_bytes_are_those_in_memory(found, method):
    assert found[f"{method}_float"][1]["weights_bytes"] == 4 * WHOLE
    # Half a byte each; what kernels keep beside (scales, zeros, places) is less than an eighth more, repacked or not.
    left = 4 * (WHOLE - LINEAR)
    assert left + LINEAR / 2 < found[method][1]["weights_bytes"] < left + LINEAR * 5 / 8


@pytest.mark.parametrize("method", METHODS)
def test_flops_are_those_of_the_plain_model_held_against_the_peak_of_its_precision(found, method):
    work = build_work(WorkloadSpec(batch=2, prompt_tokens=16, output_tokens=8), 256, lambda texts: [])
    packed, plain = (arithmetic_of(*found[name][:2], work, "analytic") for name in (method, f"{method}_float"))
    assert packed.decode_flops == plain.decode_flops > 0
    assert packed.weights_read_bytes < plain.weights_read_bytes
    assert multiplied_in("float32", found[method][1]) == "float32"
