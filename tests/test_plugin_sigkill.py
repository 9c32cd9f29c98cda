"""SIGKILL of pytest at drawn instants of a real measurement: no process stays, and the samples can be read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from pytest_lem.store.rebuild import rebuild
from pytest_lem.store.samples import read_samples

TEST = """
import pytest

@pytest.mark.lem(model="synthetic:tiny", precision="fp32", batch=2, prompt_tokens=16, output_tokens=8,
                 device="cpu", warmup_rounds=6, warmup_seconds=0, round_seconds=0.3, rounds=30,
                 pytorch={"num_threads": 1})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
PATIENCE = 60.0


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def marked(token: str) -> list[psutil.Process]:
    """The processes that inherited the token: pytest itself, its engine, whatever they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LEM_TEST_TOKEN") == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def lines(results: Path, word: str) -> int:
    return sum(path.read_text().count(word) for path in results.glob("runs/*/samples-*.jsonl"))


REACHED = {
    "load": lambda results: any(results.glob("runs/*/logs/*.log")),
    "warmup": lambda results: lines(results, '"phase": "warmup"') >= 1,
    "round": lambda results: lines(results, '"phase": "round"') >= 1,
}
LASTS = {"load": 4.0, "warmup": 1.5, "round": 4.0}


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("draw", range(10))
@pytest.mark.parametrize("phase", ["load", "warmup", "round"])
def test_no_process_outlives_a_killed_pytest_and_its_samples_are_readable(tmp_path, phase, draw):
    (tmp_path / "test_it.py").write_text(TEST)
    token, results = uuid.uuid4().hex, tmp_path / ".lem"
    environment = {**os.environ, "LEM_TEST_TOKEN": token, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Both pytest and its engine must be there: else the end of this test would prove nothing.
        wait_until(lambda: REACHED[phase](results) and len(marked(token)) >= 2)
        time.sleep(random.Random(f"{phase}{draw}").uniform(0, LASTS[phase]))
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    wait_until(lambda: not marked(token))
    (folder,) = results.glob("runs/*")
    for path in folder.glob("samples-*.jsonl"):
        read_samples(path)
    report = rebuild(folder)
    assert report.run.complete is False
    assert report.missing
    if phase == "round":
        assert len(report.measurements[0].cycles[0].warmup_rounds) == 6
        assert len(report.measurements[0].cycles[0].rounds) >= 1
