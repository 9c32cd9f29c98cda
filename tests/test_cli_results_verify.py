"""`lem results verify`: files that agree pass, and each way of tampering with them is found and named in one line."""

from __future__ import annotations

import json
import os

import pytest
from builders import SECOND, a_cycle, a_gpu, a_measurement, a_rank, a_reading, a_round, an_engine, an_environment
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.reporting import late_metrics
from pytest_lem.store.experiments import joined
from pytest_lem.store.run import Run

EXPERIMENT = "test_it.py::test_decode[vllm-b8]"
GPUS = ("GPU-a", "GPU-b")
ROUNDS = 3


def a_cycle_of(index, start=0):
    """A warm-up round and three rounds on both GPUs, 400 J and 360 J each, from `start` (s) on."""
    rounds = [
        a_round(
            max(0, place - 1),
            start_ns=(start + 5 * place) * SECOND,
            end_ns=(start + 5 * place + 4) * SECOND,
            devices=(a_reading(400.0, device=GPUS[0]), a_reading(360.0, device=GPUS[1])),
        )
        for place in range(ROUNDS + 1)
    ]
    return a_cycle(index, gpus=GPUS, warmup_rounds=tuple(rounds[:1]), rounds=tuple(rounds[1:]))


def an_item(index, start=0, **changes):
    test = EXPERIMENT.replace("]", f"-c{index}]")
    cycle = changes.pop("cycle", None) or a_cycle_of(index, start)
    found = a_measurement(test, engine=an_engine("vllm", gpus=2), cycles=(cycle,), **changes)
    return found.model_copy(update={"metrics": late_metrics(found)})


def written(results, *items, report=True):
    """A run as pytest leaves it: samples as they came, raw files, a report."""
    environment = an_environment(gpus=tuple(map(a_gpu, GPUS)))
    run = Run.create(results, options={}, environment=environment, quick=False, plan=[item.test for item in items])
    for item in items:
        samples = run.samples()
        samples.begin(item.model_copy(update={"cycles": (), "metrics": {}}))
        for cycle in item.cycles:
            samples.cycle(item.id, cycle.model_copy(update={"rounds": (), "warmup_rounds": ()}))
            for phase, rounds in (("warmup", cycle.warmup_rounds), ("round", cycle.rounds)):
                for each in rounds:
                    samples.round(item.id, cycle.index, phase, each)
        run.write_raw(item)
        samples.measurement(item)
    if report:
        run.write_report(joined(items, late_metrics, run.record.plan))
    return run


@pytest.fixture
def run(tmp_path):
    """Two cycles of one experiment on two GPUs."""
    return written(tmp_path, an_item(0), an_item(1, 100))


def lem(run, *arguments):
    words = ["results", "verify", run.id, "--results", str(run.directory.parents[1]), *arguments]
    return CliRunner().invoke(app, words)


def faults(run):
    """What is found, one line each; nothing is found where the exit status is 0."""
    done = lem(run)
    assert done.stderr == ""
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    if done.exit_code == 0:
        return []
    assert done.exit_code == 1
    return done.stdout.splitlines()


def edited(path, change):
    """The JSON of a file, changed in place by `change`."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def raw_files(run, device="", cycle=""):
    return sorted(
        path for path in (run.directory / "raw").iterdir() if f"-c{cycle}" in path.name and device in path.name
    )


def in_report(run, change):
    """Change the report's cycles; its time stays that of the samples."""
    edited(run.directory / "report.json", lambda report: change(report["measurements"][0]["cycles"]))


FIRST, SECOND_CYCLE = (f"{EXPERIMENT}, cycle {index}" for index in (0, 1))


def test_files_that_agree_are_whole(run):
    done = lem(run)
    assert (done.exit_code, done.stdout) == (
        0,
        f"run {run.id}: 1 measurement, 8 rounds; every rank is there, no GPU twice, all files agree, "
        "energy counted once\n",
    )


def test_a_run_that_no_meter_read_is_told_as_one_without_joules(tmp_path):
    rounds = tuple(a_round(index, devices=()) for index in range(ROUNDS))
    cycle = a_cycle(gpus=(), warmup_rounds=(), rounds=rounds)
    run = written(tmp_path, an_item(0, cycle=cycle))
    assert list((run.directory / "raw").glob("*")) == []
    done = lem(run)
    assert done.exit_code == 0
    assert done.stdout.endswith("all files agree; no meter read a device: no joules, and nothing in raw/\n")


