"""Runs as one: what comes out of any parts of a run, what may not be mixed, what is still missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import a_cycle, a_gpu, a_measurement, a_reading, a_round, a_window, an_engine, an_environment
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lem.model.environment import Checkout
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.reporting import late_metrics
from pytest_lem.store.experiments import joined
from pytest_lem.store.merging import (
    ABOUT_WHERE_AND_WHEN,
    Part,
    absent_shards,
    conflicts,
    in_order,
    labels,
    merged_record,
    still_missing,
)
from pytest_lem.store.parts import find_run, merge
from pytest_lem.store.report import read_report
from pytest_lem.store.run import Run, RunRecord

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FOUND = "run-1 and run-2 cannot be merged: "


def item(batch: int = 1, cycle: int = 0) -> str:
    return f"test_it.py::test_decode[fake-bf16-b{batch}-c{cycle}]"


def measured(test: str, **changes):
    return a_measurement(test, **changes)


def part(number: int = 1, of: int | None = 2, *, tests=None, measurements=None, missing=(), **changes) -> Part:
    """Shard `number` of `of` (None: no shard), which measured one batch of its own."""
    tests = [item(number)] if tests is None else tests
    command = changes.pop("command", {}) | ({"lem_shard": f"{number}/{of}"} if of else {})
    samples = changes.pop("samples", frozenset({f"hash-{number}"}))
    defaults = {
        "id": f"id-{number}",
        "started": START + timedelta(minutes=number),
        "quick": False,
        "options": {"command": command, "settings": changes.pop("settings", {}), "machine": {}},
        "environment": an_environment(),
        "plan": tuple(tests),
    }
    return Part(
        name=f"run-{number}",
        folder=Path(f"run-{number}"),
        record=RunRecord(**defaults | changes),
        measurements=tuple(map(measured, tests)) if measurements is None else tuple(measurements),
        missing=tuple(missing),
        samples=samples,
    )


def test_shards_of_one_campaign_may_be_merged():
    assert conflicts([part(1), part(2)]) == []
    assert conflicts([part(1)]) == []


def test_runs_that_were_no_shards_may_be_merged():
    assert conflicts([part(1, None), part(2, None)]) == []


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"environment": an_environment(packages={"pytest-lem": "0.2"})}, "pytest-lem 0.1.0 and 0.2"),
        (
            {"environment": an_environment(packages={"pytest-lem": "0.1.0", "torch": "2.8"})},
            "torch none and 2.8",
        ),
        ({"environment": an_environment(python="3.13.0")}, "Python 3.12.4 and 3.13.0"),
        ({"environment": an_environment(gpus=[a_gpu().replace(driver="580.1")])}, "driver 570.86.15 and 580.1"),
        (
            {"environment": an_environment(gpus=[a_gpu().replace(name="NVIDIA L4")])},
            "GPU NVIDIA H100 80GB HBM3 at 700 W and NVIDIA L4 at 700 W",
        ),
        (
            {"environment": an_environment(gpus=[a_gpu().replace(power_limit_w=350.0)])},
            "GPU NVIDIA H100 80GB HBM3 at 700 W and NVIDIA H100 80GB HBM3 at 350 W",
        ),
        ({"quick": True}, "--lem-quick off and on"),
        ({"of": 3}, "shard 1/2 and shard 2/3"),
        ({"of": None}, "shard 1/2 and no shard"),
        ({"command": {"lem_rounds": 12}}, "--lem-rounds none and 12"),
        ({"command": {"lem_batch": ["1,8"]}}, "--lem-batch none and 1,8"),
        ({"settings": {"lem_model": ["synthetic:tiny"]}}, "--lem-model none and synthetic:tiny"),
    ],
)
def test_what_cannot_be_mixed_is_one_line_with_both_runs_and_the_fact(changes, fact):
    assert conflicts([part(1), part(2, **changes)]) == [FOUND + fact]


@pytest.mark.parametrize("other", ["AMD EPYC 9554, 96 cores", "Intel Xeon 8480, 48 cores"])
def test_hosts_of_other_cpus_are_not_mixed(other):
    xeon = an_environment(cpu="Intel Xeon 8480, 96 cores")
    there = xeon.replace(host="bench-2")
    assert conflicts([part(1, environment=xeon), part(2, environment=there)]) == []
    there = there.replace(cpu=other)
    assert conflicts([part(1, environment=xeon), part(2, environment=there)]) == [
        f"{FOUND}CPU Intel Xeon 8480, 96 cores and {other}"
    ]


def test_a_gpu_and_none_are_not_mixed():
    bare = part(2, environment=an_environment(gpus=[]))
    assert conflicts([part(1), bare]) == [
        FOUND + "GPU NVIDIA H100 80GB HBM3 at 700 W and none",
        FOUND + "driver 570.86.15 and none",
    ]


def committed(*letters: str | None, changed=()) -> list[Part]:
    """Shards of commits that consist of one letter, None for a run that tells none."""
    told = [Checkout(commit=each * 40, branch="main", changed=each in changed) if each else None for each in letters]
    return [part(n, len(told), environment=an_environment(git=git)) for n, git in enumerate(told, start=1)]


def test_shards_of_other_commits_are_not_mixed():
    assert conflicts(committed("a", "b")) == [FOUND + "commit aaaaaaaaaaaa and bbbbbbbbbbbb"]


def test_shards_of_one_commit_are_a_run_of_it():
    parts = committed("a", "a")
    assert conflicts(parts) == []
    assert merged_record(parts, "new").environment.git == Checkout(commit="a" * 40, branch="main")


def test_changes_of_one_shard_that_were_not_committed_are_told_of_the_whole():
    parts = committed("a", "a")
    changed = committed("a", "a", changed="a")
    for one, two in ((parts[0], changed[1]), (changed[0], parts[1]), changed):
        assert conflicts([one, two]) == []
        assert merged_record([one, two], "new").environment.git == Checkout(
            commit="a" * 40, branch="main", changed=True
        )


@pytest.mark.parametrize("letters", [(None, None), ("a", None), (None, "a"), ("a", None, "a")])
def test_a_run_that_tells_no_commit_is_held_against_none_and_then_the_whole_tells_none(letters):
    parts = committed(*letters)
    assert conflicts(parts) == []
    assert merged_record(parts, "new").environment.git is None


def test_a_run_without_a_commit_hides_no_other_ones():
    assert conflicts(committed(None, "a", "b")) == [
        "run-2 and run-3 cannot be merged: commit aaaaaaaaaaaa and bbbbbbbbbbbb"
    ]


def test_the_same_shard_of_two_campaigns_is_not_two_shards():
    other = part(1, id="id-other", tests=[item(7)], samples=frozenset({"other"}))
    assert conflicts([part(1), other]) == ["run-1 and run-1 cannot be merged: each is shard 1/2"]


@pytest.mark.parametrize("same", [{"id": "id-1"}, {"samples": frozenset({"hash-1"})}])
def test_the_same_run_given_twice_is_said_in_its_own_words(same):
    assert conflicts([part(1), part(2, of=3, **same)]) == ["run-1 and run-2 are the same run; name it once"]


def test_runs_that_measured_nothing_are_not_the_same_run():
    assert conflicts([part(number, tests=[], samples=frozenset()) for number in (1, 2)]) == []


def test_an_item_is_measured_in_one_run_only():
    one, two = part(1, None, tests=[item(1), item(8), item(16)]), part(2, None, tests=[item(8), item(1)])
    assert conflicts([one, two]) == [FOUND + f"both measured {item(8)} and 1 more"]


def test_an_item_that_was_cut_short_may_be_measured_in_another_run():
    cut = measured(item(1), cycles=[a_cycle(stopped="interrupted")])
    for one, two in (([cut], [measured(item(1))]), ([measured(item(1))], [cut]), ([cut], [cut])):
        assert conflicts([part(1, None, measurements=one), part(2, None, measurements=two)]) == []


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"engine": an_engine(seed=1)}, "engine seed 0 and 1"),
        ({"workload": WorkloadSpec(batch=8, output_tokens=4)}, "workload output_tokens 32 and 4"),
        ({"protocol": ProtocolSpec(rounds=3, cycles=2)}, "protocol cycles 1 and 2, protocol rounds none and 3"),
    ],
)
def test_an_experiment_is_asked_the_same_in_all_its_cycles(changes, fact):
    other = part(2, None, measurements=[measured(item(1, cycle=1), **changes)])
    assert conflicts([part(1, None), other]) == [f"{FOUND}test_it.py::test_decode[fake-bf16-b1] with {fact}"]


def test_windows_of_different_names_are_different_measurements():
    protocols = [ProtocolSpec(rounds=rounds) for rounds in (3, 4)]
    names = [a_window(name, test="t.py::t", protocol=each) for name, each in zip("ab", protocols, strict=True)]
    cut = names[0].replace(cycles=(a_cycle(stopped="interrupted"),))
    assert conflicts([part(1, None, measurements=[cut]), part(2, None, measurements=[names[1]])]) == []


def test_an_engine_ran_with_one_set_of_versions():
    ran = [
        an_engine().replace(observed={"versions": {"torch": torch, "cuda": None}}) for torch in ("2.8", "2.9", "2.8")
    ]
    parts = [part(n, 3, measurements=[measured(item(n), engine=engine)]) for n, engine in enumerate(ran, start=1)]
    assert conflicts(parts) == [FOUND + "engine pytorch with torch 2.8 and 2.9"]


def test_options_about_where_and_when_may_differ():
    one = {"lem_gap": "cool", "lem_order": "latin", "lem_results": "a", "lem_gpus": ["0"], "lem_python": ["vllm=/a"]}
    two = {
        "lem_json": "b",
        "lem_html": "c",
        "lem_lanes": 1,
        "lem_gpus_per_worker": 2,
        "lem_seed": 3,
        "lem_resume": True,
        "lem_telemetry": "off",
    }
    engines = [an_engine(python=path) for path in ("/a/python", "/b/python")]
    cycles = [measured(item(1, cycle), engine=engine) for cycle, engine in enumerate(engines)]
    parts = [
        part(number, command=command, measurements=[cycle])
        for number, command, cycle in zip((1, 2), (one, two), cycles, strict=True)
    ]
    assert conflicts(parts) == []


def test_every_option_that_may_differ_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "campaigns.md").read_text()
    told = page.partition("Options about where and when may differ")[2].partition("\n\n")[0]
    # Shards and a first look are facts of the run: the page says under which rules they merge.
    documented = {f"lem_{name.replace('-', '_')}" for name in re.findall(r"`--lem-([a-z-]+)`", told)}
    assert documented | {"lem_shard", "lem_quick"} == ABOUT_WHERE_AND_WHEN


def test_an_option_means_the_same_from_the_ini_and_the_command_line():
    parts = [part(1, settings={"lem_rounds": "12"}), part(2, command={"lem_rounds": 12}, settings={"lem_rounds": "3"})]
    assert conflicts(parts) == []


def test_boards_of_one_model_and_their_hosts_are_listed():
    places = [
        an_environment(host=host, platform=platform, gpus=[a_gpu(uuid)])
        for host, platform, uuid in (
            ("a", "Linux-6.8", "GPU-1"),
            ("b", "Linux-6.9", "GPU-2"),
            ("a", "Linux-6.8", "GPU-1"),
        )
    ]
    parts = [part(number, 3, environment=place) for number, place in enumerate(places, start=1)]
    assert conflicts(parts) == []
    found = merged_record(parts, "new").environment
    assert (found.host, found.platform) == ("a, b", "Linux-6.8, Linux-6.9")
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-1", "GPU-2"]


def test_the_record_is_the_first_ones_without_its_shard():
    first = part(1, tests=[item(1), item(2)], command={"lem_rounds": 4}, started=START + timedelta(hours=1))
    second = part(2, tests=[item(2), item(3)], started=START, options={"command": {"lem_shard": "2/2"}})
    record = merged_record([first, second], "new")
    assert (record.id, record.started, record.plan) == ("new", START, (item(1), item(2), item(3)))
    assert record.options == {
        "command": {"lem_rounds": 4},
        "settings": {},
        "machine": {},
        "merged": ["id-1", "id-2"],
    }


def test_a_shard_of_the_ini_is_a_shard_too():
    by_ini = part(1, None, settings={"lem_shard": "1/2"})
    assert by_ini.shard == (1, 2)
    assert merged_record([by_ini], "new").options["settings"] == {}


def test_shards_stand_in_their_order_and_are_named_equally_long():
    parts = in_order([part(number, 12) for number in (10, 2, 1)])
    assert labels(parts) == ["01", "02", "10"]
    assert labels([part(5, None), part(3, None)]) == ["1", "2"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([1, 2, 3, 4, 5], []),
        ([1, 3, 4, 5], ["shard 2 of 5 is missing"]),
        ([1, 3, 4], ["shards 2 and 5 of 5 are missing"]),
        ([3], ["shards 1, 2, 4 and 5 of 5 are missing"]),
    ],
)
def test_shards_that_were_not_given_are_told(given, line):
    assert absent_shards([part(number, 5) for number in given]) == line


def test_runs_without_shards_lack_none():
    assert absent_shards([part(1, None)]) == []


def test_what_one_run_lacks_and_another_measured_is_not_missing():
    one = part(1, None, tests=[], missing=[f"{item(2)}: failed: no: memory", f"{item(3)}: failed: it died", "a remark"])
    assert still_missing([one, part(2, None)]) == [f"{item(3)}: failed: it died", "a remark"]


def on_disk(folder: Path, measurements, **changes) -> Path:
    """A run's folder that holds these measurements, and a report as a run writes it."""
    asked = {"options": {}, "environment": an_environment(), "quick": False} | changes
    run = Run.create(folder, plan=[each.test for each in measurements], **asked)
    for each in measurements:
        run.samples().measurement(each)
        run.write_raw(each)
    run.write_report([])
    return run.directory


