"""`--lem-explain`: every value and where it comes from; nothing runs, nothing starts, no GPU is touched."""

from __future__ import annotations

import re

import pytest

from pytest_lem.model.metrics import METRICS  # noqa: F401 - loaded before pytester takes its snapshot of modules
from pytest_lem.plugin import explain  # noqa: F401 - for the same reason

TEST = """
import pytest

@pytest.mark.lem(backend="fake", batch=[1, 8], fake={"token_seconds": 0.001})
class TestSpeed:
    @pytest.mark.lem(output_tokens=4)
    def test_decode(self, lem_backend, lem_workload, lem_energy):
        raise AssertionError("--lem-explain runs nothing")
"""
YAML = """
# what every test has in common
prompt_tokens: 64
precision:
  - bfloat16
  - float32
seed: 7
"""


def rows(result):
    """The block of values: name → (value, origin)."""
    found = [re.split(r"\s{2,}", line.strip()) for line in result.outlines if line.startswith("  ")]
    return {parts[0]: tuple(parts[1:]) for parts in found}


@pytest.fixture
def explained(project):
    def explained(*arguments, test=TEST, yaml=YAML):
        project.write(test)
        (project.pytester.path / "lem.yaml").write_text(yaml)
        return project.run("--lem-explain", *arguments)

    return explained


def test_each_value_is_told_with_its_origin(explained):
    result = explained("--lem-precision=bf16", "--lem-cycles=2", "-o", "lem_rounds=5")
    assert result.ret == pytest.ExitCode.OK
    found = rows(result)
    assert {name: found[name] for name in ("backend", "precision", "prompt_tokens", "output_tokens", "seed")} == {
        "backend": ("fake", "marker test_it.py::TestSpeed"),
        "precision": ("bfloat16", "--lem-precision"),
        "prompt_tokens": ("64", "lem.yaml:3"),
        "output_tokens": ("4", "marker test_it.py::TestSpeed::test_decode"),
        "seed": ("7", "lem.yaml:7"),
    }
    assert found["model"] == ("synthetic:tiny", "default")
    assert found["cycles"] == ("2", "--lem-cycles")
    assert found["rounds"] == ("5", "-o lem_rounds")
    assert found["round_seconds"] == ("0.02", "ini pytest.ini: lem_round_seconds")
    # the conftest of these tests shortens the warm-up by a marker
    assert found["warmup_rounds"] == ("1", "marker test_it.py::TestSpeed::test_decode")


def test_options_are_those_that_the_engine_will_get(explained):
    found = rows(explained())
    assert found["fake.token_seconds"] == ("0.001", "marker test_it.py::TestSpeed")
    assert found["fake.fault"] == ("raise", "default")


def test_what_differs_is_told_for_each_experiment_the_rest_once(explained):
    result = explained()
    result.stdout.fnmatch_lines(
        [
            "test_it.py::TestSpeed::test_decode: 4 experiments",
            "  precision *2 values, below *lem.yaml:4",
            "  batch *2 values, below *marker test_it.py::TestSpeed",
            "  [[]fake-bf16-b1-c0]  precision bfloat16, batch 1",
            "  [[]fake-bf16-b8-c0]  precision bfloat16, batch 8",
            "  [[]fake-fp32-b1-c0]  precision float32, batch 1",
            "  [[]fake-fp32-b8-c0]  precision float32, batch 8",
        ]
    )
    assert sum("lem.yaml:3" in line for line in result.outlines) == 1


def test_experiments_of_several_origins_name_them_each(explained):
    yaml = "experiments:\n  - batch: 1\n  - batch: 8\n    rounds: 3\n"
    explained(test=TEST.replace("batch=[1, 8], ", ""), yaml=yaml).stdout.fnmatch_lines(
        [
            "  [[]fake-bf16-r0-b1-c0]  batch 1 (lem.yaml:2); rounds 4 (ini pytest.ini: lem_rounds)",
            "  [[]fake-bf16-r1-b8-c0]  batch 8 (lem.yaml:3); rounds 3 (lem.yaml:4)",
        ]
    )


def test_a_users_own_parameters_lead_the_experiments_id(explained):
    test = TEST.replace(
        "    @pytest.mark.lem(out", "    @pytest.mark.parametrize('x', ['a-b', 'c'])\n    @pytest.mark.lem(out"
    )
    explained("-k", "fp32", test=test.replace("(self,", "(self, x,")).stdout.fnmatch_lines(
        ["  [[]a-b-fake-fp32-b1-c0]  batch 1", "  [[]c-fake-fp32-b8-c0] *batch 8"]
    )


def test_nothing_is_opened_and_nothing_left(explained, project, monkeypatch):
    import pytest_lem.meters.nvml

    monkeypatch.setattr(pytest_lem.meters.nvml, "visible_gpus", lambda *_: pytest.fail("a GPU was touched"))
    assert explained().ret == pytest.ExitCode.OK
    assert project.runs() == []
    assert not (project.pytester.path / ".lem").exists()


@pytest.mark.xdist
def test_with_workers_it_is_told_once_and_none_starts(explained):
    result = explained("-n", "2")
    assert result.ret == pytest.ExitCode.OK
    assert sum(line.startswith("test_it.py::TestSpeed::test_decode:") for line in result.outlines) == 1
    assert not any("bringing up nodes" in line or " workers " in line for line in result.outlines)


def test_a_test_that_the_options_left_nothing_says_why(explained):
    explained("--lem-batch=16").stdout.fnmatch_lines(
        ["*::test_decode: no experiment: --lem-batch=16 leaves nothing of this test's batch=[[]1, 8]"]
    )


def test_a_test_that_only_measures_windows_has_a_protocol(explained):
    result = explained(test="def test_w(lem_energy): assert False\n")
    assert "backend" not in rows(result)
    assert rows(result)["rounds"] == ("4", "ini pytest.ini: lem_rounds")


def test_plain_tests_are_no_experiments(explained):
    result = explained(test="def test_plain(): assert False\n")
    result.stdout.fnmatch_lines(["lem: no test here takes a fixture of pytest-lem"])
    assert result.ret == pytest.ExitCode.OK


def test_a_marker_that_cannot_be_still_fails(explained):
    result = explained(test=TEST.replace("batch=[1, 8]", "bacth=1"))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*unknown keyword 'bacth'; the nearest known one is 'batch'"])
