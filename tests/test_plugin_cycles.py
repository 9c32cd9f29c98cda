"""Cycles repeat one experiment: they may draw prompts of their own, and nothing else is mixed or lost under one id."""

from __future__ import annotations

import pytest

OWN_PROMPTS = """
import pytest

@pytest.mark.lem(backend="fake", cycles=3, output_tokens=4, fake={"token_seconds": 0.001})
def test_decode(lem_backend, lem_workload, lem_energy, lem_cycle):
    lem_energy.measure(lem_backend, lem_workload.replace(seed=lem_cycle))
"""
OTHER_LENGTHS = OWN_PROMPTS.replace("seed=lem_cycle", "output_tokens=4 + lem_cycle")
NAMED_LENGTHS = OTHER_LENGTHS.replace("4 + lem_cycle)", "4 + lem_cycle), name=f'{4 + lem_cycle} tokens'")
CLIENTS = """
import pytest

@pytest.mark.parametrize("clients", [1, 8], ids=["c1", "c8"])
@pytest.mark.parametrize("size", ["small"])
def test_served(lem_energy, size, clients):
    with lem_energy.window("serve"):
        pass
"""


def cycles(project):
    return {each["id"]: [cycle["index"] for cycle in each["cycles"]] for each in project.report()["measurements"]}


def test_cycles_with_prompts_of_their_own_are_cycles_of_one_experiment(project):
    project.write(OWN_PROMPTS)
    project.run().assert_outcomes(passed=3)

    assert list(cycles(project).values()) == [[0, 1, 2]]
    assert project.report()["run"]["complete"] is True


def test_a_run_that_is_continued_measures_none_of_them_again(project):
    project.write(OWN_PROMPTS)
    project.run("-k", "c0 or c1")
    project.run("--lem-resume").assert_outcomes(passed=3)

    assert list(cycles(project).values()) == [[0, 1, 2]]
    assert len(project.runs()) == 1


def test_a_cycle_that_asks_for_another_workload_is_refused_with_what_differs(project):
    project.write(OTHER_LENGTHS)
    result = project.run()

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["*-c1]: lem_energy.measure: this cycle asks for another workload than *-c0] did (output_tokens), and cycles *"]
    )
    assert list(cycles(project).values()) == [[0]]
    missing = project.report()["missing"]
    assert [line.partition(": ")[0][-4:] for line in missing] == ["-c1]", "-c2]"]


def test_names_tell_them_apart(project):
    project.write(NAMED_LENGTHS)
    project.run().assert_outcomes(passed=3)

    assert [each["name"] for each in project.report()["measurements"]] == ["4 tokens", "5 tokens", "6 tokens"]


@pytest.mark.parametrize("again", [[], ["--lem-resume"]])
def test_parameters_that_are_called_as_our_cycles_stay_experiments_of_their_own(project, again):
    project.write(CLIENTS)
    project.run(*again) if not again else (project.run(), project.run(*again))

    assert cycles(project) == {
        "test_it.py::test_served[small-c1]#serve": [0],
        "test_it.py::test_served[small-c8]#serve": [0],
    }


@pytest.mark.xdist
def test_so_do_their_gates_and_workers(project):
    project.write(CLIENTS)
    project.run("--lem-save=main").assert_outcomes(passed=2)
    result = project.subprocess("-n2", "--lem-lanes=2", "--lem-baseline=main", "-rA")

    assert result.ret == pytest.ExitCode.OK
    assert set(cycles(project)) == {
        "test_it.py::test_served[small-c1]#serve",
        "test_it.py::test_served[small-c8]#serve",
    }
    for clients in ("c1", "c8"):
        result.stdout.fnmatch_lines([f"*test_served[[]small-{clients}-gate-*"])
