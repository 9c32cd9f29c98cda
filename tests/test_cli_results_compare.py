"""`lem results compare`: a user names runs, or settings of one, and reads what is apart."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from builders import a_cycle, a_measurement, a_reading, a_round
from results_lab import name_of, on_day
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.reporting import late_metrics

FIRST, SECOND, THIRD = map(name_of, (5, 6, 7))


def lem(results, *arguments):
    return CliRunner().invoke(app, ["results", "compare", "--results", str(results), *map(str, arguments)])


def batch(size, joules=800.0):
    """A setting of eight rounds, each of `joules`."""
    rounds = tuple(a_round(place + 1, devices=(a_reading(joules),)) for place in range(8))
    test = f"test_it.py::test_decode[pytorch-b{size}]"
    found = a_measurement(test, cycles=(a_cycle(rounds=rounds),), workload=WorkloadSpec(batch=size))
    return found.model_copy(update={"metrics": late_metrics(found)})


@pytest.fixture
def results(tmp_path):
    """Three days: batches 1, 8 and 16; then batch 8 twice as dear; then batch 8 as on the first."""
    on_day(tmp_path, 5, batch(1, 1600), batch(8), batch(16, 600))
    on_day(tmp_path, 6, batch(8, 1600))
    on_day(tmp_path, 7, batch(8))
    return tmp_path


def pairs(results, *arguments):
    """(run, setting) of both sides, and the word on their joules per token."""
    done = lem(results, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return [
        (*((each[side]["run"], each[side]["test"][-3:-1]) for side in ("reference", "candidate")), words(each))
        for each in json.loads(done.output)
    ]


def words(pair):
    return pair["metrics"][0]["word"]


def test_two_runs_are_compared_by_the_settings_that_they_share(results):
    lines = lem(results, FIRST, SECOND).output.splitlines()
    assert lines[:2] == [
        f"A  {FIRST}  test_it.py::test_decode[pytorch-b8]",
        f"B  {SECOND}  test_it.py::test_decode[pytorch-b8]",
    ]
    assert re.split(" {2,}", lines[2].strip()) == ["METRIC", "A", "B", "B / A", "B IS"]
    joules, tokens = (re.split(" {2,}", line.strip()) for line in lines[3:5])
    assert (joules[0], joules[1][:10], joules[2][:10]) == ("joules_per_token", "400 mJ/tok", "800 mJ/tok")
    assert joules[3].startswith("2.000 (1.8")
    assert re.fullmatch(r"worse: \+8\d % to \+11\d %", joules[4])
    assert tokens[0] == "tokens_per_second"
    assert re.fullmatch(r"cannot be told apart: −\d\.\d % to \+\d\.\d %", tokens[4])
    assert lines[5:] == [
        f"only in {FIRST}: test_it.py::test_decode[pytorch-b1]",
        f"only in {FIRST}: test_it.py::test_decode[pytorch-b16]",
    ]


@pytest.mark.parametrize("named", [(name_of(5), name_of(7)), ("20260105", "latest")])
def test_runs_are_named_by_their_beginning_or_as_the_latest(results, named):
    assert pairs(results, *named) == [((FIRST, "b8"), (THIRD, "b8"), "unclear")]


def test_each_of_several_runs_is_compared_with_the_first(results):
    assert pairs(results, FIRST, SECOND, THIRD) == [
        ((FIRST, "b8"), (SECOND, "b8"), "worse"),
        ((FIRST, "b8"), (THIRD, "b8"), "unclear"),
    ]


def test_settings_of_one_run_are_named_by_a_word_of_their_id(results):
    assert pairs(results, "--run", FIRST, "b1", "b8", "b16") == [
        ((FIRST, "b1"), (FIRST, "b8"), "better"),
        ((FIRST, "b1"), (FIRST, "16"), "better"),
    ]


def test_a_difference_in_what_was_asked_is_named(results):
    lines = lem(results, "--run", FIRST, "b1", "b8").output.splitlines()
    assert lines[2] == (
        "   differs in workload: batch 1, 128 prompt tokens, 32 output tokens and "
        "batch 8, 128 prompt tokens, 32 output tokens"
    )


def test_settings_are_those_of_the_newest_run_unless_another_is_named(results):
    on_day(results, 8, batch(1), batch(2))
    assert pairs(results, "b1", "b2") == [((name_of(8), "b1"), (name_of(8), "b2"), "alike")]


def test_a_setting_of_each_of_two_runs_is_named_with_its_run(results):
    assert pairs(results, "20260105:b1", "latest:b8") == [((FIRST, "b1"), (THIRD, "b8"), "better")]


def test_a_whole_test_id_is_no_run_and_its_colons_are_its_own(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_it.py").write_text("")
    named = [f"test_it.py::test_decode[pytorch-{size}]" for size in ("b1", "b8")]
    assert pairs(results, "--run", FIRST, *named) == [((FIRST, "b1"), (FIRST, "b8"), "better")]


def test_the_metric_and_what_counts_as_alike_are_the_users(results):
    done = lem(results, "--run", FIRST, "b1", "b8", "--metric", "power_w", "--json")
    (metric,) = json.loads(done.output)[0]["metrics"]
    assert (metric["metric"], metric["ratio"], metric["word"]) == ("power_w", pytest.approx(0.5), "better")
    asked = ["--metric", "tokens_per_second", "--run", FIRST, "b1", "b8"]
    assert "alike within 5 %" in lem(results, *asked).output
    assert "cannot be told apart" in lem(results, *asked, "--threshold", 2).output


def test_json_tells_both_sides_and_what_is_apart(results):
    (told,) = json.loads(lem(results, "--run", FIRST, "b1", "b8", "--json").output)
    test = "test_it.py::test_decode[pytorch-b8]"
    assert told["candidate"] == {"run": FIRST, "test": test, "name": ""}
    assert told["apart"] == "session"
    joules = told["metrics"][0]
    assert joules["reference"]["value"] == pytest.approx(0.8)
    assert joules["ratio"] == pytest.approx(0.5)
    assert joules["low"] < joules["ratio"] < joules["high"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["latest"], "latest: name two at least to compare"),
        (["2026", "latest"], "2026: 3 runs begin so (*); name more of it"),
        (["20260105", "b8"], "b8: runs are compared with runs; a configuration of one is RUN:b8"),
        (
            ["--run", "20260105", "decode", "b8"],
            "decode: 3 configurations of run {first} are like that (test_decode[[]*)",
        ),
        (["b8", "b32"], "b32: no run, and no configuration of run {third}, which has test_decode[[]pytorch-b8]"),
        (["--metric", "joule", "20260105", "latest"], "--metric=joule: unknown metric; the nearest known one is *"),
    ],
)
def test_what_cannot_be_compared_is_one_line(results, words, line):
    done = lem(results, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    pytest.LineMatcher(done.stderr.splitlines()).fnmatch_lines(
        [f"lem results compare: {line.format(first=FIRST, third=THIRD)}"]
    )


def test_runs_without_anything_in_common_are_refused(results):
    on_day(results, 8, batch(64))
    done = lem(results, FIRST, "latest")
    assert done.exit_code == 2
    assert done.stderr == (
        f"lem results compare: {FIRST} and {name_of(8)} measured nothing in common; "
        "name a configuration of each, as RUN:TEST\n"
    )


def test_a_comparison_waits_for_no_library_of_numbers(results):
    program = (
        "import sys; from pytest_lem.cli import app\n"
        f"app(['results', 'compare', '--results', {str(results)!r}, '20260105', 'latest'], standalone_mode=False)\n"
        "print(sorted({'numpy', 'scipy', 'rich', 'sqlite3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