PLAN = [(batch, cycle) for batch in (1, 8, 32) for cycle in (0, 1)]


def whole_run():
    """Three experiments in two cycles each, no two with the same joules, one cycle cut short."""
    found = []
    for number, (batch, cycle) in enumerate(PLAN):
        rounds = tuple(a_round(index, devices=(a_reading(500.0 + 10 * number + index),)) for index in range(3))
        stopped = "interrupted" if (batch, cycle) == (32, 1) else "precision"
        one = measured(item(batch, cycle), cycles=[a_cycle(cycle, rounds=rounds, stopped=stopped)])
        found.append(one.replace(metrics=late_metrics(one)))
    return found


@settings(max_examples=25)
@given(owners=st.lists(st.integers(0, 3), min_size=len(PLAN), max_size=len(PLAN)), shuffled=st.permutations(range(4)))
def test_any_parts_of_a_run_merge_into_the_measurements_of_the_whole(tmp_path_factory, owners, shuffled):
    tmp_path = tmp_path_factory.mktemp("runs")
    items = whole_run()
    shares = [[each for each, owner in zip(items, owners, strict=True) if owner == one] for one in shuffled]
    folders = [on_disk(tmp_path / f"part-{number}", share) for number, share in enumerate(shares)]
    found = read_report(merge(folders, tmp_path / "merged", aggregate=late_metrics)).measurements
    whole = joined(items, late_metrics)
    assert sorted(found, key=lambda each: each.id) == sorted(whole, key=lambda each: each.id)
    assert [len(each.cycles) for each in whole] == [2, 2, 2]