def test_raw_files_are_summed_anew_for_other_programs(run):
    told = json.loads(lem(run, "--json").stdout)
    assert (told["run"], told["faults"]) == (run.id, [])
    # 400 J and 360 J a round of 2,000 tokens
    assert told["raw_metrics"][EXPERIMENT]["joules_per_token"]["value"] == pytest.approx(0.38)
    assert told["raw_metrics"][EXPERIMENT]["gpu_imbalance"]["value"] == pytest.approx(40 / 380)


# Ranks


def test_a_rank_whose_raw_file_is_missing_is_named(run):
    (path,) = raw_files(run, "GPU-b", 1)
    path.unlink()
    first, *rest = faults(run)
    assert first == f"{SECOND_CYCLE}, warm-up round 0 and 3 more: rank missing: no raw file holds GPU GPU-b"
    assert rest[0].startswith(f"{EXPERIMENT}: joules_per_token is 0.38 J/tok in report.json, and 0.2")


def test_a_rank_that_no_round_of_the_report_reads_is_named(run):
    in_report(run, lambda cycles: cycles[0]["rounds"][1]["devices"].pop(1))
    lines = faults(run)
    assert f"{FIRST}, round 1: rank missing: GPU GPU-b is not read" in lines
    assert f"{FIRST}, round 1: raw files hold GPU GPU-b, and report.json has no reading of it" in lines


def test_an_engine_with_fewer_ranks_than_it_was_asked_for_is_named(run):
    in_report(run, lambda cycles: cycles[0]["gpus"].pop(1))
    assert faults(run)[:2] == [
        f"{FIRST}: 1 of 2 ranks are there",
        f"{FIRST}, warm-up round 0 and 3 more: GPU GPU-b is read and is none of its ranks",
    ]


def test_a_gpu_that_is_two_ranks_is_named(run):
    in_report(run, lambda cycles: cycles[0].update(gpus=["GPU-a", "GPU-a"]))
    assert f"{FIRST}: GPU GPU-a is 2 of its ranks" in faults(run)


@pytest.fixture
def shared(tmp_path):
    """One cycle of an engine of two processes, a GPU each, which tells what each of them did."""
    cycle = a_cycle_of(0)
    told = tuple(a_rank(rank, device=gpu, allocated_bytes=10 + rank) for rank, gpu in enumerate(GPUS))
    rounds = {
        name: tuple(each.model_copy(update={"ranks": told}) for each in getattr(cycle, name))
        for name in ("warmup_rounds", "rounds")
    }
    return written(tmp_path, an_item(0, cycle=cycle.model_copy(update=rounds)))


def test_each_rank_is_in_the_raw_file_of_its_own_gpu_and_no_token_is_counted_twice(shared):
    assert faults(shared) == []
    for rank, (path,) in enumerate(raw_files(shared, gpu) for gpu in GPUS):
        readings = json.loads(path.read_text())["readings"]
        assert len(readings) == ROUNDS + 1
        for each in readings:
            (told,) = each["ranks"]
            assert (told["rank"], told["device"], told["tokens"]) == (rank, GPUS[rank], 2_000)
            assert (each["reading"]["joules"], told["allocated_bytes"]) == ((400.0, 360.0)[rank], 10 + rank)
    report = json.loads((shared.directory / "report.json").read_text())
    # Joules of both GPUs, summed once, over the tokens that both of them made.
    assert report["measurements"][0]["metrics"]["joules_per_token"]["value"] == pytest.approx(760 / 2_000)


def test_a_rank_that_tells_nothing_of_a_round_is_named(shared):
    in_report(shared, lambda cycles: cycles[0]["rounds"][1]["ranks"].pop(0))
    assert faults(shared)[0] == f"{FIRST}, round 1: rank missing: [1] are told, of 2"


def test_tokens_that_are_not_those_of_every_rank_are_named(shared):
    in_report(shared, lambda cycles: cycles[0]["rounds"][1]["ranks"][1].update(tokens=1_000))
    assert faults(shared)[0] == f"{FIRST}, round 1: rank 1 made other tokens than the round has (1000 and 2000)"


@pytest.fixture
def replicas(shared):
    """The same of two replicas, of which each answered its own requests: the tokens of a round are theirs together."""

    def dealt(cycles):
        for each in (*cycles[0]["warmup_rounds"], *cycles[0]["rounds"]):
            for rank, told in enumerate(each["ranks"]):
                share = (0.75, 0.25)[rank]
                told.update(requests=int(share * each["requests"]), tokens=int(share * each["tokens"]))

    in_report(shared, dealt)
    return shared


