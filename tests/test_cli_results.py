"""`lem results list` and `show`: a user looks for runs, and at one."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from builders import a_measurement, a_metric, a_verdict, a_window, an_engine, an_environment, metrics
from results_lab import TEST, a_run, name_of, on_day
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.model.environment import Checkout
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.store.run import Run

B16 = "test_it.py::test_decode[b16]"


def lem(results, *arguments):
    return CliRunner().invoke(app, ["results", arguments[0], "--results", str(results), *map(str, arguments[1:])])


def listed(results, *arguments):
    """The first words of the rows below the heads."""
    lines = lem(results, "list", *arguments).output.splitlines()
    heads = next(place for place, line in enumerate(lines) if line.startswith("RUN"))
    return [line.split()[0] for line in lines[heads + 1 :] if line.startswith("2026")]


def of_json(results, *arguments):
    return json.loads(lem(results, "list", "--json", *arguments).output)


def cheap(value, test=TEST, **changes):
    return a_measurement(test, metrics=metrics(joules_per_token=value), **changes)


@pytest.fixture
def results(tmp_path):
    """Three days: llama on vllm, then two settings of tiny on pytorch, then llama again on a branch."""
    vllm = an_engine("vllm", model="synthetic:llama", precision="float16")
    git = Checkout(commit="c0ffee12" * 5, branch="tuning", changed=True)
    on_day(tmp_path, 5, cheap(0.2, engine=vllm))
    sixteen = cheap(0.1, B16, workload=WorkloadSpec(batch=16))
    on_day(tmp_path, 6, cheap(0.4), sixteen, verdicts=(a_verdict(test=TEST),))
    on_day(tmp_path, 7, cheap(0.3, "other.py::test_llama", engine=vllm), environment=an_environment(git=git))
    return tmp_path


def test_runs_are_listed_the_newest_first(results):
    assert lem(results, "list").output.splitlines() == [
        "machine: bench-1 · NVIDIA H100 80GB HBM3",
        "RUN                         STARTED           COMMIT            ENGINE   MODEL            N  J/TOKEN       "
        "            OUTCOME",
        "20260107T090000000Z-aaaaaa  2026-01-07 09:00  tuning c0ffee12+  vllm     synthetic:llama  1  300 mJ/tok    "
        "            measured",
        "20260106T090000000Z-aaaaaa  2026-01-06 09:00  –                 pytorch  synthetic:tiny   2  100 mJ/tok to "
        "400 mJ/tok  passed",
        "20260105T090000000Z-aaaaaa  2026-01-05 09:00  –                 vllm     synthetic:llama  1  200 mJ/tok    "
        "            measured",
    ]


def test_configurations_are_listed_with_what_each_cost(results):
    lines = lem(results, "list", "--configurations", "--engine", "pytorch").output.splitlines()
    assert lines[0].split("  ")[1:] == ["engine: pytorch", "model: synthetic:tiny", "precision: bf16"]
    latency = ["500 tok/s ±2.0 %", "20.0 ms ±2.0 %", "10.0 ms ±2.0 %"]
    assert [re.split(" {2,}", line)[1:] for line in lines[2:]] == [
        ["test_decode[b8]", "batch 8", "400 mJ/tok ±2.0 %", *latency, "passed"],
        ["test_decode[b16]", "batch 16", "100 mJ/tok ±2.0 %", *latency, "measured"],
    ]


@pytest.mark.parametrize(
    ("words", "days"),
    [
        (["--model", "LLAMA"], [7, 5]),
        (["--engine", "vllm"], [7, 5]),
        (["--engine", "vll"], []),
        (["--test", "other.py"], [7]),
        (["--test", "b16"], [6]),
        (["--branch", "tuning"], [7]),
        (["--since", "2026-01-06"], [7, 6]),
        (["--since", "2026-01-06T09:00:01"], [7]),
        (["--since", "2026-01-06T10:00+01:00"], [7, 6]),
        (["--engine", "vllm", "--since", "2026-01-06"], [7]),
        (["--limit", "1"], [7]),
        (["--reverse"], [5, 6, 7]),
        (["--sort", "joules_per_token"], [6, 5, 7]),
        (["--sort", "joules_per_token", "--test", "decode[b8]"], [5, 6]),
        (["--sort", "joules_per_token", "--reverse"], [7, 5, 6]),
    ],
)
def test_rows_are_those_that_were_asked_for_in_that_order(results, words, days):
    assert [row["folder"] for row in of_json(results, *words)] == [name_of(day) for day in days]
    if days:
        assert listed(results, *words) == [name_of(day) for day in days]


def test_more_is_better_of_tokens_a_second_and_an_absent_value_comes_last(tmp_path):
    for day, value in ((5, 100.0), (6, None), (7, 300.0), (8, 200.0)):
        on_day(tmp_path, day, a_measurement(TEST, metrics=metrics(tokens_per_second=value)))
    asked = ["--sort", "tokens_per_second", "-c"]
    assert [row["tokens_per_second"] for row in of_json(tmp_path, *asked)] == [300.0, 200.0, 100.0, None]
    assert [row["tokens_per_second"] for row in of_json(tmp_path, *asked, "--reverse")] == [100.0, 200.0, 300.0, None]


def test_an_age_counts_back_from_now(tmp_path):
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    a_run(tmp_path, "recent", run={"started": hour_ago})
    a_run(tmp_path, "old", run={"started": hour_ago - timedelta(days=1)})
    assert [row["id"] for row in of_json(tmp_path, "--since", "2h")] == ["recent"]
    assert [row["id"] for row in of_json(tmp_path, "--since", "2d")] == ["recent", "old"]


def test_a_longer_list_says_how_much_of_it_is_shown(tmp_path):
    for number in range(22):
        a_run(tmp_path, f"2026-{number:02}")
    shown = lem(tmp_path, "list").output.splitlines()
    assert (len(shown), shown[-1]) == (23, "20 of 22 runs; --limit 0 shows all")
    assert len(listed(tmp_path, "--limit", 0)) == 22
    assert "of 22" not in lem(tmp_path, "list", "--limit", 0).output


def test_estimates_windows_and_quick_looks_are_told_as_such(tmp_path):
    guess = a_metric("joules_per_token", 0.4, source="estimated", low=None, high=None)
    on_day(tmp_path, 5, a_measurement(TEST, metrics={"joules_per_token": guess}), a_window(), run={"quick": True})
    first, second = lem(tmp_path, "list", "-c").output.splitlines()[-2:]
    assert re.split(" {2,}", first)[-5:] == ["~400 mJ/tok", "–", "–", "–", "measured, quick"]
    assert re.split(" {2,}", second)[1:5] == ["test_window · tokenize", "–", "–", "–"]


def test_a_run_is_running_while_its_process_lives_and_cut_short_after_it_was_killed(tmp_path):
    run = Run.create(tmp_path, options={}, environment=an_environment(), quick=False, plan=[TEST])
    held = run.hold()
    assert [row["outcome"] for row in of_json(tmp_path)] == ["running"]
    os.close(held)
    assert [row["outcome"] for row in of_json(tmp_path)] == ["cut short"]
    run.write_report([a_measurement(TEST)], missing=["test_b: planned, never measured"])
    assert [row["outcome"] for row in of_json(tmp_path)] == ["incomplete"]


def test_a_run_that_cannot_be_read_is_listed_and_says_why(results):
    (results / "runs" / name_of(5) / "report.json").write_text("{")
    lines = lem(results, "list").output.splitlines()
    assert lines[-2].split()[0::2] == [name_of(5), "–", "–", "0", "unreadable"]
    assert lines[-1].startswith(f"{name_of(5)}: {results / 'runs' / name_of(5) / 'report.json'}: Invalid JSON")


def test_rows_of_json_hold_every_column_and_no_bookkeeping(results):
    row = of_json(results, "--branch", "tuning")[0]
    assert (row["branch"], row["git_commit"], row["changed"], row["quick"]) == ("tuning", "c0ffee12" * 5, True, False)
    assert (row["configurations"], row["joules_per_token"], row["models"]) == (1, 0.3, "synthetic:llama")
    assert not {"stamp", "moving"} & set(row)
    (each,) = of_json(results, "-c", "--branch", "tuning")
    assert (each["test"], each["joules_per_token_low"]) == ("other.py::test_llama", pytest.approx(0.294))
    assert (each["verdict"], each["outcome"], each["boards"]) == (None, "measured", "NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sort", "joules"], "--sort=joules: rows are sorted by started, joules_per_token, *"),
        (["--since", "yesterday"], "--since=yesterday: write a date such as 2026-01-31, or an age such as 7d"),
    ],
)
def test_what_cannot_be_is_one_line(results, words, line):
    done = lem(results, "list", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    pytest.LineMatcher(done.stderr.splitlines()).fnmatch_lines([f"lem results list: {line}"])


def test_no_run_is_no_error(tmp_path):
    done = lem(tmp_path, "list")
    assert (done.exit_code, done.output) == (0, f"no run in {tmp_path / 'runs'} is like that\n")
    assert of_json(tmp_path) == []


# One run


def test_a_run_is_shown_with_where_it_was_measured_what_it_cost_and_how_it_was_judged(results):
    git = Checkout(commit="c0ffee12" * 5, branch="tuning", changed=True)
    late = a_verdict(test=TEST, status="failed", line="joules_per_token 0.4 J/tok breaks its budget")
    folder = on_day(results, 8, cheap(0.4), environment=an_environment(git=git), verdicts=(late,))
    lines = lem(results, "show").output.splitlines()
    assert lines[:5] == [
        f"run {name_of(8)}: failed",
        "measured: 2026-01-08 09:00 to 09:00 UTC",
        "machine: bench-1 · 1 × NVIDIA H100 80GB HBM3",
        f"commit: {'c0ffee12' * 5} on tuning, with changes",
        f"files: {folder}",
    ]
    assert lines[5] == "1 measurement"
    assert any("400 ±2.0 %" in line for line in lines)
    assert lines[-2:] == [
        "test_decode[b8]: joules_per_token 0.4 J/tok breaks its budget",
        "cheapest configuration: test_decode[b8] with 400 mJ/tok",
    ]


@pytest.mark.parametrize("named", ["20260106", "latest", "path"])
def test_a_run_is_named_by_its_beginning_or_as_the_latest_or_by_its_place(results, named):
    day = 7 if named == "latest" else 6
    asked = results / "runs" / name_of(6) / "report.json" if named == "path" else named
    assert lem(results, "show", asked).output.startswith(f"run {name_of(day)}: ")


def test_a_killed_run_is_shown_as_far_as_it_came(tmp_path):
    run = Run.create(tmp_path, options={}, environment=an_environment(), quick=False, plan=[TEST, B16])
    run.samples().measurement(cheap(0.4))
    lines = lem(tmp_path, "show").output.splitlines()
    assert lines[0] == f"run {run.id}: cut short"
    assert any("400 ±2.0 %" in line for line in lines)
    assert f"  {B16}: planned, never measured" in lines


def test_other_programs_get_a_run_without_its_rounds(results):
    told = json.loads(lem(results, "show", "20260106", "--json").output)
    assert (told["run"]["id"], told["outcome"]) == (name_of(6), "passed")
    assert told["place"] == str(results / "runs" / name_of(6))
    first, second = told["measurements"]
    assert (first["test"], first["metrics"]["joules_per_token"]["value"]) == (TEST, 0.4)
    assert (second["workload"]["batch"], second["engine"]["requested"]["backend"]) == (16, "pytorch")
    (cycle,) = first["cycles"]
    assert (cycle["rounds"], cycle["valid_rounds"], cycle["warmup_rounds"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("2026", f"2026: 3 runs begin so ({name_of(5)}, {name_of(6)}, {name_of(7)}); name more of it"),
        ("2031", "2031: there is no such run in {results}/runs, and no such file"),
    ],
)
def test_a_run_that_is_not_there_is_one_line(results, named, line):
    done = lem(results, "show", named)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"lem results show: {line.format(results=results)}\n"
