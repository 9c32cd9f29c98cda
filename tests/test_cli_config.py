"""`lem config`: files checked, shown, compared and begun, without pytest and without measuring anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pytest_lem.cli import app
from pytest_lem.experiment import schema as schemas
from pytest_lem.experiment.experiment import read_experiment

FILES = {
    "base.yaml": "model_name: synthetic:tiny\nfp_precision: float16\nbatch_size: 16\n",
    "a.lem.yaml": "_extends: base.yaml\nbatch_size: [1, 8]\nbudget: {joules_per_token: 0.5}\n",
    "b.lem.yaml": "_extends: a.lem.yaml\nbatch_size: 8\ndecoder: {temperature: 0.5}\nbudget: {joules_per_token: 0.7}\n",
    "bad.lem.yaml": "model_name: synthetic:tiny\nbacth: 1\n",
    "night.lem.yaml": "campaign:\n  files: [a.lem.yaml, bad.lem.yaml]\n",
    "trt.lem.yaml": "backend: tensorrt\nbatch_size: [1, 2]\ntensorrt:\n  max_batch_size: 8\n",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)


def lem(*arguments: object):
    return CliRunner().invoke(app, ["config", *map(str, arguments)])


def test_good_files_are_counted():
    done = lem("validate", "a.lem.yaml", "b.lem.yaml")
    assert (done.exit_code, done.stdout) == (
        0,
        "a.lem.yaml: 2 experiments, 2 tests\nb.lem.yaml: 1 experiment, 1 test\n",
    )


def test_a_fault_is_a_line_and_the_others_are_looked_at_all_the_same():
    done = lem("validate", "bad.lem.yaml", "a.lem.yaml", "no.lem.yaml")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "bad.lem.yaml:2: unknown key 'bacth'; the nearest known one is 'batch'",
        "a.lem.yaml: 2 experiments, 2 tests",
        "no.lem.yaml: cannot be read: No such file or directory",
    ]


def test_prompts_longer_than_the_model_are_named_by_their_line():
    Path("long.lem.yaml").write_text("model_name: synthetic:tiny\nprompt_tokens: 131072\noutput_tokens: 1\n")
    done = lem("validate", "long.lem.yaml")
    assert (done.exit_code, done.stdout) == (
        1,
        "long.lem.yaml:2: prompt_tokens: request 0 has 131072 prompt and 1 output tokens, more than the 131072 "
        "positions of 'synthetic:tiny' on pytorch; ask for fewer tokens\n",
    )


def test_a_campaign_is_its_files():
    done = lem("validate", "--json", "night.lem.yaml")
    assert done.exit_code == 1
    assert [(each["file"], each["experiments"], bool(each["error"])) for each in json.loads(done.stdout)] == [
        ("a.lem.yaml", 2, False),
        ("bad.lem.yaml", 0, True),
    ]


def test_a_folder_is_its_files_each_once(tmp_path):
    done = lem("validate", "--json", ".")
    assert [each["file"] for each in json.loads(done.stdout)] == [
        "a.lem.yaml",
        "b.lem.yaml",
        "bad.lem.yaml",
        "trt.lem.yaml",
    ]
    (tmp_path / "empty").mkdir()
    assert lem("validate", "empty").stdout == "empty: holds no file called NAME.lem.yaml\n"


def test_a_file_for_an_engine_whose_library_is_not_here_is_checked():
    done = lem("validate", "trt.lem.yaml")
    assert done.exit_code == 0
    assert done.stdout == "trt.lem.yaml: 2 experiments, 2 tests\n"
    Path("trt.lem.yaml").write_text("backend: tensorrt\ntensorrt: {enable_trt_overlap: true, runtime: engine}\n")
    done = lem("validate", "trt.lem.yaml")
    assert done.exit_code == 1
    assert "enable_trt_overlap with runtime='engine': the engine runtime schedules in C++" in done.stdout


def test_cycles_are_tests_of_one_experiment():
    Path("c.lem.yaml").write_text("num_cycles: 3\nbatch_size: [1, 2]\n")
    assert lem("validate", "c.lem.yaml").stdout == "c.lem.yaml: 2 experiments, 6 tests\n"


def test_what_is_shown_is_a_file_that_asks_for_the_same(tmp_path):
    done = lem("show", "b.lem.yaml")
    assert done.exit_code == 0
    assert yaml.safe_load(done.stdout) == {
        "config_name": "b",
        "model": "synthetic:tiny",
        "precision": "float16",
        "batch": 8,
        "decoding": {"temperature": 0.5},
        "budget": {"joules_per_token": 0.7},
    }
    (tmp_path / "again.lem.yaml").write_text(done.stdout)
    first, again = (read_experiment(tmp_path / f"{name}.lem.yaml", str) for name in ("b", "again"))
    assert (again.name, again.keywords, again.budgets) == (first.name, first.keywords, first.budgets)


def test_why_tells_the_file_and_line_of_every_value():
    done = lem("show", "--why", "b.lem.yaml")
    found = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert {name: found[name] for name in ("model", "precision", "batch", "decoding", "seed")} == {
        "model": "base.yaml:1",
        "precision": "base.yaml:2",
        "batch": "b.lem.yaml:2",
        "decoding": "b.lem.yaml:3",
        "seed": "default",
    }


def test_why_knows_the_project_s_own_file():
    Path("lem.yaml").write_text("\nseed: 3\n")
    assert any(
        line.split() == ["seed", "3", "lem.yaml:2"] for line in lem("show", "--why", "a.lem.yaml").stdout.splitlines()
    )


def test_shown_as_json_each_experiment_has_its_values_with_their_origins():
    found = json.loads(lem("show", "--json", "a.lem.yaml").stdout)
    assert found["keywords"]["batch"] == [1, 8]
    assert found["origins"]["precision"] == "base.yaml:2"
    assert [each["id"] for each in found["experiments"]] == ["pytorch-fp16-b1-c0", "pytorch-fp16-b8-c0"]
    assert found["experiments"][1]["values"]["batch"] == {"value": "8", "origin": "a.lem.yaml:2"}


def test_a_difference_is_told_with_where_each_side_says_it():
    done = lem("diff", "a.lem.yaml", "b.lem.yaml")
    assert done.exit_code == 1
    assert [line.partition(" (")[0].partition(":")[0] for line in done.stdout.splitlines()] == [
        "batch",
        "decoding",
        "budget.joules_per_token",
    ]
    assert done.stdout.startswith("batch: 1, 8 (a.lem.yaml:2) → 8 (b.lem.yaml:2)\n")


def test_files_that_say_the_same_in_other_words_do_not_differ():
    Path("one.lem.yaml").write_text("batch_size: 8\nfp_precision: fp16\ndecoder: {max_new_tokens: 32}\n")
    Path("two.lem.yaml").write_text("batching: {batch_size: 8}\nprecision: float16\nnum_cycles: 1\n")
    done = lem("diff", "one.lem.yaml", "two.lem.yaml")
    assert (done.exit_code, done.stdout) == (0, "one.lem.yaml and two.lem.yaml ask for the same\n")
    assert json.loads(lem("diff", "--json", "one.lem.yaml", "two.lem.yaml").stdout) == []


def test_the_schema_is_printed_for_editors():
    assert json.loads(lem("schema").stdout)["title"] == schemas.TITLE


def test_a_starter_is_valid_and_finds_its_schema():
    done = lem("new", "first")
    assert done.exit_code == 0
    text = Path("first.lem.yaml").read_text()
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert json.loads(Path(named).read_text())["title"] == schemas.TITLE
    assert lem("validate", "first.lem.yaml").stdout == "first.lem.yaml: 2 experiments, 2 tests\n"


def test_what_a_starter_offers_in_comments_is_valid_too():
    lem("new", "first")
    lines = Path("first.lem.yaml").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("# budget"))
    offered = [line.removeprefix("# ") for line in lines[begin:] if line.startswith("# ")]
    told = [line for line in offered if not line[0].isupper()]  # the others are sentences
    plain = [line for line in lines[:begin] if not line.startswith(("fp_precision", "#"))]
    Path("all.lem.yaml").write_text("\n".join([*plain, *told]) + "\n")
    done = lem("validate", "all.lem.yaml")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.startswith("all.lem.yaml: 6 experiments")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["new", "a"], "lem config new: a.lem.yaml is there already; name another"),
        (["new", "no/such"], "lem config new: no/such.lem.yaml: there is no folder no; make it, or name another"),
        (
            ["show", "bad.lem.yaml"],
            "lem config show: bad.lem.yaml:2: unknown key 'bacth'; the nearest known one is 'batch'",
        ),
        (
            ["show", "night.lem.yaml"],
            "lem config show: night.lem.yaml:1: campaign: this file names other files; it is *",
        ),
        (
            ["diff", "a.lem.yaml", "no.lem.yaml"],
            "lem config diff: no.lem.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(arguments, line):
    done = lem(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    pytest.LineMatcher(done.stderr.splitlines()).fnmatch_lines([line])
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["validate", "show", "diff", "schema", "new"])
def test_every_command_has_examples_in_its_help(command):
    assert "Example" in lem(command, "--help").stdout
