"""What `--lem-duel` takes, and which two engines it comes to."""

from __future__ import annotations

import sys

import fake_engine
import pytest
from engine_starts import spec

from pytest_lem.duel.sides import GitSide, PythonSide, SpecSide, contestants, parse, why_not
from pytest_lem.model.errors import UsageError


@pytest.fixture(autouse=True)
def _fake_is_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(fake_engine.install(tmp_path / "site"))


def test_a_commit_is_the_baseline_and_runs_under_the_interpreter_of_its_environment():
    side = parse("git:origin/main")
    assert side == GitSide("origin/main")
    a, b = contestants(side, spec(), python=sys.executable, commit="5c0ffee")
    assert (a.words, a.commit, a.spec) == ("git:origin/main", "5c0ffee", spec(python=sys.executable))
    assert (b.words, b.commit, b.spec) == ("this checkout", None, spec())


def test_another_interpreter_is_the_baseline():
    side = parse(f"python:{sys.executable}")
    a, b = contestants(side, spec())
    assert (a.spec.python, b.spec.python) == (sys.executable, None)


def test_the_folder_of_an_environment_stands_for_its_interpreter(tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    assert parse(f"python:{tmp_path}/venv") == PythonSide(str(tmp_path / "venv" / "bin" / "python"))


def test_a_changed_spec_is_the_candidate_and_its_values_are_those_of_an_experiment():
    side = parse("spec:precision=fp16, pytorch.use_cache=false,pytorch.num_threads=2")
    assert side == SpecSide({"precision": "float16"}, {"pytorch": {"use_cache": False, "num_threads": 2}})
    assert side.words == "spec:precision=float16,pytorch.use_cache=false,pytorch.num_threads=2"
    default = spec("pytorch", options={"num_threads": 1})
    a, b = contestants(side, default)
    assert (a.words, a.spec) == ("this test's engine", default)
    assert b.words == side.words
    assert b.spec == spec("pytorch", precision="float16", options={"use_cache": False, "num_threads": 2})


def test_commas_inside_brackets_and_quotes_separate_nothing():
    side = parse("""spec:vllm.compilation_config={"mode": 0, "sizes": [1, 2]},vllm.quantization='a,b'""")
    assert side.options == {"vllm": {"compilation_config": {"mode": 0, "sizes": [1, 2]}, "quantization": "a,b"}}


def test_another_backend_takes_its_own_options_and_its_own_interpreter():
    side = parse("spec:backend=fake,fake.token_seconds=0.5")
    a, b = contestants(side, spec("pytorch"), pythons={"fake": sys.executable, "pytorch": "/elsewhere"})
    assert a.spec == spec("pytorch")
    assert (b.spec.backend, b.spec.options["token_seconds"], b.spec.python) == ("fake", 0.5, sys.executable)
    assert "use_cache" not in b.spec.options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main", "--lem-duel=main: expected git:REF, python:PATH or spec:KEY=VALUE,…"),
        ("git:", "--lem-duel=git:: nothing after git:; expected git:REF"),
        ("git:--upload-pack=x", "--lem-duel=git:--upload-pack=x: '--upload-pack=x' is no git ref"),
        ("python:/nowhere/python", "--lem-duel=python:/nowhere/python: there is no interpreter at /nowhere/python"),
        ("spec:precison=fp16", "unknown key 'precison'; the nearest known one is 'precision'"),
        ("spec:precision=fp7", "--lem-duel=spec:precision=fp7: unknown precision 'fp7'"),
        ("spec:precision", "'precision' is no KEY=VALUE"),
        ("spec:precision=fp16,precision=fp32", "precision is given twice"),
        ("spec:batch=8", "batch is the workload's, and both sides of a duel have the same work"),
        ("spec:pytroch.use_cache=false", "unknown engine 'pytroch'; the nearest known one is 'pytorch'"),
        ("spec:pytorch.use_cash=false", "pytorch: unknown option 'use_cash'; did you mean 'use_cache'?"),
        ("spec:pytorch.num_threads=none", "pytorch: option num_threads='none'"),
        ("spec:backend=vlm", "unknown backend 'vlm'; did you mean 'vllm'?"),
        ("spec:vllm.seed=[1", "'[1' is no value"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_the_option(text, expected):
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"--lem-duel={text}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_side_that_says_nothing_of_an_engine_is_told_before_anything_starts():
    fp16 = parse("spec:precision=fp16")
    assert why_not(parse("spec:vllm.seed=1"), spec("pytorch")) == (
        "--lem-duel=spec:vllm.seed=1 is about vllm, not about pytorch"
    )
    assert why_not(fp16, spec(precision="float16")) == (
        "--lem-duel=spec:precision=float16 changes nothing of this engine"
    )
    assert why_not(fp16, spec(precision="bfloat16")) is None
    assert why_not(parse("git:main"), spec()) is None


def test_sides_on_other_gpus_cannot_meet():
    with pytest.raises(UsageError, match=r"--lem-duel=spec:fake.gpus=2: a duel has one GPU set: 2 GPU\(s\) on 'auto'"):
        contestants(parse("spec:fake.gpus=2"), spec())


def test_what_the_tests_own_model_cannot_do_names_the_option():
    with pytest.raises(UsageError, match=r"^--lem-duel=spec:model=synthetic:tny: --lem-model: unknown model"):
        contestants(parse("spec:model=synthetic:tny"), spec())
