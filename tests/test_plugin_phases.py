"""Prefill and decode apart, from a test: an engine whose phases take known times, at a known power."""

from __future__ import annotations

import pytest
from fake_meter import WATTS

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
    assert found["outputs"] == [1, 12, 24]
    assert len(project.report()["measurements"]) == 6


@pytest.mark.parametrize(
    ("output", "more", "line"),
    [
        ("2", "", "*lem_energy.phases: output_tokens: expected one number from 4, got 2*"),
        ("'uniform(4, 9)'", "", "*lem_energy.phases: output_tokens: expected one number from 4*"),
        (
            "24",
            "traffic={'qps': 9, 'requests': 3},",
            "*lem_energy.phases: requests that come over time mix the phases*",
        ),
    ],
)
def test_a_workload_whose_answers_cannot_be_shortened_is_refused(measured, output, more, line):
    result = measured(output, more)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])


def test_without_joules_there_is_nothing_to_tell_apart(measured, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    measured().assert_outcomes(failed=1)  # the meter was named, so that an absent joule is a failure
