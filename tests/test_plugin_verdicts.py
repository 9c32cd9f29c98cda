"""What passes, fails and skips: asserts, budgets, absent quantities, and each in JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from users_project import TEST


def budget(text: str) -> str:
    return TEST.replace("@pytest.mark.lem(", f"{text}\n@pytest.mark.lem(", 1).replace("[1, 8]", "8")


def test_a_failed_assert_explains_the_number(project):
    project.write(TEST + "    assert lem_energy.power_w < 50\n")
    result = project.run("-k", "b8")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["E *assert 100 W < 50 W", "E *power_w: 95 % interval *over 4 rounds*measured"])


def test_a_budget_that_breaks_is_one_failed_test_with_one_line(project):
    project.write(budget("@pytest.mark.lem_budget(power_w=50)"))
    result = project.run("--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*power_w 100 W breaks its budget of 50 W (95 % interval 100..100 over 4 rounds)*"])
    suite = ET.parse(project.pytester.path / "junit.xml").getroot().find("testsuite")
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    assert "power_w 100 W breaks" in suite.find("testcase/failure").get("message")
    project.run("--lf").assert_outcomes(failed=1)


def test_of_several_budgets_that_break_each_line_below_the_table_names_its_test(project):
    measured = "lem_energy.measure(lem_backend, lem_workload)"
    both = f'{measured}\n    lem_energy.measure(lem_backend, lem_workload, name="again")'
    project.write(
        TEST.replace("@pytest.mark.lem(", "@pytest.mark.lem_budget(power_w=50)\n@pytest.mark.lem(", 1).replace(
            measured, both
        )
    )
    lines = [line for line in project.run().stdout.lines if line.startswith("test_decode") and ": power_w" in line]
    told = [line.partition(" 100 W breaks")[0] for line in lines]
    names = [f"test_decode[fake-bf16-b{batch}-c0]" for batch in (1, 8)]
    assert told == [f"{name}: power_w{again}" for name in names for again in ("", "[again]")]


def test_a_budget_that_is_kept_passes(project):
    project.write(budget("@pytest.mark.lem_budget(power_w=150, tokens_per_second=1)"))
    project.run().assert_outcomes(passed=1)
    assert [v["status"] for v in project.report()["verdicts"]] == ["passed", "passed"]


def test_a_rate_is_kept_from_below(project):
    project.write(budget("@pytest.mark.lem_budget(tokens_per_second=1e9)"))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tokens_per_second * breaks its budget of 1e+09 tok/s*"])


def test_a_broken_budget_is_an_ordinary_failure_for_xfail(project):
    project.write(budget("@pytest.mark.xfail(strict=True)\n@pytest.mark.lem_budget(power_w=50)"))
    project.run().assert_outcomes(xfailed=1)
    project.write(budget("@pytest.mark.xfail(strict=True)\n@pytest.mark.lem_budget(power_w=150)"))
    project.run().assert_outcomes(failed=1)  # strict: it passed, and should not have


def test_a_budget_from_the_command_line_holds_for_every_lem_test(project):
    project.write()
    result = project.run("--lem-budget=power_w:50")
    result.assert_outcomes(failed=2)


def test_a_budget_without_a_measurement_fails(project):
    project.write(
        budget("@pytest.mark.lem_budget(power_w=50)").replace(
            "    lem_energy.measure(lem_backend, lem_workload)", "    pass"
        )
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the budget on power_w has no measurement to judge*"])


def test_joules_of_a_quick_run_are_not_gated(project):
    project.write(budget("@pytest.mark.lem_budget(joules_per_token=1e-9)"))
    result = project.run("--lem-quick", "--lem-rounds=2", "--lem-round-seconds=0.02", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*joules of a quick run (--lem-quick) are not gateable*"])


READ = TEST + "    assert lem_energy.joules_per_token < 1e9\n"


def test_without_any_meter_a_test_that_reads_joules_is_skipped_with_the_reason(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    project.write(READ)
    result = project.run("-o", "lem_meter=auto", "-rs", "-k", "b8")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(["*joules_per_token is not available: fake on package-0: the sensor is gone*"])
    assert project.metric("joules_per_token")["value"] is None
    assert project.metric("tokens_per_second")["value"] > 0


def test_with_a_named_meter_the_same_read_fails(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    project.write(READ)
    result = project.run("--lem-meter=fake", "-k", "b8")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*joules_per_token is not available: *the sensor is gone (a meter was named*"])
    assert result.ret == 1


def test_a_budget_on_absent_joules_fails_when_the_command_line_set_it(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    project.write(TEST)
    result = project.run("-o", "lem_meter=auto", "--lem-budget=joules_per_token:1", "-k", "b8")
    result.assert_outcomes(failed=1, deselected=1)
    project.write(budget("@pytest.mark.lem_budget(joules_per_token=1)"))
    project.run("-o", "lem_meter=auto").assert_outcomes(skipped=1)


def test_a_get_of_an_absent_quantity_is_none(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "unreadable")
    project.write(TEST + "    assert lem_energy.get('joules_per_token') is None\n")
    project.run("-o", "lem_meter=auto").assert_outcomes(passed=2)


def test_rounds_that_a_guard_refused_are_invalid_and_measure_nothing(project, monkeypatch):
    monkeypatch.setenv("FAKE_METER", "fault")
    project.write()
    project.run("-k", "b8").assert_outcomes(passed=1, deselected=1)
    rounds = project.report()["measurements"][0]["cycles"][0]["rounds"]
    assert {(r["valid"], r["reason"]) for r in rounds} == {(False, "package-0: counter stood still")}
    assert "counter stood still" in project.metric("tokens_per_second")["reason"]


def test_headline_numbers_are_plain_properties_in_junit(project):
    project.write()
    project.run("--junitxml=junit.xml").assert_outcomes(passed=2)
    for case in ET.parse(project.pytester.path / "junit.xml").iter("testcase"):
        values = {p.get("name"): float(p.get("value")) for p in case.iter("property")}
        assert values["lem_power_w"] == pytest.approx(100)
        assert values["lem_joules_per_token"] > 0


@pytest.mark.parametrize(
    "workers", [(), *(pytest.param(("-n", count), marks=pytest.mark.xdist) for count in "12")], ids=["alone", "1", "2"]
)
def test_a_users_own_property_arrives_as_a_plain_number(project, workers):
    project.write(
        TEST.replace("lem_energy):", "lem_energy, record_property):")
        + "    record_property('mine', lem_energy.joules_per_token)\n"
    )
    result = project.subprocess("--junitxml=junit.xml", "-o", "junit_family=xunit1", *workers)
    result.assert_outcomes(passed=2)
    cases = list(ET.parse(project.pytester.path / "junit.xml").iter("testcase"))
    found = [p.get("value") for case in cases for p in case.iter("property") if p.get("name") == "mine"]
    assert len(found) == 2
    assert all(float(value) > 0 for value in found)
    report = project.report()
    assert report["run"]["complete"] is True
    assert len(report["measurements"]) == 2
    result.stdout.fnmatch_lines(["*lem: energy of inference*"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--lem-backend=pytroch"], "*--lem-backend: unknown backend 'pytroch'; did you mean 'pytorch'?*"),
        (["--lem-precision=fp9"], "*--lem-precision: unknown precision 'fp9'; known: float32 (fp32)*"),
        (["--lem-batch=0"], "*--lem-batch: a batch is a whole number from 1, got '0'*"),
        (["--lem-meter=nvml"], "*--lem-meter=nvml*"),
        (["--lem-meter=watts"], "*--lem-meter*watts*"),
        (
            ["--lem-budget=joule_per_token:1"],
            "*--lem-budget: unknown metric 'joule_per_token'; the nearest known one is 'joules_per_token'*",
        ),
        (["--lem-budget=power_w:much"], "*--lem-budget=power_w:much: a limit is a number, 0 or more, got 'much'*"),
        (["--lem-budget=power_w:-1"], "*--lem-budget=power_w:-1: a limit is a number, 0 or more, got '-1'*"),
        (["--lem-rounds=0"], "*--lem-rounds: rounds: Input should be greater than or equal to 1 (got 0)*"),
        (
            ["--lem-round-seconds=inf"],
            "*--lem-round-seconds: round_seconds: Input should be a finite number (got inf)*",
        ),
        (["--lem-save=feature/x"], "*--lem-save=feature/x: no baseline can have this name: take up to 60 letters*"),
        (["--lem-tariff=cheap"], "*--lem-tariff=cheap: expected the price of a kWh, such as 0.30EUR*"),
        (["--lem-json=nowhere/out.json"], "*--lem-json=nowhere/out.json: there is no such folder*"),
        (["--lem-carbon=ZZZ"], "*--lem-carbon=ZZZ: no country has this code; the nearest is ZWE*"),
        (["--lem-python=fake"], "*--lem-python=fake: expected ENGINE=PATH*"),
        (["--lem-model=synthetic:lama-3.2-1b"], "*synthetic:lama-3.2-1b*llama-3.2-1b*"),
        (["--lem-results=/dev/null/x"], "*--lem-results=/dev/null/x: results cannot be written there*"),
    ],
)
def test_an_option_that_cannot_be_gives_one_line_and_a_non_zero_exit(project, arguments, line):
    project.write()
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {line}"])
    assert len([x for x in result.stderr.lines if x.strip()]) == 1
    assert project.runs() == []  # an empty one would be the newest: what `lem report` and `--lem-resume` take


def test_a_model_folder_without_a_config_is_one_line(project):
    (project.pytester.path / "model").mkdir()
    project.write()
    result = project.run("--lem-model=./model")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *config.json*"])


def test_a_marker_with_an_unknown_metric_is_refused_while_collecting(project):
    project.write(budget("@pytest.mark.lem_budget(joule_per_token=1)"))
    result = project.run()
    assert result.ret != 0
    assert "unknown metric 'joule_per_token'; the nearest known one is 'joules_per_token'" in (
        result.stdout.str() + result.stderr.str()
    )


def test_a_marker_with_an_unknown_keyword_is_refused_while_collecting(project):
    project.write(TEST.replace("output_tokens", "ouput_tokens"))
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*unknown keyword 'ouput_tokens'; the nearest known one is 'output_tokens'*"])
    assert "Traceback" not in result.stdout.str()
