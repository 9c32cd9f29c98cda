"""Prefill and decode apart, from a test: an engine whose phases take known times, at a known power."""

from __future__ import annotations

import jsonschema
import pytest
from fake_meter import WATTS

from pytest_lem.store.schema import schemas

PHASES = """
import pytest

@pytest.mark.lem(backend="fake", batch=4, prompt_tokens=10, output_tokens={output}, {more}
                 fake={{"traffic": True, "token_seconds": 0.005, "prompt_seconds": 0.001}})
def test_phases(lem_backend, lem_workload, lem_energy):
    found = lem_energy.phases(lem_backend, lem_workload)
    print("PREFILL", found.prefill.joules_per_token, "DECODE", found.decode.joules_per_token)
"""


@pytest.fixture
def measured(project):
    def run(output="24", more=""):
        project.write(PHASES.format(output=output, more=more))
        return project.run("--lem-round-seconds=0.5", "-s")

    return run


def test_each_phase_costs_what_it_takes_at_the_known_power(project, measured):
    measured().assert_outcomes(passed=1)
    (found,) = project.report()["phases"]
    # 40 prompt tokens take 40 ms and the first tokens 5 ms; each further step of 5 ms gives 4 tokens.
    prefill, decode = WATTS * 0.045 / 40, WATTS * 0.005 / 4
    assert found["prefill"]["joules_per_token"] == pytest.approx(prefill, rel=0.05)
    assert found["decode"]["joules_per_token"] == pytest.approx(decode, rel=0.03)
    assert found["decode"]["low"] <= found["decode"]["joules_per_token"] <= found["decode"]["high"]
    assert (found["prefill"]["tokens"], found["decode"]["tokens"], found["rounds"]) == (40, 4 * 23, 24)
    assert abs(found["sum_error"]) < 0.03
    assert (found["method"], found["outputs"], found["base"]) == ("windows", [1, 12, 24], None)
    assert len(project.report()["measurements"]) == 6


@pytest.mark.parametrize(
    ("output", "more", "line"),
    [
        ("2", "", "*lem_energy.phases: output_tokens: expected one number from 4, got 2*"),
        ("'uniform(4, 9)'", "", "*lem_energy.phases: output_tokens: expected one number from 4*"),
    ],
)
def test_a_workload_whose_answers_cannot_be_shortened_is_refused(measured, output, more, line):
    result = measured(output, more)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])


def test_without_joules_there_is_nothing_to_tell_apart(measured, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    measured().assert_outcomes(failed=1)  # the meter was named, so that an absent joule is a failure


TRAFFIC = """
import pytest

@pytest.mark.lem(backend="fake", prompt_tokens=16, output_tokens=20, rounds=2,
                 traffic={{"qps": 25.0, "burstiness": 0.7, "requests": {requests}}},
                 fake={{"traffic": True, "queue_times": True, "ledger": {ledger!r},
                        "token_seconds": 0.005, "prompt_seconds": 0.001,
                        "prompt_joules": 0.05, "token_joules": 0.2, {options}}})
def test_traffic(lem_backend, lem_workload, lem_energy):
    found = lem_energy.phases(lem_backend, lem_workload)
    assert found.method == "regression"
"""


@pytest.fixture
def served(project, monkeypatch):
    """A user's traffic on an engine whose joules the meter knows, beside the 100 W that it always reads."""
    ledger = str(project.pytester.path / "ledger.jsonl")
    monkeypatch.setenv("FAKE_METER_LEDGER", ledger)

    def run(*args, requests=180, options=""):
        project.write(TRAFFIC.format(requests=requests, ledger=ledger, options=options))
        return project.run(*args)

    return run


@pytest.mark.slow
def test_traffic_tells_each_phase_and_what_is_drawn_beside_them(project, served):
    result = served("--lem-html=page.html", "--lem-markdown=summary.md")
    result.assert_outcomes(passed=1)
    (found,) = project.report()["phases"]
    (measurement,) = project.report()["measurements"]
    assert (found["method"], found["rounds"], found["outputs"], measurement["name"]) == ("regression", 2, [], "phases")
    # In real time: a busy machine shifts the engine's stamps by milliseconds. Exact values: test_mixed_phases.
    assert found["prefill"]["joules_per_token"] == pytest.approx(0.05, rel=0.2)
    assert found["decode"]["joules_per_token"] == pytest.approx(0.2, rel=0.1)
    assert found["base"]["watts"] == pytest.approx(WATTS, rel=0.05)
    assert found["decode"]["low"] <= found["decode"]["joules_per_token"] <= found["decode"]["high"]
    assert abs(found["sum_error"]) < 0.03
    parts = sum(found[part]["joules"] for part in ("prefill", "decode", "base"))
    assert parts == pytest.approx(found["whole_joules"], rel=0.01)
    assert (found["source"], found["covers"]) == ("measured", "this session only")
    line = (
        "test_traffic*: prefill * mJ/prompt token (*), decode * mJ/token (*), base * W (*); "
        "half of the windows miss the others by * %; regression, * windows of 2 rounds, this session only"
    )
    result.stdout.fnmatch_lines([line])
    assert "regression" in (project.pytester.path / "summary.md").read_text()
    jsonschema.validate(project.report(), schemas()["report"])


@pytest.mark.parametrize(
    ("mood", "options", "reason"),
    [
        ("", "'unnamed_times': True", "unresolvable: the engine does not tell when requests came"),
        (
            "",
            "'queue_times': False",
            "unresolvable: the engine does not tell when prefill began, "
            "so that waiting in its queue would count as prefill",
        ),
        ("idle-only", "", "unresolvable: fake on package-0: its meter reads no joules while the engine works"),
    ],
)
def test_what_cannot_be_told_apart_is_null_with_the_reason_and_the_test_goes_on(
    project, served, monkeypatch, mood, options, reason
):
    monkeypatch.setenv("FAKE_METER", mood)
    result = served(requests=30 if mood else 8, options=options)
    result.assert_outcomes(passed=1)
    (found,) = project.report()["phases"]
    for part in ("prefill", "decode", "base"):
        assert (found[part]["joules"], found[part]["reason"]) == (None, reason)
    assert (found["whole_joules"], found["sum_error"], found["windows"]) == (None, None, 0)
    result.stdout.fnmatch_lines([f"test_traffic*: prefill and decode {reason}; regression, *"])


def test_traffic_that_no_meter_reads_has_nothing_to_tell_apart(served, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    served(requests=8).assert_outcomes(failed=1)  # the meter was named, so that an absent joule is a failure