def test_replicas_that_made_a_rounds_tokens_together_are_fine(replicas):
    assert not any("replicas" in line or "other tokens" in line for line in faults(replicas))


@pytest.mark.parametrize(("what", "words"), [("tokens", "1500 + 0 and 2000"), ("requests", "60 + 0 and 80")])
def test_replicas_that_do_not_come_to_their_round_are_named(replicas, what, words):
    in_report(replicas, lambda cycles: cycles[0]["rounds"][1]["ranks"][1].update({what: 0}))
    assert f"{FIRST}, round 1: its replicas have other {what} than the round ({words})" in faults(replicas)


def test_a_rank_on_a_gpu_of_somebody_else_is_named(shared):
    in_report(shared, lambda cycles: cycles[0]["rounds"][1]["ranks"][1].update(device="GPU-c"))
    assert faults(shared)[0] == f"{FIRST}, round 1: rank 1 ran on GPU-c, which is none of the engine's"


# Energy counted once


def test_a_reading_that_is_there_twice_is_named_in_every_file(run):
    in_report(run, lambda cycles: cycles[0]["rounds"][1]["devices"].append(cycles[0]["rounds"][1]["devices"][0]))
    lines = faults(run)
    assert lines[0] == f"{FIRST}, round 1: energy counted twice: GPU GPU-a has 2 readings"
    assert f"{FIRST}, round 1: rank missing: no raw file holds GPU GPU-a" in lines


def test_a_second_meter_on_the_same_gpu_is_energy_counted_twice(tmp_path):
    cycle = a_cycle_of(0)
    both = (a_reading(400.0, device="GPU-a"), a_reading(401.0, device="GPU-a", meter="zeus"), a_reading(device="GPU-b"))
    rounds = tuple(each.model_copy(update={"devices": both}) for each in cycle.rounds)
    run = written(tmp_path, an_item(0, cycle=cycle.model_copy(update={"rounds": rounds})))
    assert faults(run) == [f"{FIRST}, round 0 and 2 more: energy counted twice: GPU GPU-a has 2 readings"]


def test_a_raw_file_that_was_copied_is_energy_counted_twice(run):
    (path,) = raw_files(run, "GPU-a", 0)
    path.with_name(f"{path.stem}-2.json").write_text(path.read_text())
    first, *rest = faults(run)
    assert first == f"{FIRST}, warm-up round 0 and 3 more: energy counted twice: raw files hold GPU GPU-a 2 times"
    assert rest[0].startswith(f"{EXPERIMENT}: joules_per_token is 0.38 J/tok in report.json, and 0.4")


def test_rounds_that_overlap_are_energy_counted_twice(run):
    in_report(run, lambda cycles: cycles[0]["rounds"][1].update(start_ns=8 * SECOND))
    assert faults(run)[0] == (
        f"{FIRST}, round 1: energy counted twice: its window begins before the one before it has ended"
    )


def test_two_engines_that_were_measured_on_one_gpu_at_once_are_named(tmp_path):
    other = an_item(0, start=12).model_copy(update={"id": "test_it.py::test_other", "test": "test_it.py::test_other"})
    run = written(tmp_path, an_item(0), other)
    lines = faults(run)
    assert lines[0] == (
        f"test_it.py::test_other, cycle 0, warm-up round 0 and 1 more: energy counted twice: GPU GPU-a was "
        f"measured for {FIRST} at the same time"
    )
    assert any("GPU GPU-b was measured" in line for line in lines)


def test_a_clock_that_began_anew_with_its_host_is_no_overlap(tmp_path):
    other = an_item(0, start=12).model_copy(update={"id": "test_it.py::test_other", "test": "test_it.py::test_other"})
    run = written(tmp_path, an_item(0), other)
    path = run.directory / "samples-main.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line.get("measurement_id") == "test_it.py::test_other":
            line["time"] = "2020-01-01T00:00:00Z"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert faults(run) == []


# Tokens, windows, sums


def test_tokens_that_are_not_those_of_a_pass_are_named_in_each_way_that_shows_it(run):
    in_report(run, lambda cycles: cycles[0]["rounds"][2].update(tokens=2100))
    assert faults(run) == [
        f"{FIRST}, round 2: a pass is not the work that it is in other rounds "
        "(8 requests, 800 prompt tokens, 210 tokens, not 8 requests, 800 prompt tokens, 200 tokens)",
        f"{FIRST}, round 2: its tokens in report.json and in its samples disagree (tokens 2100 and 2000)",
    ]


