"""The index of a folder of results: what it knows of a run, and that nothing that happens to it is an error."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_cycle, a_measurement, a_verdict, a_window, an_engine, an_environment, metrics
from results_lab import TEST, a_run

from pytest_lem.model.environment import Checkout
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.reporting import late_metrics
from pytest_lem.store.index import FILE, Index, open_index
from pytest_lem.store.run import Run


def opened(results: Path, **changes) -> Index:
    """Brought up to date and closed: what is asked is what that took."""
    with open_index(results, late_metrics, **changes) as found:
        return found


def rows(results: Path, table: str = "runs") -> list[dict]:
    with open_index(results, late_metrics) as found:
        return [dict(row) for row in found.connection.execute(f"SELECT * FROM {table} ORDER BY folder")]


def row(results: Path, table: str = "runs") -> dict:
    (found,) = rows(results, table)
    return found


def test_a_run_is_known_by_when_where_and_of_what_it_was(tmp_path):
    git = Checkout(commit="c0ffee" * 6, branch="tuning", changed=True)
    folder = a_run(tmp_path, environment=an_environment(git=git, cpu="AMD EPYC, 8 cores"))
    known = row(tmp_path)
    assert (known["folder"], known["id"], known["started"]) == (folder.name, folder.name, "2026-01-05T09:00:00+00:00")
    assert (known["git_commit"], known["branch"], known["changed"]) == ("c0ffee" * 6, "tuning", 1)
    assert (known["host"], known["cpu"]) == ("bench-1", "AMD EPYC, 8 cores")
    assert (known["gpus"], known["gpu_count"]) == ("NVIDIA H100 80GB HBM3", 1)
    assert (known["quick"], known["missing"], known["outcome"], known["fault"]) == (0, 0, "measured", None)


def test_a_configuration_is_known_by_what_was_asked_and_what_it_cost(tmp_path):
    engine = an_engine("vllm", model="synthetic:llama", precision="float16")
    a_run(tmp_path, "r", a_measurement(TEST, engine=engine, metrics=metrics(ttft_ms=None)))
    known = row(tmp_path, "configurations")
    assert (known["test"], known["name"], known["place"]) == (TEST, "", 0)
    assert (known["engine"], known["model"], known["precision"]) == ("vllm", "synthetic:llama", "float16")
    assert (known["batch"], known["load"], known["gpus"]) == (8, None, 1)
    bounds = [known[f"joules_per_token{end}"] for end in ("", "_low", "_high", "_source")]
    assert bounds == [0.4, pytest.approx(0.392), pytest.approx(0.408), "measured"]
    assert (known["tokens_per_second"], known["ttft_ms"], known["tpot_ms"]) == (500.0, None, 10.0)


def test_traffic_has_no_batch_and_a_window_no_engine(tmp_path):
    served = a_measurement(TEST, workload=WorkloadSpec(batch=8, target_qps=2.5))
    a_run(tmp_path, "r", served, a_window())
    first, second = rows(tmp_path, "configurations")
    assert (first["batch"], first["load"]) == (None, "poisson 2.5 req/s")
    assert (second["engine"], second["model"], second["batch"]) == (None, None, None)
    assert (second["name"], second["gpus"], second["joules_per_token"]) == ("tokenize", 1, None)


@pytest.mark.parametrize(
    ("statuses", "missing", "outcome", "of_configuration"),
    [
        ((), (), "measured", None),
        (("passed",), (), "passed", "passed"),
        (("passed", "inconclusive"), (), "inconclusive", "inconclusive"),
        (("passed", "failed"), (), "failed", "failed"),
        (("unavailable",), (), "measured", "unavailable"),
        (("passed",), ("test_b: never",), "incomplete", "passed"),
        (("failed",), ("test_b: never",), "failed", "failed"),
    ],
)
def test_the_worst_that_was_judged_is_its_outcome(tmp_path, statuses, missing, outcome, of_configuration):
    verdicts = tuple(a_verdict(test=TEST.replace("]", "-c1]"), status=status) for status in statuses)
    a_run(tmp_path, verdicts=verdicts, missing=missing, run={"complete": not missing})
    assert row(tmp_path)["outcome"] == outcome
    assert row(tmp_path)["missing"] == len(missing)
    assert row(tmp_path, "configurations")["verdict"] == of_configuration


def test_a_verdict_on_another_measurement_of_the_test_is_not_its_own(tmp_path):
    a_run(tmp_path, verdicts=(a_verdict(test=TEST, name="prefill", status="failed"),))
    assert (row(tmp_path)["outcome"], row(tmp_path, "configurations")["verdict"]) == ("failed", None)


def test_an_empty_folder_has_an_index_without_runs(tmp_path):
    assert rows(tmp_path) == []
    (tmp_path / "runs" / "not-a-run").mkdir(parents=True)
    (tmp_path / "runs" / "durations.json").write_text("{}")
    assert rows(tmp_path) == []


# Brought up to date


def test_what_is_known_is_not_read_again(tmp_path):
    a_run(tmp_path, "a")
    a_run(tmp_path, "b")
    assert opened(tmp_path).read == 2
    assert (opened(tmp_path).read, opened(tmp_path).gone) == (0, 0)


def test_a_new_run_is_read_and_the_others_are_not(tmp_path):
    a_run(tmp_path, "a")
    opened(tmp_path)
    a_run(tmp_path, "b")
    assert opened(tmp_path).read == 1
    assert [each["folder"] for each in rows(tmp_path)] == ["a", "b"]


def test_a_report_that_was_written_anew_is_read_again(tmp_path):
    a_run(tmp_path, "a")
    assert row(tmp_path, "configurations")["joules_per_token"] == 0.4
    a_run(tmp_path, "a", a_measurement(TEST, metrics=metrics(joules_per_token=0.5)))
    assert row(tmp_path, "configurations")["joules_per_token"] == 0.5


def test_a_report_that_was_edited_in_place_is_read_again(tmp_path):
    path = a_run(tmp_path, "a") / "report.json"
    assert row(tmp_path)["host"] == "bench-1"
    path.write_text(path.read_text().replace("bench-1", "bench-2"))
    assert row(tmp_path)["host"] == "bench-2"


def test_a_run_that_is_gone_is_forgotten_with_its_configurations(tmp_path):
    folder = a_run(tmp_path, "a")
    a_run(tmp_path, "b")
    opened(tmp_path)
    shutil.rmtree(folder)
    assert opened(tmp_path).gone == 1
    assert [each["folder"] for each in rows(tmp_path)] == ["b"]
    assert [each["folder"] for each in rows(tmp_path, "configurations")] == ["b"]


def test_anew_reads_everything_again_and_clears_away_what_killed_writers_left(tmp_path):
    a_run(tmp_path, "a")
    opened(tmp_path)
    (tmp_path / "runs" / ".index-1-dead").write_text("half")
    assert opened(tmp_path, anew=True).read == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", FILE]


# Runs without a report


def begun(results: Path) -> Run:
    return Run.create(results, options={}, environment=an_environment(), quick=False, plan=[TEST])


def test_a_killed_run_is_known_by_what_it_measured(tmp_path):
    run = begun(tmp_path)
    run.samples().measurement(a_measurement(TEST))
    assert (row(tmp_path)["outcome"], row(tmp_path)["id"], row(tmp_path)["moving"]) == ("cut short", run.id, 1)
    assert row(tmp_path, "configurations")["joules_per_token"] == 0.4


def test_rounds_of_a_measurement_that_was_cut_short_come_to_metrics(tmp_path):
    run, cycle = begun(tmp_path), a_cycle()
    samples = run.samples()
    samples.begin(a_measurement(TEST, cycles=(), metrics={}))
    samples.cycle(TEST, cycle.model_copy(update={"rounds": (), "warmup_rounds": ()}))
    samples.round(TEST, 0, "round", cycle.rounds[0])
    assert row(tmp_path, "configurations")["joules_per_token"] == 0.4


def test_a_run_that_goes_on_is_read_again_when_it_has_measured_more(tmp_path):
    run = begun(tmp_path)
    assert rows(tmp_path, "configurations") == []
    run.samples().measurement(a_measurement(TEST))
    assert len(rows(tmp_path, "configurations")) == 1
    run.samples().measurement(a_measurement("test_it.py::test_decode[b16]"))
    assert len(rows(tmp_path, "configurations")) == 2
    run.write_report([a_measurement(TEST)])
    assert len(rows(tmp_path, "configurations")) == 1
    assert (row(tmp_path)["outcome"], row(tmp_path)["moving"]) == ("measured", 0)


def test_a_run_that_is_continued_moves_again_and_its_old_report_is_not_its_end(tmp_path):
    run = begun(tmp_path)
    run.write_report([a_measurement(TEST)])
    assert row(tmp_path)["moving"] == 0
    held = run.hold()
    assert (row(tmp_path)["outcome"], row(tmp_path)["moving"]) == ("measured", 1)
    run.samples().measurement(a_measurement("test_it.py::test_decode[b16]"))
    assert (row(tmp_path)["outcome"], row(tmp_path)["moving"]) == ("cut short", 1)
    assert row(tmp_path, "configurations")["test"] == "test_it.py::test_decode[b16]"
    os.close(held)
    run.write_report([a_measurement(TEST)])
    assert (row(tmp_path)["outcome"], row(tmp_path)["moving"]) == ("measured", 0)


def test_files_that_were_copied_in_any_order_do_not_make_a_run_unended(tmp_path):
    run = begun(tmp_path)
    run.samples().measurement(a_measurement(TEST))
    path = run.write_report([a_measurement(TEST)], [a_verdict(test=TEST)])
    os.utime(path, (1, 1))
    assert row(tmp_path)["outcome"] == "passed"


@pytest.mark.parametrize("broken", ["report.json", "run.json"])
def test_a_run_that_cannot_be_read_is_listed_with_its_fault_until_it_is_mended(tmp_path, broken):
    a_run(tmp_path, "whole")
    path = tmp_path / "runs" / "20260106T090000000Z-bbbbbb" / broken
    path.parent.mkdir()
    path.write_text("{")
    found = rows(tmp_path)[0]
    assert (found["id"], found["outcome"], found["started"]) == (path.parent.name, "unreadable", None)
    assert str(path) in found["fault"]
    assert rows(tmp_path)[1]["outcome"] == "measured"
    assert opened(tmp_path).read == 0
    path.unlink()
    a_run(tmp_path, path.parent.name)
    assert rows(tmp_path)[0]["outcome"] == "measured"


# Whatever happens to the index is no error


def test_a_reader_finds_it_beside_the_runs_that_git_ignores(tmp_path):
    a_run(tmp_path)
    assert opened(tmp_path).saved
    assert (tmp_path / "runs" / FILE).is_file()


def remade(connection: sqlite3.Connection, *commands: str) -> None:
    for command in commands:
        connection.execute(command)
    connection.commit()
    connection.close()


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


BROKEN = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a database\n" * 1000),
    "garbled": garbled,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "of an older version": lambda path: remade(sqlite3.connect(path), "PRAGMA user_version = 0"),
    "of a newer version": lambda path: remade(sqlite3.connect(path), "PRAGMA user_version = 999"),
    "another program's": lambda path: (
        path.unlink(),
        remade(sqlite3.connect(path), "PRAGMA user_version = 1", "CREATE TABLE runs (a)"),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_an_index_that_is_not_as_it_should_be_is_made_anew(tmp_path, fault):
    a_run(tmp_path, "a")
    a_run(tmp_path, "b")
    opened(tmp_path)
    BROKEN[fault](tmp_path / "runs" / FILE)
    assert [each["folder"] for each in rows(tmp_path)] == ["a", "b"]
    assert opened(tmp_path).read == 0


def test_an_index_that_another_program_has_locked_is_read_and_brought_up_to_date(tmp_path):
    a_run(tmp_path, "a")
    opened(tmp_path)
    other = sqlite3.connect(tmp_path / "runs" / FILE)
    other.execute("BEGIN EXCLUSIVE")
    assert opened(tmp_path).read == 0
    a_run(tmp_path, "b")
    assert opened(tmp_path).read == 1
    assert opened(tmp_path).read == 0
    other.close()


def test_a_place_that_takes_no_file_costs_time_and_no_run(tmp_path):
    a_run(tmp_path, "a")
    (tmp_path / "runs" / FILE).mkdir()
    for _ in range(2):
        assert (opened(tmp_path).read, opened(tmp_path).saved) == (1, False)
        assert row(tmp_path)["folder"] == "a"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", FILE]


def test_a_disk_that_takes_nothing_more_keeps_the_old_index_and_the_reader_knows_all(tmp_path):
    a_run(tmp_path, "a")
    opened(tmp_path)
    before = (tmp_path / "runs" / FILE).read_bytes()
    a_run(tmp_path, "b")
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from pytest_lem.store.index import open_index\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "with open_index(Path(sys.argv[1]), dict) as found:\n"
        "    names = [row[0] for row in found.connection.execute('SELECT folder FROM runs ORDER BY folder')]\n"
        "    print(names, found.read, found.saved)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['a', 'b'] 1 False\n", "")
    assert (tmp_path / "runs" / FILE).read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "b", FILE]


def look_often(results: Path, times: int) -> None:
    """Every look knows each run that was there before it; anything else ends this process with a status."""
    for _ in range(times):
        there = {path.parent.name for path in (results / "runs").glob("*/report.json")}
        seen = {each["folder"] for each in rows(results)}
        assert there <= seen, there - seen


def test_processes_that_look_at_once_all_see_every_run(tmp_path):
    a_run(tmp_path, "a0")
    processes = multiprocessing.get_context("spawn")
    lookers = [processes.Process(target=look_often, args=(tmp_path, 15)) for _ in range(3)]
    for looker in lookers:
        looker.start()
    for number in range(20):
        a_run(tmp_path, f"b{number:02}")
    for looker in lookers:
        looker.join()
    assert [looker.exitcode for looker in lookers] == [0] * 3
    assert len(rows(tmp_path)) == 21
    assert not list((tmp_path / "runs").glob(".index-*"))
