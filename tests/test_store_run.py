"""A run has a directory of its own, and says in one line when it cannot have one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from builders import an_environment

from pytest_lem.model.errors import StoreError
from pytest_lem.model.quantity import Quantity
from pytest_lem.store.run import Run


def create(results: Path, **changes) -> Run:
    return Run.create(results, **{"options": {}, "environment": an_environment(), "quick": False} | changes)


def test_a_run_has_a_directory_named_by_its_utc_time(tmp_path):
    run = create(tmp_path / ".lem")
    assert run.directory.parent == tmp_path / ".lem" / "runs"
    assert re.fullmatch(r"\d{8}T\d{9}Z-[0-9a-f]{6}", run.directory.name)
    assert run.id == run.directory.name


def test_two_runs_of_the_same_second_do_not_share_a_directory(tmp_path):
    assert create(tmp_path).directory != create(tmp_path).directory


def test_the_run_file_tells_what_is_known_before_anything_ran(tmp_path):
    run = create(tmp_path, options={"rounds": 8, "meter": ["nvml"]}, quick=True, plan=["test_a", "test_b"])
    written = json.loads((run.directory / "run.json").read_text())
    assert written["schema"] == "lem.run/1"
    assert written["options"] == {"rounds": 8, "meter": ["nvml"]}
    assert written["quick"] is True
    assert written["plan"] == ["test_a", "test_b"]
    assert written["environment"]["gpus"][0]["power_limit_w"] == 700.0


def test_options_of_any_type_are_written_as_plain_json(tmp_path):
    limit = Quantity(0.5, key="joules_per_token", unit="J/tok")
    run = create(tmp_path, options={"results": Path("x/y"), "limit": limit, "inf": float("inf"), "set": {1}})
    assert Run.open(run.directory).record.options == {"results": "x/y", "limit": 0.5, "inf": "inf", "set": [1]}


def test_the_first_run_keeps_runs_out_of_git(tmp_path):
    create(tmp_path / ".lem")
    assert (tmp_path / ".lem" / ".gitignore").read_text() == "runs/\n"


def test_a_gitignore_that_is_there_already_is_left_alone(tmp_path):
    (tmp_path / ".gitignore").write_text("mine\n")
    create(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_worker_opens_the_run_by_its_directory(tmp_path):
    run = create(tmp_path, options={"seed": 3})
    assert Run.open(run.directory).record == run.record


def test_the_plan_can_be_added_after_collection(tmp_path):
    run = create(tmp_path).with_plan(["test_a"])
    assert Run.open(run.directory).record.plan == ("test_a",)


def test_processes_that_share_a_run_give_it_its_name(tmp_path):
    run = create(tmp_path, name="20260101T000000Z-abcdef")
    assert run.directory == tmp_path / "runs" / "20260101T000000Z-abcdef"
    with pytest.raises(StoreError, match=r"File exists"):
        create(tmp_path, name="20260101T000000Z-abcdef")


def test_a_directory_that_holds_no_run_is_named(tmp_path):
    with pytest.raises(StoreError, match=rf"^cannot read {re.escape(str(tmp_path))}/run.json: No such file"):
        Run.open(tmp_path)


def test_a_run_file_of_another_version_is_named_with_its_fault(tmp_path):
    run = create(tmp_path)
    path = run.directory / "run.json"
    path.write_text(path.read_text().replace("lem.run/1", "lem.run/9"))
    with pytest.raises(StoreError, match=r"run\.json: schema: Input should be 'lem\.run/1'"):
        Run.open(run.directory)


def test_a_results_path_that_is_a_file_is_refused_in_one_line(tmp_path):
    results = tmp_path / "file"
    results.write_text("")
    with pytest.raises(StoreError) as caught:
        create(results)
    assert str(caught.value) == (
        f"--lem-results={results}: results cannot be written there (Not a directory); name a writable directory"
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_a_read_only_file_system_is_refused_in_one_line():
    with pytest.raises(StoreError, match=r"^--lem-results=/proc/self: [^\n]*; name a writable directory$"):
        create(Path("/proc/self"))


def test_a_full_file_system_is_refused_in_one_line(tmp_path):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from builders import an_environment\n"
        "from pytest_lem.store.run import Run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "Run.create(Path(sys.argv[1]), options={}, environment=an_environment(), quick=False)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert re.search(rf"StoreError: --lem-results={tmp_path}: .*File too large.*; name a writable directory$", last)
