"""Real vLLM on the CPU: our times of a run are those that vLLM's own benchmark makes of the same run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from project import ROOT

from benchmarks.reference.metrics import KEYS, Settings
from benchmarks.reference.summary import render

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
# Steps of tens of milliseconds and more: what a stream takes from the engine's core to its reader is small beside them.
SETTINGS = Settings(precision="float32", qps=2.0, requests=24, output_tokens=24, slo={"ttft": 400.0, "tpot": 90.0})


@pytest.fixture(scope="module")
def run():
    command = [sys.executable, str(ROOT / "benchmarks/reference/same_run.py"), *SETTINGS.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("metric", [key for key in KEYS if not key.startswith("itl_p")])
def test_a_metric_is_within_two_percent_of_vllms_own_benchmark(run, metric):
    assert run["ours"][metric] == pytest.approx(run["vllm"][metric], rel=0.02)


def test_gaps_between_tokens_are_those_that_a_client_sees(run):
    """A single gap moves by the way to its reader, who waits for the cores that the engine works on."""
    for metric in ("itl_p50_ms", "itl_p90_ms", "itl_p95_ms", "itl_p99_ms"):
        assert run["ours"][metric] == pytest.approx(run["vllm"][metric], rel=0.06, abs=3)


def test_goodput_is_that_of_vllms_own_benchmark(run):
    one = 1.01 / run["seconds"]  # a request whose bound lies between the two stamps
    ours, theirs = run["middle"]
    assert 0 < ours < SETTINGS.requests / run["seconds"]
    assert ours == pytest.approx(theirs, abs=one)
    assert run["ours"]["goodput"] == pytest.approx(run["vllm"]["goodput"], abs=one)


def test_vllms_formulas_on_our_stamps_give_our_metrics(run):
    assert run["ours"]["goodput"] == run["formulas"]["goodput"]
    for metric in KEYS:
        # Our end of a request is when it was answered, vLLM's when its last token came.
        assert run["ours"][metric] == pytest.approx(run["formulas"][metric], rel=0.005 if "e2el" in metric else 1e-6)


def test_the_page_tells_the_difference_of_every_metric(run):
    pair = {"ours": {**run["ours"], "dispatch": None}, "vllm": run["vllm"]}
    settings = {**vars(SETTINGS), "options": SETTINGS.engine().options}
    text = render({"same": run, "pairs": [pair, pair], "settings": settings})
    assert all(f"| {metric} |" in text for metric in (*KEYS, "goodput"))
