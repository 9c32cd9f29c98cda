"""The formula against torch's own counter on eager models, and counting in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_starts import spec, started

from pytest_lem.arithmetic import arithmetic_of, counted
from pytest_lem.engines.models import SYNTHETIC
from pytest_lem.engines.process import child_environment
from pytest_lem.flops import analytic, request, throwaway
from pytest_lem.flops.architecture import GATED, PLAIN, read
from pytest_lem.model.errors import Unavailable
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.work import build_work

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def lab():
    environment = child_environment((), hide_gpus=True, other_python=False)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("flops_lab.py"))],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_formula_is_what_torch_counts_for_every_kind_of_model_that_it_knows(lab):
    assert set(lab["known"]) == GATED | PLAIN
    for name, found in lab["known"].items():
        ours = analytic.coefficients(read(found["config"]))
        torchs = throwaway.coefficients("counted", found)
        assert ours.model_dump(exclude={"positions"}) == torchs.model_dump(exclude={"positions"}), name


def test_layers_that_attend_to_a_window_are_counted_within_it_and_nothing_is_told_beyond(lab):
    """Two layers of 4 heads of 16: 512 FLOPs a position, which are no more than 256 of them."""
    within, beyond = lab["windowed"]["256"], lab["windowed"]["2000"]
    cost = throwaway.coefficients("counted", within)
    assert (cost.per_position, cost.positions) == (512, 256)
    assert request.token(cost, 256, sampled=True) == within["tokens"][-1] == beyond["tokens"][-1]
    with pytest.raises(Unavailable, match="counted: FLOPs do not grow evenly with the context up to 2000 tokens"):
        throwaway.coefficients("counted", beyond)


def test_counted_is_what_the_formula_says_of_the_live_engine(tmp_path):
    asked = spec("pytorch", model="synthetic:tiny-moe", precision="float32", options={"num_threads": 1})
    with started(asked, tmp_path) as engine:
        engine.prepare(WorkloadSpec(batch=2, prompt_tokens=16, output_tokens=4))
        observed, work = engine.observed, engine.work
    formula, torchs = (arithmetic_of(asked, observed, work, method) for method in ("analytic", "counted"))
    assert (formula.method, torchs.method) == ("analytic", "counted")
    assert formula.coefficients == torchs.coefficients
    assert formula.decode_flops == torchs.decode_flops > 0
    assert 0 < formula.weights_read_bytes < 3 * observed["weights_bytes"]


@pytest.mark.parametrize(("model", "method"), [("tiny", "calflops"), ("tiny-moe", "analytic")])
def test_calflops_itself_is_used_where_it_agrees_and_quarantined_where_it_misses_experts(model, method):
    if find_spec("calflops") is None:
        pytest.skip("calflops is not installed")
    shape = json.loads((SYNTHETIC / f"{model}.json").read_text())
    work = build_work(WorkloadSpec(batch=2, prompt_tokens=16, output_tokens=4), 1024, lambda texts: [])
    asked, observed = spec("pytorch", model=f"synthetic:{model}"), {"architecture": shape, "parameters": 557_696}
    formula, found = (arithmetic_of(asked, observed, work, way) for way in ("analytic", "calflops"))
    assert found.method == method
    if method == "calflops":
        assert found.decode_flops == pytest.approx(formula.decode_flops, rel=0.02)
        assert found.decode_flops != formula.decode_flops
        assert found.notes == ()
    else:
        assert found.decode_flops == formula.decode_flops
        (note,) = found.notes
        assert re.fullmatch(r"calflops says \S+ FLOPs a pass, [\d.]+ % below the analytic \S+", note)


def test_a_counter_that_breaks_is_a_reason_and_the_formula_answers(tmp_path, monkeypatch):
    (tmp_path / "calflops.py").write_text("raise RuntimeError('torch is patched')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(Unavailable, match="calflops: RuntimeError: torch is patched"):
        # Counts are kept: no other test's model.
        counted("calflops", spec("pytorch", model="synthetic:llama-3.2-1b"), 64)


def test_an_interpreter_that_is_not_there_is_a_reason():
    with pytest.raises(Unavailable, match="counted: FileNotFoundError"):
        throwaway.count("counted", {}, "/no/such/python", {})
