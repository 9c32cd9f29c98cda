"""Samples are on disk before the next round begins, and what is there stays readable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import a_cycle, a_measurement, a_round, a_verdict, an_invalid_round

from pytest_lem.model.errors import StoreError
from pytest_lem.store.samples import Samples, read_samples


@pytest.fixture
def samples(tmp_path) -> Samples:
    return Samples(tmp_path / "samples-main.jsonl")


def test_every_event_comes_back_as_it_was_written(samples):
    measurement = a_measurement()
    head = measurement.model_copy(update={"cycles": (), "metrics": {}})
    launched = a_cycle(warmup_rounds=(), rounds=(), stopped="")
    samples.begin(head)
    samples.cycle(measurement.id, launched)
    samples.round(measurement.id, 0, "warmup", a_round(0))
    samples.round(measurement.id, 0, "round", an_invalid_round(1))
    samples.measurement(measurement)
    samples.verdict(a_verdict())
    samples.missing("test_b: the engine died")
    lines, torn = read_samples(samples.path)
    assert torn == []
    assert [line.event for line in lines] == ["begin", "cycle", "round", "round", "measurement", "verdict", "missing"]
    begin, cycle, warmup, round_, ended, verdict, missing = lines
    assert begin.measurement == head
    assert (cycle.measurement_id, cycle.cycle) == (measurement.id, launched)
    assert (warmup.phase, warmup.cycle, warmup.round) == ("warmup", 0, a_round(0))
    assert (round_.phase, round_.round) == ("round", an_invalid_round(1))
    assert ended.measurement == measurement
    assert verdict.verdict == a_verdict()
    assert missing.text == "test_b: the engine died"


def test_a_round_is_in_the_file_when_the_call_returns(samples):
    for index in range(3):
        samples.round("m", 0, "round", a_round(index))
        assert [line.round.index for line in read_samples(samples.path)[0]] == list(range(index + 1))


def test_a_round_is_synced_to_the_disk_before_the_call_returns(samples, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda fd: synced.append(samples.path.read_bytes()))
    samples.round("m", 0, "round", a_round(0))
    assert synced == [samples.path.read_bytes()]


def test_a_line_cut_short_by_a_crash_is_skipped_and_reported(samples):
    samples.round("m", 0, "round", a_round(0))
    samples.round("m", 0, "round", a_round(1))
    whole = samples.path.read_bytes()
    samples.path.write_bytes(whole[:-40])
    lines, torn = read_samples(samples.path)
    assert [line.round.index for line in lines] == [0]
    assert torn == ["samples-main.jsonl line 2 was cut short while it was written; its event is lost"]


def test_writing_goes_on_after_a_line_cut_short(samples):
    samples.round("m", 0, "round", a_round(0))
    samples.path.write_bytes(samples.path.read_bytes()[:-40])
    samples.round("m", 0, "round", a_round(1))
    lines, torn = read_samples(samples.path)
    assert [line.round.index for line in lines] == [1]
    assert len(torn) == 1


def test_a_whole_line_of_another_version_is_an_error_that_names_it(samples):
    samples.missing("x")
    samples.path.write_text(samples.path.read_text().replace("lem.sample/1", "lem.sample/9"))
    with pytest.raises(StoreError, match=r"samples-main\.jsonl line 1: missing\.schema: Input should be"):
        read_samples(samples.path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_names_the_file(samples):
    samples.path.symlink_to("/dev/full")
    with pytest.raises(StoreError) as caught:
        samples.round("m", 0, "round", a_round(0))
    expected = f"cannot write {samples.path}: No space left on device; the lines before stay readable"
    assert str(caught.value) == expected


def test_what_was_written_before_the_disk_filled_up_stays_readable(samples):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from builders import a_round\n"
        "from pytest_lem.model.errors import StoreError\n"
        "from pytest_lem.store.samples import Samples\n"
        "samples = Samples(Path(sys.argv[1]))\n"
        "samples.round('m', 0, 'round', a_round(0))\n"
        "limit = samples.path.stat().st_size + 100\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "try: samples.round('m', 0, 'round', a_round(1))\n"
        "except StoreError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "samples.round('m', 0, 'round', a_round(2))\n"
    )
    command = [sys.executable, "-c", program, str(samples.path)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    assert done.stdout == f"cannot write {samples.path}: File too large; the lines before stay readable\n"
    lines, torn = read_samples(samples.path)
    assert [line.round.index for line in lines] == [0, 2]
    assert torn == ["samples-main.jsonl line 2 was cut short while it was written; its event is lost"]
