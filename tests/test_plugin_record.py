"""A metric of the user's own is measured, stored, read and accepted like one of ours."""

from __future__ import annotations

import json

import pytest

from pytest_lem.launches import launches
from pytest_lem.store.baselines import open_baseline, save_run
from pytest_lem.store.rebuild import gather, rebuild
from pytest_lem.store.report import read_report

HEAD = """
import pytest

@pytest.mark.lem(backend="fake", batch=8, output_tokens=4, fake={"token_seconds": 0.001})
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
SCORED = f"""{HEAD}
    for score in (71.0, 74.0, 72.0):
        lem_energy.record("quality", score, better="higher", unit="pt")
    assert lem_energy.quality == 72.0
    assert repr(lem_energy.get("quality")) == "72 pt"
"""


def refused(project, call: str) -> str:
    """The one line of the failure of a test that makes this call after it has measured."""
    project.write(f"{HEAD}\n    {call}\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    lines = [line for line in result.outlines if line.startswith(("lem_energy.", "E  "))]
    assert len(lines) == 1, lines
    return lines[0]


def test_what_a_test_records_is_in_the_report_with_its_values_and_its_unit(project):
    project.write(SCORED)
    project.run().assert_outcomes(passed=1)
    (measurement,) = project.report()["measurements"]
    assert measurement["cycles"][0]["recorded"] == [
        {"metric": "quality", "value": value, "unit": "pt", "better": "higher"} for value in (71.0, 74.0, 72.0)
    ]
    value = measurement["metrics"]["quality"]
    assert (value["value"], value["unit"], value["n"], value["source"]) == (72.0, "pt", 3, "measured")
    assert (value["low"], value["high"], value["covers"]) == (71.0, 74.0, "range")
    assert measurement["metrics"]["tokens_per_second"]["value"] > 0


def test_each_cycle_is_a_launch_of_it_and_all_of_them_one_value(project):
    project.write(f"{HEAD}\n    lem_energy.record('quality', 70 + 2 * lem_backend.cycle, better='higher')\n")
    project.run("--lem-cycles=3").assert_outcomes(passed=3)
    (measurement,) = read_report(project.runs()[0]).measurements
    assert [launch.values for launch in launches(measurement, "quality")] == [(70,), (72,), (74,)]
    found = measurement.metrics["quality"]
    assert found.value == pytest.approx((70 * 72 * 74) ** (1 / 3))
    assert (found.n, found.low, found.high) == (3, pytest.approx(70), pytest.approx(74))


def test_it_enters_a_baseline_like_ours(project):
    project.write(SCORED)
    project.run()
    results = project.pytester.path / ".lem"
    save_run(results, "main", read_report(project.runs()[0]))
    (metric,) = open_baseline(results, "main").history("test_it.py::test_decode[fake-bf16-b8]", "", "quality")
    assert (metric.better, metric.unit, metric.launches) == ("higher", "pt", ((71.0, 74.0, 72.0),))


def test_zero_and_below_have_a_value_and_no_interval(project):
    project.write(f"{HEAD}\n    for v in (-1.5, 0, 0.5): lem_energy.record('logprob', v, better='higher')\n")
    project.run().assert_outcomes(passed=1)
    value = project.metric("logprob")
    assert (value["value"], value["low"], value["high"], value["n"]) == (0.0, None, None, 3)


def test_it_belongs_to_what_was_measured_last(project):
    project.write(f"""{HEAD}
    lem_energy.measure(lem_backend, lem_workload, name="again")
    lem_energy.record("quality", 1.0, better="higher")
    with lem_energy.window("evaluate"):
        pass
    lem_energy.record("errors", 3, better="lower", unit="1")
