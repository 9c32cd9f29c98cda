"""A user measures: items, ids, numbers, files. The engine and meter are third-party distributions with known joules."""

from __future__ import annotations

import json

import jsonschema
import pytest
from fake_meter import WATTS
from users_project import TEST

from pytest_lem.store.schema import schemas


def test_one_test_an_experiment_each_with_its_id(project):
    project.write()
    result = project.run("--collect-only", "-q")
    result.stdout.fnmatch_lines(
        ["test_it.py::test_decode[[]fake-bf16-b1-c0[]]", "test_it.py::test_decode[[]fake-bf16-b8-c0[]]"]
    )
    assert project.runs() == []


def test_joules_per_token_are_watts_times_seconds_over_tokens(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    report = project.report()
    for measurement in report["measurements"]:
        values = measurement["metrics"]
        assert values["power_w"]["value"] == pytest.approx(WATTS)
        rate = values["tokens_per_second"]["value"]
        assert values["joules_per_token"]["value"] == pytest.approx(WATTS / rate, rel=1e-6)
        assert values["joules_per_token"]["source"] == "measured"
        assert len(measurement["cycles"][0]["rounds"]) == 4
        assert len(measurement["cycles"][0]["warmup_rounds"]) == 1


def test_a_batch_of_eight_gives_eight_times_the_tokens_of_one_pass(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    one, eight = (m["cycles"][0]["rounds"][0] for m in project.report()["measurements"])
    assert one["tokens"] == one["passes"] * 4
    assert eight["tokens"] == eight["passes"] * 32


def test_the_report_and_all_other_files_are_valid_by_the_schemas_that_ship(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    folder = project.runs()[-1]
    known = schemas()
    for path in [folder / "run.json", folder / "report.json", *(folder / "raw").glob("*.json")]:
        data = json.loads(path.read_text())
        jsonschema.validate(data, known[data["schema"].split("/")[0].removeprefix("lem.")])
    assert (folder.parent.parent / ".gitignore").read_text() == "runs/\n"
    assert project.report()["run"]["complete"] is True


def test_one_engine_serves_all_batches_of_a_spec(project):
    project.write()
    project.run().assert_outcomes(passed=2)
    launches = {m["cycles"][0]["launch"] for m in project.report()["measurements"]}
    assert len(launches) == 1


def test_the_engine_stops_before_a_plain_test_runs(project):
    project.write(
        TEST
        + """
import os, psutil

PID = []

def test_remember(request):
    from pytest_lem.plugin.state import known_session
    assert known_session(request.config).pool.engine is None
"""
    )
    project.run().assert_outcomes(passed=3)


def test_a_window_measures_the_users_own_code(project):
    project.write(
        """
        import time

        def test_tokenize(lem_energy):
            with lem_energy.window("sleep") as window:
                time.sleep(0.05)
            assert 0.05 <= window.seconds
            assert abs(window.cpu_joules - 100 * window.seconds) < 1e-6
            assert abs(lem_energy.power_w - 100) < 1e-6
        """
    )
    project.run().assert_outcomes(passed=1)
    (measurement,) = project.report()["measurements"]
    assert (measurement["name"], measurement["engine"]) == ("sleep", None)


def test_several_measurements_of_one_test_have_names(project):
    project.write(
        TEST.replace(
            "    lem_energy.measure(lem_backend, lem_workload)",
            """    short = lem_energy.measure(lem_backend, lem_workload, name="short")
    long = lem_energy.measure(lem_backend, lem_workload.replace(output_tokens=8), name="long")
    assert long.seconds > short.seconds""",
        )
    )
    project.run("-k", "b8").assert_outcomes(passed=1, deselected=1)
    ids = [m["id"].rpartition("#")[2] for m in project.report()["measurements"]]
    assert ids == ["short", "long"]


def test_a_second_measurement_of_one_name_is_refused(project):
    project.write(TEST + "    lem_energy.measure(lem_backend, lem_workload)\n")
    result = project.run("-k", "b8")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*a second measurement named ''; give each its own: measure(..., name=...)*"])


def test_run_gives_tokens_without_measuring(project):
    project.write(
        TEST.replace(
            "lem_energy.measure(lem_backend, lem_workload)",
            "result = lem_backend.run(lem_workload); assert result.tokens == 4 * lem_workload.batch",
        )
    )
    project.run().assert_outcomes(passed=2)


def test_the_command_line_restricts_and_a_test_with_nothing_left_is_skipped(project):
    project.write()
    project.run("--lem-batch=8").assert_outcomes(passed=1)
    other = TEST.replace("test_decode", "test_small").replace("[1, 8]", "[1]")
    project.write(TEST + other)
    result = project.run("--lem-batch=8", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*--lem-batch=8 leaves nothing of this test's batch=[[]1]*"])
    assert result.ret == 0


def test_a_run_that_the_options_left_empty_ends_non_zero(project):
    project.write()
    result = project.run("--lem-batch=16")
    result.assert_outcomes(skipped=1)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*nothing was measured*"])


def test_quick_runs_say_so_everywhere(project):
    project.write()
    result = project.run("--lem-quick", "--lem-rounds=2", "--lem-round-seconds=0.02")
    result.assert_outcomes(passed=2)
    report = project.report()
    assert report["run"]["quick"] is True
    assert all(m["protocol"]["quick"] for m in report["measurements"])
    result.stdout.fnmatch_lines(["*QUICK*"])


def test_the_table_shows_the_numbers_and_where_the_report_is(project):
    project.write()
    result = project.run()
    result.stdout.fnmatch_lines(["*lem: energy of inference*", "*report: *report.json"])
    assert "measured" in result.stdout.str()


def test_what_an_engine_found_out_about_its_model_is_a_note_under_the_table(project):
    project.write(TEST.replace('"token_seconds": 0.001', '"wrong": {"notes": ["runs in bfloat16 all the same"]}'))
    result = project.run("-k", "b1")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["*b1*note*", "*runs in bfloat16 all the same*"])
    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert cycle["notes"] == ["runs in bfloat16 all the same"]


def test_a_copy_of_the_report_goes_where_it_was_asked(project):
    project.write()
    project.run("--lem-json=out.json").assert_outcomes(passed=2)
    copy = json.loads((project.pytester.path / "out.json").read_text())
    assert copy["run"]["id"] == project.report()["run"]["id"]


def test_hooks_add_machine_facts_and_may_change_a_record(project):
    project.write()
    conftest = project.pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
def pytest_lem_machine_info(config, info):
    info["extra"]["rack"] = "B7"

def pytest_lem_update_record(config, measurement):
    return measurement.replace(name="renamed")
"""
    )
    project.run("-k", "b1").assert_outcomes(passed=1, deselected=1)
    report = project.report()
    assert report["run"]["options"]["machine"] == {"rack": "B7"}
    assert report["measurements"][0]["name"] == "renamed"


def test_plain_tests_are_left_alone(project):
    project.write("def test_plain(): pass")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert project.runs() == []
    assert "lem:" not in result.stdout.str()
