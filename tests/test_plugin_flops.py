"""FLOPs in a run's report, and `--lem-flops`: who is asked first."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

FILE = """
import pytest

@pytest.mark.lem(backend="fake", batch=2, prompt_tokens=8, output_tokens=4, fake={wrong})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
    assert lem_energy.get("mfu") is None
"""


def test_the_report_has_flops_with_their_method_and_what_is_absent_with_its_reason(project):
    project.write(FILE.replace("{wrong}", "{'wrong': {'parameters': 1000}}"))
    project.run().assert_outcomes(passed=1)
    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert cycle["arithmetic"]["method"] == "parameters"
    assert cycle["arithmetic"]["notes"] == ["the engine does not tell the model's architecture"]
    flops = project.metric("flops_per_token")
    assert (flops["value"], flops["source"]) == (2 * 1000 * (8 + 4 - 1) / 4, "estimated")
    per_tflop, joules = project.metric("joules_per_tflop"), project.metric("joules_per_token")
    assert per_tflop["value"] == pytest.approx(joules["value"] / (flops["value"] / 1e12))
    assert project.metric("mfu")["reason"] == "no published peaks are known for a CPU"
    assert project.metric("roofline_memory")["reason"] == "no published peaks are known for a CPU"


def test_a_baseline_leaves_them_out_without_a_word(project):
    project.write(FILE.replace("{wrong}", "{'wrong': {'parameters': 1000}}"))
    result = project.run("--lem-save=main", "--lem-rounds=8")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*joules_per_tflop*")
    saved = "".join(file.read_text() for file in (project.pytester.path / ".lem" / "baselines").rglob("*.json*"))
    assert "joules_per_token" in saved
    assert "tflop" not in saved


def test_an_engine_that_tells_nothing_of_its_model_has_no_flops(project):
    project.write(FILE.replace("{wrong}", "{}"))
    project.run().assert_outcomes(passed=1)
    assert project.metric("flops_per_token")["reason"].startswith("the engine does not tell the model's architecture")


def test_a_method_that_is_none_is_refused_at_once(project):
    project.write()
    result = project.run("--lem-flops=guess")
    result.stderr.fnmatch_lines(["ERROR: --lem-flops=guess: unknown method; known: analytic, counted, calflops"])


REAL = """
import pytest

@pytest.mark.lem(
    backend="pytorch", model=["synthetic:tiny", "synthetic:tiny-moe"], batch=2, prompt_tokens=16, output_tokens=4
)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


@pytest.mark.slow
@pytest.mark.torch
def test_calflops_is_asked_first_where_that_is_asked_for_and_the_report_says_why_it_did_not_answer(project):
    if find_spec("calflops") is None:
        pytest.skip("calflops is not installed")
    project.write(REAL)
    result = project.run("--lem-flops=calflops")
    result.assert_outcomes(passed=2)
    dense, experts = (each["cycles"][0]["arithmetic"] for each in project.report()["measurements"])
    assert (dense["method"], dense["notes"]) == ("calflops", [])
    assert experts["method"] == "analytic"
    assert experts["notes"][0].startswith("calflops says ")
    result.stdout.fnmatch_lines(["*FLOPs are analytic: calflops says *"])
    assert all(project.metric("flops_per_token", number)["source"] == "estimated" for number in (0, 1))


@pytest.mark.slow
@pytest.mark.torch
def test_torchs_count_is_the_formulas(project):
    project.write(REAL)
    found = {}
    for method in ("counted", "analytic"):
        project.run("--lem-flops", method).assert_outcomes(passed=2)
        found[method] = [project.metric("flops_per_token", number)["value"] for number in (0, 1)]
        assert {each["cycles"][0]["arithmetic"]["method"] for each in project.report()["measurements"]} == {method}
    assert found["counted"] == found["analytic"]
