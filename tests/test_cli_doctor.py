"""`lem doctor`, `lem engines`, `lem meters`: what a machine can measure, and what keeps it from it."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from fake_pynvml import FakeGpu, fake_pynvml
from typer.testing import CliRunner

from pytest_lem.campaign.leases import Holder, Leases
from pytest_lem.cli import app
from pytest_lem.doctor.boards import boards
from pytest_lem.doctor.finding import Finding
from pytest_lem.doctor.places import places
from pytest_lem.doctor.software import engines
from pytest_lem.engines.entry import EngineEntry
from pytest_lem.meters import nvml

GPU = "GPU-11111111-aaaa"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with the made-up GPUs that it is called with, its leases in a folder of their own."""
    monkeypatch.setenv("LEM_LOCKS", str(tmp_path / "locks"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(*gpus, **changes):
        monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(*gpus, **changes))
        nvml.library.cache_clear()

    yield make
    nvml.library.cache_clear()


def lem(*words):
    return CliRunner().invoke(app, [*words])


def said(found):
    return [(each.level, each.line) for each in found]


def test_a_board_that_is_free_and_has_a_counter_is_well(machine):
    machine(FakeGpu(GPU))
    assert said(boards(os.environ)) == [
        ("ok", "NVIDIA H100 80GB HBM3, GPU-11111111-aaaa, driver 580.95.05"),
        ("ok", "its energy counter answers"),
    ]


@pytest.mark.parametrize(
    ("board", "warning"),
    [
        (
            FakeGpu(GPU, lacks={"nvmlDeviceGetTotalEnergyConsumption"}),
            (
                "it has no energy counter",
                "joules are summed from power readings: use longer rounds",
            ),
        ),
        (
            FakeGpu(GPU, pids=(4242, 17)),
            ("other processes work on it: PID 4242, 17", "end them, or name other --lem-gpus"),
        ),
        (
            FakeGpu(GPU, mig=True),
            ("MIG is on: its counter is the whole board's", "measure on a board without MIG"),
        ),
    ],
    ids=["counter", "strangers", "mig"],
)
def test_what_worsens_a_measurement_is_a_warning_with_its_mend(machine, board, warning):
    machine(board)
    assert [(each.line, each.mend) for each in boards(os.environ) if each.level == "warning"] == [warning]


def test_a_board_that_slows_itself_down_is_told(machine):
    machine(FakeGpu(GPU, reasons=0x40))
    (found,) = (each for each in boards(os.environ) if each.level == "warning")
    assert "hw_thermal" in found.line


def test_a_board_that_is_lost_is_an_error(machine):
    machine(FakeGpu(GPU, broken={"nvmlDeviceGetMemoryInfo"}))
    assert [each.level for each in boards(os.environ)] == ["error"]


def test_who_has_leased_a_board_is_named_and_its_processes_are_no_strangers(machine, tmp_path):
    machine(FakeGpu(GPU, pids=(4242,)))
    leases = Leases(tmp_path / "locks")
    leases.acquire([GPU], 1, Holder(os.getpid(), "ada", time.time(), "pytest benchmarks/"), print)
    try:
        found = [each for each in boards(os.environ) if each.level != "ok"]
    finally:
        leases.release()
    assert [each.level for each in found] == ["note"]
    assert found[0].line.startswith(f"leased to PID {os.getpid()} (ada), `pytest benchmarks/`, since ")


def test_a_board_that_is_hidden_is_only_mentioned(machine, monkeypatch):
    machine(FakeGpu(GPU), FakeGpu("GPU-2", lacks={"nvmlDeviceGetTotalEnergyConsumption"}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert said(boards(os.environ))[-1] == ("note", "GPU-2 is hidden by CUDA_VISIBLE_DEVICES")


def test_no_driver_is_a_warning_for_a_cpu_can_be_measured_too(machine):
    machine(driver=False)
    assert list(boards(os.environ)) == [
        Finding(
            "warning",
            "GPUs",
            "NVML does not start (NVML Shared Library Not Found)",
            "it needs an NVIDIA GPU and its driver",
        )
    ]


def test_without_any_engine_nothing_can_be_measured(monkeypatch, tmp_path):
    nowhere = EngineEntry(name="warp", adapter=tmp_path, packages=("warp_drive",), needs="pip install warp-drive")
    monkeypatch.setattr("pytest_lem.doctor.software.names", lambda: ("warp",))
    monkeypatch.setattr("pytest_lem.doctor.software.entry", lambda name: nowhere)
    assert list(engines(sys.executable)) == [
        Finding("error", "engine warp", "warp_drive not installed", "pip install warp-drive")
    ]


def test_a_folder_that_cannot_be_written_names_the_option(tmp_path, monkeypatch):
    monkeypatch.setenv("LEM_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "file").touch()
    found = list(places(tmp_path / "file", os.environ))
    assert (found[0].level, found[0].mend) == ("error", "name another place: --lem-results=DIR")
    assert [each.level for each in found[1:]] == ["ok"]


def test_little_room_on_the_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setenv("LEM_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 50 * 2**20}))
    assert [each.level for each in places(tmp_path, os.environ)] == ["error", "error"]
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**30}))
    assert [each.level for each in places(tmp_path, os.environ)] == ["warning", "warning"]


def test_the_command_ends_with_1_only_where_nothing_can_be_measured(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_lem.doctor.software.engines", lambda python: ())
    machine(FakeGpu(GPU, pids=(4242,)))
    fine = lem("doctor", "--results", str(tmp_path / "lem"))
    assert fine.exit_code == 0
    assert "→ end them, or name other --lem-gpus" in fine.output
    (tmp_path / "file").touch()
    broken = lem("doctor", "--results", str(tmp_path / "file"))
    assert broken.exit_code == 1
    assert broken.output.splitlines()[-1].startswith("1 error, ")


def test_programs_read_the_findings_as_json(machine, tmp_path):
    machine(FakeGpu(GPU))
    found = json.loads(lem("doctor", "--json", "--results", str(tmp_path)).output)
    assert {"level": "ok", "about": "GPU 0", "line": "its energy counter answers", "mend": ""} in found


def test_engines_are_told_with_their_versions_and_how_to_get_them():
    told = json.loads(lem("engines", "--json").output)
    assert {"pytorch", "vllm"} <= set(told)
    assert "attention_implementation" in told["pytorch"]["options"]
    for engine in told.values():
        assert engine["available"] is (None not in engine["versions"].values())


def test_an_interpreter_that_does_not_answer_is_one_line():
    found = lem("engines", "--python", "/no/python")
    assert found.exit_code == 2
    assert found.output.splitlines() == [
        "lem engines: --python=/no/python: the interpreter does not answer "
        "([Errno 2] No such file or directory: '/no/python'); name a Python >= 3.11"
    ]


def test_a_file_beside_the_user_is_no_engine(tmp_path, monkeypatch):
    (tmp_path / "vllm.py").touch()
    monkeypatch.chdir(tmp_path)
    bare = json.loads(lem("engines", "--json").output)["vllm"]["versions"]["vllm"]
    assert bare is None or bare[0].isdigit()


def test_a_meter_says_what_it_reads_or_why_it_cannot(machine):
    machine(driver=False)
    told = {record["name"]: record for record in json.loads(lem("meters", "--json").output)}
    assert told["nvml"]["used"] is False
    assert told["nvml"]["reason"].startswith("NVML does not start")
    assert "nvml" in lem("meters").output.splitlines()[0]