def test_all_files_of_all_runs_are_kept(tmp_path):
    folders = [on_disk(tmp_path / f"{n}", [measured(item(8), cycles=[a_cycle(stopped="failed")])]) for n in (1, 2)]
    contents = []
    for folder in folders:
        (folder / "logs").mkdir()
        (folder / "logs" / "engine-1.log").write_text(folder.name)
        contents.append((folder / "samples-main.jsonl").read_bytes())
    merged = merge(folders, tmp_path / "new", aggregate=late_metrics)
    names = {str(path.relative_to(merged)) for path in merged.rglob("*") if path.is_file()}
    (raw,) = [path.stem for path in (folders[0] / "raw").iterdir()]
    assert names == {
        *("run.json", "report.json"),
        *("samples-1-main.jsonl", "samples-2-main.jsonl"),
        *(f"raw/{raw}.json", f"raw/{raw}-2.json"),
        *("logs/1-engine-1.log", "logs/2-engine-1.log"),
    }
    assert [(merged / f"samples-{number}-main.jsonl").read_bytes() for number in (1, 2)] == contents
    assert (merged / "logs" / "2-engine-1.log").read_text() == folders[1].name


def test_a_run_that_wrote_no_report_tells_what_it_lacks(tmp_path):
    killed = Run.create(
        tmp_path / "killed", options={}, environment=an_environment(), quick=False, plan=[item(1), item(2)]
    )
    killed.samples().measurement(measured(item(1)))
    killed.samples().failed(item(2), "it died")
    found = read_report(merge([killed.directory], tmp_path / "new", aggregate=late_metrics))
    assert found.missing[0].startswith(f"run {killed.id}: the run ended before it wrote its report")
    assert found.missing[1:] == (f"{item(2)}: failed: it died",)
    assert found.run.complete is False