""")
    project.run().assert_outcomes(passed=1)
    owners = {each["name"]: set(each["metrics"]) & {"quality", "errors"} for each in project.report()["measurements"]}
    assert owners == {"": set(), "again": {"quality"}, "evaluate": {"errors"}}


def test_a_number_of_any_library_is_kept_as_a_plain_one(project):
    project.write(f"import numpy\n{HEAD}\n    lem_energy.record('quality', numpy.float32(0.5), better='higher')\n")
    project.run().assert_outcomes(passed=1)
    assert project.metric("quality")["value"] == 0.5


def test_a_run_that_was_killed_keeps_what_was_recorded(project):
    project.write(SCORED)
    project.run()
    (folder,) = project.runs()
    (folder / "report.json").unlink()
    (measurement,) = rebuild(folder).measurements
    assert measurement.metrics["quality"].value == 72.0
    assert [each.value for each in measurement.cycles[0].recorded] == [71.0, 74.0, 72.0]
    events = [json.loads(line)["event"] for line in (folder / "samples-main.jsonl").read_text().splitlines()]
    assert events[-5:] == ["measurement", "recorded", "recorded", "recorded", "ended"]


def test_a_run_that_is_continued_records_nothing_twice_and_what_is_missing(project):
    """The test runs again, though nothing is measured again: the values it had stay, those it had not come."""
    broken = SCORED.replace("    assert lem_energy.quality", "    assert 0\n    assert lem_energy.quality", 1)
    project.write(broken.replace("(71.0, 74.0, 72.0)", "(71.0, 74.0)"))
    project.run().assert_outcomes(failed=1)
    project.write(SCORED)
    project.run("--lem-resume", "--lem-retry-failed").assert_outcomes(passed=1)
    (measurement,) = read_report(project.runs()[0]).measurements
    assert [each.value for each in measurement.cycles[0].recorded] == [71.0, 74.0, 72.0]
    assert len(gather(project.runs()[0]).measurements) == 1
    assert measurement.metrics["quality"].value == 72.0


def test_a_rename_keeps_its_name_in_baselines(project):
    marked = HEAD.replace("lem(", "lem(id='decode', ", 1)
    project.write(marked)
    project.run().assert_outcomes(passed=1)
    (measurement,) = read_report(project.runs()[0]).measurements
    assert (measurement.test, measurement.known_as) == ("test_it.py::test_decode[fake-bf16-b8]", "decode[fake-bf16-b8]")
    results = project.pytester.path / ".lem"
    project.write(marked.replace("test_decode", "test_renamed"))
    project.run("--lem-rounds=8").assert_outcomes(passed=1)
    save_run(results, "main", read_report(project.runs()[0]))
    save_run(results, "main", read_report(project.runs()[1]))
    assert len(open_baseline(results, "main").history("decode[fake-bf16-b8]", "", "tokens_per_second")) == 2


def test_a_name_in_baselines_is_a_word(project):
    project.write(HEAD.replace("lem(", "lem(id='a[b', ", 1))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.lem: id='a[[]b': expected the name of the test in baselines*"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("record('joules_per_token', 1, better='lower')", "is measured by pytest-lem; record yours under another name"),
        ("record('quality', float('nan'), better='higher')", "nan cannot be compared with anything"),
        ("record('quality', float('inf'), better='higher')", "inf cannot be compared with anything"),
        ("record('quality', 'high', better='higher')", "'high' is no number"),
        ("record('quality', 1, better='more')", "better='more'; say better='lower' or better='higher'"),
        ("record('my quality', 1, better='higher')", "a metric's name is a word like `quality`"),
        ("record('_private', 1, better='higher')", "a metric's name is a word like `quality`"),
        ("record('measure', 1, better='higher')", "and no attribute of lem_energy"),
        ("record('cycles', 1, better='higher')", "a measurement has something else of that name"),
    ],
)
def test_what_cannot_be_compared_is_refused(project, call, said):
    assert said in refused(project, f"lem_energy.{call}")


def test_a_metric_keeps_to_one_unit(project):
    calls = "[lem_energy.record('size', 1, better='lower', unit=unit) for unit in ('B', 'KiB')]"
    assert "it was recorded with unit='B', better='lower' before; keep to one" in refused(project, calls)


def test_nothing_can_be_recorded_before_anything_was_measured(project):
    project.write(
        HEAD.replace("lem_energy.measure(lem_backend, lem_workload)", "lem_energy.record('q', 1, better='lower')")
    )
    result = project.run()
    result.stdout.fnmatch_lines(["*lem_energy has measured nothing yet: call lem_energy.measure(...), or end a *"])


def test_nothing_is_recorded_inside_a_window(project):
    project.write(f"{HEAD}\n    with lem_energy.window('w'): lem_energy.record('q', 1, better='lower')\n")
    result = project.run()
    result.stdout.fnmatch_lines(["*lem_energy.record('q', ...) inside the window 'w': end that window first*"])