def test_a_window_that_is_not_the_one_that_was_measured_is_named(run):
    in_report(run, lambda cycles: cycles[1]["rounds"][0].update(end_ns=109_500_000_000))
    lines = faults(run)
    assert lines[0] == (
        f"{SECOND_CYCLE}, round 0: its window in report.json and in its samples disagree "
        "(end_ns 109500000000 and 109000000000)"
    )
    assert f"{SECOND_CYCLE}, round 0: rank missing: no raw file holds GPU GPU-a" in lines


def test_a_window_that_ends_before_it_begins_is_named(run):
    in_report(run, lambda cycles: cycles[0]["rounds"][2].update(end_ns=0))
    lines = faults(run)
    assert f"{FIRST}, round 2: its window ends before it begins" in lines
    assert lines[-1] == f"{EXPERIMENT}: its rounds come to no metrics, as one has no length, no pass or no token"


def test_joules_of_a_raw_file_that_were_changed_are_named_with_what_they_come_to(run):
    (path,) = raw_files(run, "GPU-a", 0)

    def change(raw):
        for each in raw["readings"]:
            each["reading"]["joules"] = 500.0

    edited(path, change)
    lines = faults(run)
    assert lines[0] == (
        f"{FIRST}, warm-up round 0 and 3 more: raw files say other of GPU GPU-a than report.json (500 J, not 400 J)"
    )
    # the mean of (500 + 360) / 2000 and (400 + 360) / 2000, on the scale of logarithms
    assert lines[1] == (
        f"{EXPERIMENT}: joules_per_token is 0.38 J/tok in report.json, and 0.404227659 J/tok by its raw files"
    )


def test_a_metric_that_no_round_comes_to_is_named(run):
    edited(
        run.directory / "report.json",
        lambda report: report["measurements"][0]["metrics"]["joules_per_token"].update(value=0.3),
    )
    assert faults(run) == [
        f"{EXPERIMENT}: joules_per_token is 0.3 J/tok in report.json, and 0.38 J/tok by its raw files"
    ]


def test_measurements_that_only_one_file_knows_are_named(run):
    run.samples().measurement(an_item(2, 200).model_copy(update={"id": "test_b", "test": "test_b"}))
    path = run.directory / "report.json"
    edited(path, lambda report: report["run"].update(ended="2099-01-01T00:00:00Z"))
    assert faults(run) == ["test_b: its samples are there, and report.json has nothing of it"]


def test_a_cycle_that_the_report_lacks_is_named(run):
    in_report(run, lambda cycles: cycles.pop())
    assert f"{EXPERIMENT}: 1 cycles in report.json, 2 in its samples" in faults(run)


def test_a_raw_file_that_cannot_be_read_is_named(run):
    (path,) = raw_files(run, "GPU-a", 0)
    path.write_text("{")
    first, second, *_ = faults(run)
    assert first.startswith(f"{path}: Invalid JSON")
    assert second == f"{FIRST}, warm-up round 0 and 3 more: rank missing: no raw file holds GPU GPU-a"


# Runs that have no report, or no files


def test_a_killed_run_is_checked_as_far_as_it_came(tmp_path):
    run = written(tmp_path, an_item(0), report=False)
    assert faults(run) == ["it has no report of its end: it was cut short, and is checked as far as it came"]


def test_a_run_that_goes_on_is_not_checked(run):
    held = run.hold()
    done = lem(run)
    os.close(held)
    assert (done.exit_code, done.stderr) == (
        2,
        f"lem results verify: run {run.id} is still running; wait for its end\n",
    )


def test_a_report_without_its_folder_is_refused(run):
    path = run.directory / "report.json"
    done = CliRunner().invoke(app, ["results", "verify", str(path)])
    assert (done.exit_code, done.stderr) == (
        2,
        f"lem results verify: {path}: a report alone has nothing to be checked against; name its run's folder\n",
    )


def test_what_pytest_measured_is_whole(project):
    project.write()
    project.run("--lem-cycles=2").assert_outcomes(passed=4)
    done = CliRunner().invoke(app, ["results", "verify", "--results", str(project.pytester.path / ".lem")])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "2 measurements, 20 rounds; every rank is there" in done.stdout