def test_a_report_of_before_a_run_was_continued_is_not_believed(tmp_path):
    folder = on_disk(tmp_path / "run", [measured(item(1))])
    run = Run.open(folder).with_plan([item(1), item(2)])
    run.samples().failed(item(2), "it died again")
    found = read_report(merge([folder], tmp_path / "new", aggregate=late_metrics))
    assert f"{item(2)}: failed: it died again" in found.missing


def test_the_merged_run_ended_when_the_last_one_did(tmp_path):
    folders = [on_disk(tmp_path / str(number), [measured(item(number))]) for number in (1, 2)]
    merged = read_report(merge(folders, tmp_path / "new", aggregate=late_metrics)).run
    assert merged.ended == read_report(folders[1]).run.ended
    assert merged.started == Run.open(folders[0]).record.started


@pytest.mark.parametrize("inside", [".", "runs/one", ".lem/runs/one"])
def test_a_run_is_found_in_a_downloaded_folder(tmp_path, inside):
    place = tmp_path / inside
    place.mkdir(parents=True, exist_ok=True)
    (place / "run.json").touch()
    assert find_run(tmp_path) == place


def test_a_folder_of_several_runs_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    with pytest.raises(UsageError, match=r"there are 2 runs here \(a, b\); name one of them"):
        find_run(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no run here"):
        find_run(tmp_path / "nowhere")
