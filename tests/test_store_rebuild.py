"""A killed run still has a report: what was measured, and what is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from builders import (
    EXPERIMENT,
    TEST,
    a_cycle,
    a_measurement,
    a_metric,
    a_round,
    a_verdict,
    an_environment,
)
from engine_starts import killed_in_the_end

from pytest_lem.model.errors import StoreError
from pytest_lem.store.rebuild import rebuild
from pytest_lem.store.run import Run

REBUILT = "the run ended before it wrote its report; this one was rebuilt from its samples"


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path, options={"seed": 7}, environment=an_environment(), quick=True)


def head(test: str = TEST):
    return a_measurement(test, cycles=(), metrics={})


def launched(index: int = 0):
    return a_cycle(index, warmup_rounds=(), rounds=(), stopped="")


def cut_short(run: Run, test: str = TEST) -> None:
    """A measurement that got one warm-up round and two rounds before the end."""
    samples = run.samples()
    samples.begin(head(test))
    samples.cycle(test, launched())
    samples.round(test, 0, "warmup", a_round(0))
    samples.round(test, 0, "round", a_round(1))
    samples.round(test, 0, "round", a_round(2))


def test_finished_measurements_and_verdicts_come_back_whole(run):
    samples = run.samples()
    samples.begin(head())
    samples.cycle(TEST, launched())
    samples.round(TEST, 0, "round", a_round(1))
    samples.measurement(a_measurement())
    samples.verdict(a_verdict())
    report = rebuild(run.directory)
    assert report.measurements == (a_measurement(EXPERIMENT),)
    assert report.verdicts == (a_verdict(),)
    assert report.missing == (REBUILT,)
    assert report.run.complete is False
    assert (report.run.id, report.run.quick, report.run.options) == (run.id, True, {"seed": 7})
    assert report.environment == an_environment()


def test_a_measurement_cut_short_keeps_its_rounds_and_says_so(run):
    cut_short(run)
    report = rebuild(run.directory)
    (measurement,) = report.measurements
    assert measurement.engine == a_measurement().engine
    (cycle,) = measurement.cycles
    assert (cycle.launch, cycle.stopped) == ("launch-0", "interrupted")
    assert cycle.warmup_rounds == (a_round(0),)
    assert cycle.rounds == (a_round(1), a_round(2))
    assert measurement.metrics == {}
    assert report.missing == (REBUILT, f"{TEST}: cut short (warm-up rounds: 1, measured rounds: 2)")


def test_metrics_of_a_measurement_cut_short_are_computed_again_from_its_rounds(run):
    cut_short(run)
    report = rebuild(
        run.directory, aggregate=lambda found: {"power_w": a_metric("power_w", len(found.cycles[0].rounds))}
    )
    assert report.measurements[0].power_w == 2.0


def test_a_measurement_that_never_got_a_round_has_no_metrics(run):
    run.samples().begin(head())
    report = rebuild(run.directory, aggregate=lambda found: pytest.fail("nothing to aggregate"))
    assert report.missing[1] == f"{TEST}: cut short (warm-up rounds: 0, measured rounds: 0)"


def test_tests_that_were_planned_and_never_measured_are_named(run):
    run.with_plan([TEST, "test_b", "test_c", "test_d"])
    cut_short(run)
    run.samples("gw1").measurement(a_measurement("test_b"))
    run.samples("gw1").missing("test_c: the engine died")
    assert rebuild(run.directory).missing == (
        REBUILT,
        "test_c: the engine died",
        f"{TEST}: cut short (warm-up rounds: 1, measured rounds: 2)",
        "test_d: planned, never measured",
    )


def test_all_workers_are_in_the_report(run):
    for worker in ("gw0", "gw1"):
        run.samples(worker).measurement(a_measurement(f"test_{worker}"))
    assert [measurement.test for measurement in rebuild(run.directory).measurements] == ["test_gw0", "test_gw1"]


def test_an_attempt_that_was_cut_short_gives_way_to_a_whole_one(run):
    samples = run.samples()
    cut_short(run)
    samples.begin(head())
    samples.measurement(a_measurement())
    assert rebuild(run.directory).measurements == (a_measurement(EXPERIMENT),)


def test_a_test_that_ran_again_adds_its_cycle_and_replaces_none(run):
    samples = run.samples()
    for launch in ("first", "second"):
        samples.measurement(a_measurement(cycles=(a_cycle(launch=launch),)))
    (measurement,) = rebuild(run.directory).measurements
    assert [(cycle.index, cycle.launch) for cycle in measurement.cycles] == [(0, "first"), (0, "second")]


def test_the_cycles_of_an_experiment_are_one_measurement_whoever_measured_them(run):
    for worker, index in (("gw1", 2), ("gw0", 0), ("gw1", 1)):
        test = TEST.replace("c0", f"c{index}")
        run.samples(worker).measurement(a_measurement(test, cycles=(a_cycle(index),)))
    (measurement,) = rebuild(run.directory, aggregate=lambda found: {"power_w": a_metric("power_w", 7)}).measurements
    assert (measurement.id, measurement.test) == (EXPERIMENT, EXPERIMENT)
    assert [cycle.index for cycle in measurement.cycles] == [0, 1, 2]
    assert measurement.power_w == 7.0


def test_a_metric_that_a_project_added_is_the_mean_of_its_cycles(run):
    for index, quality in enumerate((0.5, 0.75)):
        metrics = {"quality": a_metric("power_w", quality)}
        run.samples().measurement(
            a_measurement(TEST.replace("c0", f"c{index}"), cycles=(a_cycle(index),), metrics=metrics)
        )
    (measurement,) = rebuild(run.directory, aggregate=lambda found: {"power_w": a_metric("power_w", 7)}).measurements
    assert (measurement.metrics["quality"].value, measurement.metrics["quality"].low) == (0.625, None)


def test_an_item_that_could_not_be_measured_is_told_with_its_reason(run):
    run.with_plan([TEST])
    run.samples().failed(TEST, "engine 'fake' died during run (exit code 3)")
    assert rebuild(run.directory).missing[1:] == (f"{TEST}: failed: engine 'fake' died during run (exit code 3)",)


def test_a_line_cut_short_is_named_and_the_rest_is_kept(run):
    cut_short(run)
    path = run.samples().path
    path.write_bytes(path.read_bytes()[:-10])
    report = rebuild(run.directory)
    assert report.measurements[0].cycles[0].rounds == (a_round(1),)
    assert "samples-main.jsonl line 5 was cut short while it was written; its event is lost" in report.missing


def test_rounds_whose_beginning_is_lost_are_named_not_guessed(run):
    run.samples().round("test_x", 0, "round", a_round(0))
    report = rebuild(run.directory)
    assert report.measurements == ()
    assert "test_x: the beginning of its measurement is lost (rounds: 1)" in report.missing


def test_rounds_that_come_after_their_measurement_ended_are_named_not_added(run):
    samples = run.samples()
    samples.begin(head())
    samples.measurement(a_measurement())
    samples.round(TEST, 0, "round", a_round(9))
    report = rebuild(run.directory)
    assert report.measurements == (a_measurement(EXPERIMENT),)
    assert f"{TEST}: the beginning of its measurement is lost (rounds: 1)" in report.missing


def test_a_measurement_that_ended_needs_no_beginning(run):
    run.samples().round(TEST, 0, "round", a_round(1))
    run.samples().measurement(a_measurement())
    report = rebuild(run.directory)
    assert report.measurements == (a_measurement(EXPERIMENT),)
    assert report.missing == (REBUILT,)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read .*run\.json"):
        rebuild(tmp_path)


def test_a_run_killed_while_it_wrote_is_rebuilt_with_every_round_it_reported(run):
    program = (
        "import sys; from pathlib import Path\n"
        "from builders import TEST, a_measurement, a_round\n"
        "from pytest_lem.store.run import Run\n"
        "samples = Run.open(Path(sys.argv[1])).samples()\n"
        "samples.begin(a_measurement(cycles=(), metrics={}))\n"
        "index = 0\n"
        "while True:\n"
        "    samples.round(TEST, 0, 'round', a_round(index))\n"
        "    print(index, flush=True)\n"
        "    index += 1\n"
    )
    command = [sys.executable, "-c", program, str(run.directory)]
    writer = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    with killed_in_the_end(writer):
        told = [int(writer.stdout.readline()) for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout]
    report = rebuild(run.directory)
    rounds = [round_.index for round_ in report.measurements[0].cycles[0].rounds]
    assert rounds[: len(told)] == told
    assert len(rounds) <= len(told) + 1
    assert report.run.complete is False
