"""A baseline is a folder of accepted runs: small files that branches commit, read together, one epoch at a time."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import (
    EXPERIMENT,
    GPU,
    a_cycle,
    a_gpu,
    a_measurement,
    a_reading,
    a_round,
    a_window,
    an_environment,
    an_invalid_round,
)

from pytest_lem.model.cycle import Recorded
from pytest_lem.model.errors import StoreError, UsageError
from pytest_lem.model.specs import ProtocolSpec
from pytest_lem.store.baselines import (
    MissingBaseline,
    all_runs,
    entries_of,
    entry_of,
    lacking,
    names,
    open_baseline,
    prune,
    save_run,
)
from pytest_lem.store.history import Warmup
from pytest_lem.store.report import Report, RunInfo, save_report

STARTED = datetime(2026, 7, 1, 12, tzinfo=UTC)
JOULES = "joules_per_token"


def rounds(*joules: float, first: int = 0):
    return tuple(a_round(first + i, devices=(a_reading(value),)) for i, value in enumerate(joules))


def measured(joules: float = 800.0, count: int = 8, *, test: str = EXPERIMENT, **changes):
    cycle = a_cycle(rounds=rounds(*[joules] * count, first=5), warmup_rounds=rounds(*[2 * joules] * 5))
    return a_measurement(test, **{"cycles": (cycle,)} | changes)


def a_report(number: int = 1, *measurements, environment=None) -> Report:
    info = RunInfo(id=f"run-{number}", started=STARTED, ended=None, complete=True, quick=False)
    return Report(run=info, environment=environment or an_environment(), measurements=measurements or (measured(),))


def save(results: Path, *numbers: int, new_epoch: bool = False, name: str = "main") -> None:
    for number in numbers:
        save_run(results, name, a_report(number, measured(800.0 + number)), new_epoch=new_epoch)


def ids(baseline) -> list[str]:
    return [run.id for run in baseline.runs]


# -- what a file holds


def test_an_accepted_run_is_a_small_file_of_its_own_beside_the_runs(tmp_path):
    path = save_run(tmp_path, "main", a_report(7))
    assert path == tmp_path / "baselines" / "main" / "run-7.json"
    written = json.loads(path.read_text())
    assert (written["schema"], written["id"], written["epoch"]) == ("lem.baseline/1", "run-7", 1)
    (entry,) = written["entries"]
    assert (entry["test"], entry["name"]) == (EXPERIMENT, "")
    assert entry["fingerprint"]["driver"] == "570.86.15"
    assert entry["metrics"][JOULES] == {
        "unit": "J/tok",
        "better": "lower",
        "launches": [[0.4] * 8],
        "warmup": [[0.8] * 5],
    }
    assert entry["metrics"]["tokens_per_second"]["better"] == "higher"
    assert path.stat().st_size < 4_000
    assert (tmp_path / ".gitignore").read_text() == "runs/\n"  # the baseline itself is committed


def test_values_are_kept_to_six_digits():
    metric = entry_of(measured(800 / 3), an_environment()).metrics[JOULES]
    assert metric.launches[0][0] == 0.133333


def test_all_launches_of_a_run_are_kept_apart():
    cycles = tuple(a_cycle(index, rounds=index + 2) for index in range(3))
    entry = entry_of(a_measurement(EXPERIMENT, cycles=cycles), an_environment())
    assert [len(values) for values in entry.metrics[JOULES].launches] == [2, 3, 4]
    assert [len(values) for values in entry.metrics["load_seconds"].launches] == [1, 1, 1]


def test_the_users_own_metric_is_kept_like_ours():
    cycle = a_cycle(recorded=(Recorded(metric="quality", value=0.75, better="higher", unit="1"),))
    metric = entry_of(a_measurement(cycles=(cycle,)), an_environment()).metrics["quality"]
    assert (metric.better, metric.unit, metric.launches) == ("higher", "1", ((0.75,),))


def test_the_cycle_is_no_part_of_what_a_test_is_called():
    assert entry_of(measured(test=f"{EXPERIMENT[:-1]}-c3]"), an_environment()).test == EXPERIMENT


def test_a_test_that_was_renamed_is_found_by_the_name_that_it_kept(tmp_path):
    save_run(tmp_path, "main", a_report(1, measured(known_as="decode[fp8]")))
    save_run(tmp_path, "main", a_report(2, measured(test="t.py::test_new[fp8]", known_as="decode[fp8]")))
    assert len(open_baseline(tmp_path, "main").history("decode[fp8]", "", JOULES)) == 2


def test_the_commit_is_kept_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    save(tmp_path, 1)
    assert open_baseline(tmp_path, "main").runs[0].commit is None
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], check=True, cwd=tmp_path)
    save(tmp_path, 2)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=tmp_path).stdout.strip()
    assert open_baseline(tmp_path, "main").runs[1].commit == head
    assert len(head) == 40


def test_no_git_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    save(tmp_path, 1)
    assert open_baseline(tmp_path, "main").runs[0].commit is None


# -- what may enter


@pytest.mark.parametrize(
    ("measurement", "reason"),
    [
        (measured(protocol=ProtocolSpec(quick=True)), "it is a quick look (--lem-quick), too short to compare with"),
        (measured(cycles=()), "it was never measured"),
        (measured(cycles=(a_cycle(0), a_cycle(1, stopped="interrupted"))), "a launch of it was cut short"),
        (measured(cycles=(a_cycle(0, stopped="failed"),)), "a launch of it was cut short"),
        (measured(protocol=ProtocolSpec(cycles=3)), "1 of its 3 cycles were measured"),
        (measured(cycles=(a_cycle(rounds=(an_invalid_round(),)),)), "none of its rounds is valid"),
        (measured(cycles=(a_cycle(steady=False),)), "its warm-up was cut at its cap, before its time"),
    ],
)
def test_what_is_not_whole_is_left_out_and_said(tmp_path, measurement, reason):
    other = measured(test="test_other")
    report = a_report(1, measurement, other)
    assert entries_of(report).left_out == (f"{EXPERIMENT} is left out: {reason}",)
    save_run(tmp_path, "main", report)
    assert open_baseline(tmp_path, "main").measured == (("test_other", ""),)
    with pytest.raises(UsageError, match=r"run run-2 cannot enter baseline main: .* is left out: "):
        save_run(tmp_path, "main", a_report(2, measurement))


def test_estimated_joules_are_left_out_and_said_once():
    guess = a_reading(90.0, device="cpu", kind="cpu", meter="codecarbon", source="estimated")
    cycle = a_cycle(rounds=tuple(a_round(i, devices=(a_reading(), guess)) for i in range(8)))
    accepted = entries_of(a_report(1, measured(cycles=(cycle,)), measured(test="test_b", cycles=(cycle,))))
    assert accepted.left_out == (
        "cpu_joules left out: it is estimated, and a model's guess can neither regress nor improve",
    )
    for entry in accepted.entries:
        assert "cpu_joules" not in entry.metrics
        assert {JOULES, "gpu_joules"} <= set(entry.metrics)


def test_some_of_the_measurements_are_counted():
    guess = a_round(0, devices=(a_reading(source="estimated"),))
    accepted = entries_of(a_report(1, measured(), measured(test="test_b", cycles=(a_cycle(rounds=(guess,)),))))
    (line,) = accepted.left_out
    assert line.startswith(
        "joules_per_token, joules_per_total_token, joules_per_request, power_w, gpu_joules of 1 of 2 "
    )
    assert "tokens_per_second" in accepted.entries[1].metrics


def test_two_tests_of_one_name_are_not_mixed():
    accepted = entries_of(a_report(1, measured(known_as="decode"), measured(test="test_b", known_as="decode")))
    assert [entry.test for entry in accepted.entries] == ["decode"]
    assert accepted.left_out == (f"test_b is left out: {EXPERIMENT} has its name in baselines, 'decode'",)


def test_a_run_that_measured_nothing_cannot_be_accepted(tmp_path):
    report = a_report().replace(measurements=())
    with pytest.raises(UsageError, match="it measured nothing"):
        save_run(tmp_path, "main", report)
    assert not (tmp_path / "baselines").exists()


# -- epochs


def test_runs_are_read_in_the_order_in_which_they_were_accepted(tmp_path):
    save(tmp_path, 3, 1, 2)
    found = open_baseline(tmp_path, "main")
    assert ids(found) == ["run-3", "run-1", "run-2"]
    history = found.history(EXPERIMENT, "", JOULES)
    assert [metric.launches[0][0] for metric in history] == [0.4015, 0.4005, 0.401]
    assert found.first_runs(EXPERIMENT, "", JOULES, 1) == history[:1]


def test_accepting_a_change_leaves_the_runs_before_it_out(tmp_path):
    save(tmp_path, 1, 2)
    save(tmp_path, 3, new_epoch=True)
    save(tmp_path, 4)
    found = open_baseline(tmp_path, "main")
    assert (ids(found), found.epoch) == (["run-3", "run-4"], 2)
    assert [(run.id, run.epoch) for run in all_runs(tmp_path, "main")] == [
        ("run-1", 1),
        ("run-2", 1),
        ("run-3", 2),
        ("run-4", 2),
    ]


def test_the_first_run_accepted_begins_the_first_epoch(tmp_path):
    save(tmp_path, 1, new_epoch=True)
    assert open_baseline(tmp_path, "main").epoch == 1


def test_a_run_that_is_accepted_twice_is_there_once(tmp_path):
    save(tmp_path, 1, 1)
    assert ids(open_baseline(tmp_path, "main")) == ["run-1"]


def test_a_run_of_an_epoch_that_is_over_does_not_slip_into_the_next(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2, new_epoch=True)
    with pytest.raises(UsageError, match="run run-1 is of epoch 1 of main, which is over"):
        save(tmp_path, 1)
    save(tmp_path, 1, new_epoch=True)
    assert ids(open_baseline(tmp_path, "main")) == ["run-1"]


def test_branches_that_accept_runs_do_not_conflict(tmp_path):
    save(tmp_path, 1)
    save(tmp_path / "branch", 1, 2)
    for path in (tmp_path / "branch" / "baselines" / "main").glob("run-2.json"):
        path.rename(tmp_path / "baselines" / "main" / path.name)
    assert ids(open_baseline(tmp_path, "main")) == ["run-1", "run-2"]


# -- which runs a candidate is compared with


def test_only_runs_on_the_same_board_are_compared_unless_the_model_is_enough(tmp_path):
    other = an_environment(gpus=[a_gpu("GPU-other")])
    strange = measured(900.0, cycles=(a_cycle(gpus=("GPU-other",), rounds=rounds(*[900.0] * 8)),))
    save(tmp_path, 1, 2)
    save_run(tmp_path, "main", a_report(3, strange, environment=other))
    baseline = open_baseline(tmp_path, "main")
    now = entry_of(measured(), an_environment()).fingerprint
    matched = baseline.matched(EXPERIMENT, "", JOULES, now)
    assert ([run.launches[0][0] for run in matched.history], matched.boards) == ([0.4005, 0.401], (GPU, GPU))
    assert matched.differences == ()
    assert baseline.matched(EXPERIMENT, "", JOULES, now, match="model").boards == (GPU, GPU, "GPU-other")


def test_where_no_run_can_be_compared_the_newest_says_why(tmp_path):
    save(tmp_path, 1, 2)
    now = entry_of(measured(), an_environment(gpus=[a_gpu().replace(driver="575.2")])).fingerprint
    matched = open_baseline(tmp_path, "main").matched(EXPERIMENT, "", JOULES, now)
    assert (matched.history, matched.differences) == ((), ("driver 570.86.15 then, 575.2 now",))


def test_another_meter_keeps_joules_apart_and_throughput_together(tmp_path):
    save(tmp_path, 1)
    now = open_baseline(tmp_path, "main").fingerprints(EXPERIMENT, "")[0] | {"meter": "nvml (power-integral)"}
    baseline = open_baseline(tmp_path, "main")
    assert baseline.matched(EXPERIMENT, "", JOULES, now).history == ()
    assert len(baseline.matched(EXPERIMENT, "", "tokens_per_second", now).history) == 1


def test_what_a_baseline_does_not_know_has_no_history(tmp_path):
    save(tmp_path, 1)
    baseline = open_baseline(tmp_path, "main")
    assert baseline.history("test_new", "", JOULES) == baseline.history(EXPERIMENT, "", "ttft_ms") == []
    matched = baseline.matched("test_new", "", JOULES, {})
    assert (matched.history, matched.differences) == ((), ())


# -- warm-up


@pytest.fixture
def judged(monkeypatch):
    """Stands in for the statistics: what it was asked is in `.runs`, what it says in `.says`."""
    judge = SimpleNamespace(runs=None, says=7)
    monkeypatch.setattr(
        "pytest_lem.stats.warmup.warmup_rounds", lambda runs: setattr(judge, "runs", list(runs)) or judge.says
    )
    return judge


def numbered(warmup: int, count: int):
    """A launch whose rounds cost 0.001, 0.002, … J/token from the first of its warm-up on."""
    every = rounds(*[2.0 * (i + 1) for i in range(warmup + count)])
    return measured(cycles=(a_cycle(warmup_rounds=every[:warmup], rounds=every[warmup:]),))


def warmup_after(results: Path, *launches) -> Warmup:
    for number, measurement in enumerate(launches):
        save_run(results, "main", a_report(number, measurement))
    return open_baseline(results, "main").warmup(EXPERIMENT, "", JOULES)


def test_three_runs_say_how_long_the_warm_up_is_and_all_leave_out_the_same(tmp_path, judged):
    assert warmup_after(tmp_path, *[numbered(4, 8)] * 2) == Warmup(0)
    assert judged.runs is None
    found = warmup_after(tmp_path, *[numbered(4, 8)] * 3)
    assert found == Warmup(7)
    assert judged.runs == [pytest.approx([(i + 1) / 1000 for i in range(12)])] * 3
    assert found.settled((5, 6, 7, 8, 9), (1, 2, 3, 4)) == (8, 9)


def test_a_longer_warm_up_of_the_protocol_is_not_measured_after_all(tmp_path, judged):
    assert Warmup(7).settled((1.0, 2.0), (9.0,) * 9) == (1.0, 2.0)


def test_a_warm_up_that_fills_most_of_a_launch_is_judged_by_its_end(tmp_path, judged):
    """Else the half of a launch in which it has to be over would be warm-up altogether."""
    assert warmup_after(tmp_path, numbered(31, 10), numbered(30, 11), numbered(30, 10)) == Warmup(20 + 7)
    assert [len(run) for run in judged.runs] == [21, 21, 20]
    assert judged.runs[2][0] == 0.021


def test_launches_that_never_settle_are_told_apart(tmp_path, judged):
    judged.says = None
    assert warmup_after(tmp_path, *[numbered(4, 8)] * 3) == Warmup(None)


def test_short_launches_and_counts_of_zero_say_nothing_of_the_warm_up(tmp_path, judged):
    assert warmup_after(tmp_path, numbered(4, 8), numbered(4, 8), numbered(1, 8)) == Warmup(0)
    none = tuple(a_round(i, counters={"preemptions": 0.0}) for i in range(12))
    for number in range(3):
        cycle = a_cycle(warmup_rounds=none[:4], rounds=none[4:])
        save_run(tmp_path, "counts", a_report(number, measured(cycles=(cycle,))))
    assert open_baseline(tmp_path, "counts").warmup(EXPERIMENT, "", "preemptions") == Warmup(0)
    assert judged.runs is None


def test_steady_launches_lose_nothing(tmp_path):
    assert warmup_after(tmp_path, *[measured()] * 3).settled((1.0, 2.0), (3.0,) * 5) == (1.0, 2.0)


def test_what_has_no_warm_up_keeps_all_of_its_values(tmp_path):
    for number in range(3):
        save_run(tmp_path, "main", a_report(number, a_window(test="test_window")))
    assert open_baseline(tmp_path, "main").warmup("test_window", "tokenize", "seconds") == Warmup(0)


# -- what a gate lacks


def test_saving_says_how_many_runs_a_gate_still_needs(tmp_path):
    for number, said in enumerate(["1 of 3 runs needed", "2 of 3 runs needed", None]):
        save_run(tmp_path, "main", a_report(number, measured(), measured(test="test_b", name="prefill")))
        lines = lacking(open_baseline(tmp_path, "main"))
        assert lines == ([f"{EXPERIMENT} and 1 more: {said} before this gate can fail"] if said else [])


def test_runs_of_another_driver_do_not_count(tmp_path):
    save(tmp_path, 1, 2)
    newer = an_environment(gpus=[a_gpu().replace(driver="575.2")])
    save_run(tmp_path, "main", a_report(3, environment=newer))
    assert lacking(open_baseline(tmp_path, "main")) == [f"{EXPERIMENT}: 1 of 3 runs needed before this gate can fail"]


def test_launches_that_are_too_short_for_any_gate_are_told(tmp_path):
    for number in range(3):
        save_run(tmp_path, "main", a_report(number, measured(count=7)))
    assert lacking(open_baseline(tmp_path, "main")) == [f"{EXPERIMENT}: no launch has the 8 rounds that a gate needs"]


# -- a file instead of a name


@pytest.mark.parametrize("whole", [True, False])
def test_a_report_is_a_baseline_of_one_run(tmp_path, whole):
    save_report(a_report(5), tmp_path / "report.json")
    found = open_baseline(tmp_path / "none", str(tmp_path if whole else tmp_path / "report.json"))
    assert (ids(found), found.runs[0].saved) == (["run-5"], STARTED)
    assert found.history(EXPERIMENT, "", JOULES)[0].launches == ((0.4,) * 8,)


def test_a_folder_or_file_of_accepted_runs_is_used_where_it_lies(tmp_path):
    save(tmp_path, 1, 2)
    folder = tmp_path / "baselines" / "main"
    assert ids(open_baseline(tmp_path / "none", str(folder))) == ["run-1", "run-2"]
    assert ids(open_baseline(tmp_path / "none", str(folder / "run-2.json"))) == ["run-2"]


def test_a_name_comes_before_a_folder_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, 1)
    (tmp_path / "main").mkdir()
    assert ids(open_baseline(tmp_path, "main")) == ["run-1"]


# -- what cannot be


def test_a_baseline_that_is_not_there_says_which_are_and_how_to_make_it(tmp_path):
    with pytest.raises(MissingBaseline) as none:
        open_baseline(tmp_path, "main")
    place = tmp_path / "baselines"
    assert str(none.value) == (
        f"--lem-baseline=main: no baseline of that name in {place} (there is none yet); "
        "make one by `lem baseline add main`"
    )
    save(tmp_path, 1, name="nightly")
    save(tmp_path, 1, name="main")
    with pytest.raises(MissingBaseline, match=r"\(there are main, nightly\)"):
        open_baseline(tmp_path, "mian")
    assert names(tmp_path) == ["main", "nightly"]
    (place / "empty").mkdir()
    with pytest.raises(MissingBaseline, match="--lem-save=empty: no baseline"):
        open_baseline(tmp_path, "empty", option="--lem-save")
    with pytest.raises(MissingBaseline, match="there is no run in"):
        open_baseline(tmp_path, str(place / "empty"))


@pytest.mark.parametrize("text", ["?", "{}", '{"schema": "lem.baseline/1", "id": 1}', "[1]"])
def test_a_file_that_is_none_of_ours_is_one_line_that_names_the_option(tmp_path, text):
    path = tmp_path / "main.json"
    path.write_text(text)
    with pytest.raises(StoreError) as caught:
        open_baseline(tmp_path, str(path))
    assert str(caught.value).startswith(f"--lem-baseline={path}: {path}: ")
    assert "\n" not in str(caught.value)


def test_a_report_that_nothing_can_be_compared_with_is_refused(tmp_path):
    save_report(a_report(1, measured(protocol=ProtocolSpec(quick=True))), tmp_path / "report.json")
    with pytest.raises(UsageError, match=r"nothing in it can be compared with: .* quick look"):
        open_baseline(tmp_path, str(tmp_path))


@pytest.mark.parametrize("name", ["", "a/b", "..", "ä", "x" * 61])
def test_a_name_that_is_no_folder_of_its_own_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name a baseline"):
        save_run(tmp_path, name, a_report())


def test_a_baseline_that_cannot_be_written_names_the_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"--lem-results={tmp_path / 'file'}: results cannot be written there"):
        save_run(tmp_path / "file", "main", a_report())


def test_an_id_that_is_no_file_name_is_kept_inside(tmp_path):
    info = a_report().run.replace(id="../../evil")
    path = save_run(tmp_path, "main", a_report().replace(run=info))
    assert path.parent == tmp_path / "baselines" / "main"
    assert ids(open_baseline(tmp_path, "main")) == ["../../evil"]


# -- pruning


def test_pruning_keeps_the_newest_and_those_that_the_epoch_began_with(tmp_path):
    save(tmp_path, 1, 2)
    save(tmp_path, 3, new_epoch=True)
    save(tmp_path, 4, 5, 6, 7, 8)
    gone = prune(tmp_path, "main", 2)
    assert [run.id for run in gone] == ["run-1", "run-2", "run-6"]
    assert [run.id for run in all_runs(tmp_path, "main")] == ["run-3", "run-4", "run-5", "run-7", "run-8"]
    assert prune(tmp_path, "main", 2) == []


def test_pruning_nothing_is_refused(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(UsageError, match="--keep=0: keep one run at least"):
        prune(tmp_path, "main", 0)
    with pytest.raises(MissingBaseline, match="no baseline of that name"):
        prune(tmp_path, "other", 3)
