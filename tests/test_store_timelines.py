"""The kept timelines: lines while a run goes on, Parquet at its end, and what becomes of them when runs are joined."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from builders import GPU, TEST, a_cycle, a_measurement, a_round, an_environment
from hypothesis import given
from hypothesis import strategies as st
from test_cli_merge import lem, only_run, shard

from pytest_lem.model.errors import StoreError
from pytest_lem.model.telemetry import GAUGES, Timeline
from pytest_lem.store import timelines
from pytest_lem.store.run import Run
from pytest_lem.store.timelines import TimelineLine, append, kept, pack, pack_left, read_lines, set_aside


@pytest.fixture
def no_pyarrow(monkeypatch):
    monkeypatch.setattr(timelines, "find_spec", lambda name: None if name == "pyarrow" else find_spec(name))


def a_line(index: int = 0, **changes) -> TimelineLine:
    """Two moments of a GPU in a round, of which the second tells its activity too."""
    told = Timeline(
        device=GPU,
        time_ns=(1_000, 2_000),
        since_ns=(None, 500),
        values={"power_w": (300.5, 310.0), "sm_active": (None, 0.75)},
        throttle_reasons=("", "sw_power_cap,hw_thermal"),
    )
    defaults = {"measurement_id": TEST, "cycle": 0, "phase": "round", "round": index, "timeline": told}
    return TimelineLine(**defaults | changes)


def only(folder: Path) -> Path:
    (path,) = (folder / "telemetry").iterdir()
    return path


def test_what_is_written_is_read_back_and_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    append(tmp_path, [a_line(0)])
    append(tmp_path, [a_line(1)])
    path = only(tmp_path)
    path.write_text(path.read_text() + '{"schema": "lem.timeline/1", "measure')
    assert read_lines(path) == [a_line(0), a_line(1)]


def test_without_pyarrow_the_lines_stay_and_are_told_with_what_to_install(tmp_path, no_pyarrow):
    append(tmp_path, [a_line()])
    pack(tmp_path, a_measurement(cycles=(a_cycle(),)))
    assert only(tmp_path).suffix == ".jsonl"
    assert kept(tmp_path) == (
        f"{tmp_path / 'telemetry'} (JSON lines; pip install 'pytest-lem[parquet]' to have them as Parquet)"
    )


@pytest.fixture
def broken_pyarrow(monkeypatch):
    """An installation that is there and does not load, until it is mended: the list of what it was asked for."""
    asked = []

    def as_parquet(lines):
        asked.append(lines)
        raise ImportError("libarrow.so: cannot open shared object file")

    monkeypatch.setattr(timelines, "find_spec", lambda name: name)
    monkeypatch.setattr(timelines, "as_parquet", as_parquet)
    return asked


def test_a_pyarrow_that_does_not_work_leaves_every_line_and_the_end_of_the_run_says_why(tmp_path, broken_pyarrow):
    append(tmp_path, [a_line(0), a_line(0, cycle=1)])

    pack(tmp_path, a_measurement(cycles=(a_cycle(0), a_cycle(1))))  # while others are still measured
    with pytest.raises(StoreError) as told:
        pack_left(tmp_path)

    paths = sorted((tmp_path / "telemetry").iterdir())
    assert [read_lines(path) for path in paths] == [[a_line(0)], [a_line(0, cycle=1)]]
    assert len(broken_pyarrow) == 4
    assert all(f"{path}: pyarrow makes no Parquet of it (ImportError: libarrow.so" in str(told.value) for path in paths)
    assert kept(tmp_path) == f"{tmp_path / 'telemetry'} (JSON lines)", "pyarrow need not be installed"


def test_what_a_killed_attempt_left_is_no_obstacle_to_the_next_whatever_is_wrong_with_it(tmp_path, broken_pyarrow):
    append(tmp_path, [a_line(0)])
    path = only(tmp_path)
    path.write_text(path.read_text().replace("lem.timeline/1", "lem.timeline/9"))
    set_aside(tmp_path, TEST, 0)
    append(tmp_path, [a_line(7)])
    assert [line.round for line in read_lines(path)] == [7]
    assert len(list(path.parent.iterdir())) == 2


def test_a_run_without_telemetry_has_no_folder_of_it(tmp_path):
    append(tmp_path, [])
    pack(tmp_path, a_measurement())
    set_aside(tmp_path, TEST, 0)
    assert list(tmp_path.iterdir()) == []
    assert kept(tmp_path) is None


def test_what_a_killed_attempt_left_is_kept_apart_from_the_next_one(tmp_path, no_pyarrow):
    append(tmp_path, [a_line(0)])
    set_aside(tmp_path, TEST, 0)
    append(tmp_path, [a_line(7)])
    first, second = sorted((tmp_path / "telemetry").iterdir(), key=lambda path: len(path.name))
    assert ([line.round for line in read_lines(first)], [line.round for line in read_lines(second)]) == ([7], [0])


@pytest.mark.neighbours("pyarrow")
def test_a_cycle_becomes_one_parquet_file_whose_columns_say_their_unit_and_meaning(tmp_path):
    from pyarrow import parquet

    append(tmp_path, [a_line(0, phase="warmup"), a_line(0), a_line(1)])
    append(tmp_path, [a_line(0, cycle=1)])
    pack(tmp_path, a_measurement(cycles=(a_cycle(0), a_cycle(1))))

    first, second = sorted((tmp_path / "telemetry").iterdir())
    assert (first.name[-11:], second.name[-11:]) == ("-c0.parquet", "-c1.parquet")
    table = parquet.read_table(first)
    assert table.num_rows == 6
    row = table.to_pylist()[3]
    assert (row["time_ns"], row["device"], row["phase"], row["round"]) == (2_000, GPU, "round", 0)
    assert (row["power_w"], row["sm_active"], row["since_ns"]) == (310.0, 0.75, 500)
    assert (row["temperature_c"], row["throttle_reasons"]) == (None, "sw_power_cap,hw_thermal")
    assert table.to_pylist()[0]["sm_active"] is None
    for gauge in GAUGES:
        about = table.schema.field(gauge.key).metadata
        assert (about[b"unit"].decode(), about[b"means"].decode()) == (gauge.unit, gauge.definition)
    assert table.schema.metadata[b"measurement_id"].decode() == TEST
    assert kept(tmp_path) == str(tmp_path / "telemetry")


@pytest.mark.neighbours("pyarrow")
@given(st.lists(st.tuples(st.integers(0, 2**62), st.none() | st.floats(0, 1e4)), min_size=1))
def test_parquet_holds_every_moment_and_every_digit(rows):
    import pyarrow
    from pyarrow import parquet

    times, watts = zip(*rows, strict=True)
    blank = (None,) * len(rows)
    told = Timeline(device=GPU, time_ns=times, since_ns=blank, values={"power_w": watts}, throttle_reasons=blank)
    table = parquet.read_table(pyarrow.BufferReader(timelines.as_parquet([a_line(timeline=told)])))
    assert table.column("time_ns").to_pylist() == list(times)
    assert table.column("power_w").to_pylist() == list(watts)


@pytest.mark.neighbours("pyarrow")
def test_a_killed_runs_lines_become_parquet_with_its_rebuilt_report(tmp_path):
    run = Run.create(tmp_path, options={}, environment=an_environment(), quick=False)
    run.samples().begin(a_measurement(cycles=(), metrics={}))
    run.samples().round(TEST, 0, "round", a_round(0))
    append(run.directory, [a_line()])
    done = lem("results", "rebuild", run.id, "--results", tmp_path)
    assert done.exit_code == 0, done.output
    assert only(run.directory).suffix == ".parquet"
    pack_left(run.directory)  # nothing is left to do


def test_lem_merge_carries_the_timelines_of_all_shards(tmp_path):
    parts = [shard(tmp_path / str(number), number) for number in (1, 2)]
    for place, part in enumerate(parts):
        append(only_run(part), [a_line(place)])
    assert lem("merge", *parts, "--results", tmp_path / "all").exit_code == 0
    merged = only_run(tmp_path / "all") / "telemetry"
    assert sorted(line.round for path in merged.iterdir() for line in read_lines(path)) == [0, 1]


def test_a_line_names_its_schema(tmp_path):
    append(tmp_path, [a_line()])
    assert json.loads(only(tmp_path).read_text())["schema"] == "lem.timeline/1"
