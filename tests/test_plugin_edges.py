"""What users do that nobody planned for."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from users_project import TEST

from pytest_lem.campaign.matrix import Layers, cells, protocol
from pytest_lem.meters.nvml import library
from pytest_lem.model.errors import UsageError


def test_models_of_one_short_name_are_told_apart():
    found = cells(Layers({"model": ["org1/llama", "org2/llama", "x/llama"]}, {}, {}, {}), ("pytorch",))
    assert [cell.id for cell in found] == [
        "pytorch-llama-bf16-b1-c0",
        "pytorch-llama_no2-bf16-b1-c0",
        "pytorch-llama_no3-bf16-b1-c0",
    ]


def test_an_engines_section_that_is_no_dictionary_is_one_line():
    with pytest.raises(UsageError, match=r"lem: pytorch: expected options as a dictionary, .* got 'eager'"):
        cells(Layers({"pytorch": "eager"}, {}, {}, {}), ("pytorch",))


def test_an_empty_list_is_refused_rather_than_filled_by_a_default():
    with pytest.raises(UsageError, match="batch is empty"):
        cells(Layers({"batch": []}, {}, {}, {}), ("pytorch",))


def test_a_first_look_is_short_whatever_the_project_says_unless_an_option_says_otherwise():
    project = Layers({"rounds": 30}, {}, {"round_seconds": 9.0}, {})
    asked = Layers({"rounds": 30}, {"rounds": 6}, {}, {})
    assert (protocol(project, quick=True).rounds, protocol(project, quick=True).round_seconds) == (4, 1.05)
    assert protocol(asked, quick=True).rounds == 6


@pytest.mark.parametrize("inner", ["window('inner')", "window('outer')"])
def test_a_window_inside_a_window_is_refused_and_the_outer_one_is_kept(project, inner):
    project.write(
        f"""
        import pytest
        from pytest_lem import LemError

        def test_nested(lem_energy):
            with lem_energy.window("outer") as outer:
                with pytest.raises(LemError, match="inside the window 'outer'"):
                    with lem_energy.{inner}:
                        pass
            assert outer.seconds > 0
        """
    )
    project.run().assert_outcomes(passed=1)
    assert [m["name"] for m in project.report()["measurements"]] == ["outer"]


def test_a_window_that_raises_is_in_the_report_as_failed(project):
    project.write(
        """
        def test_broken(lem_energy):
            with lem_energy.window("good"):
                pass
            with lem_energy.window("bad"):
                raise ValueError("mine")
        """
    )
    project.run().assert_outcomes(failed=1)
    report = project.report()
    assert [m["cycles"][0]["stopped"] for m in report["measurements"]] == ["rounds", "failed"]
    assert report["missing"] == ["test_it.py::test_broken: failed: ValueError: mine"]


def test_a_number_read_inside_its_window_is_an_error_not_a_skip(project):
    project.write(
        """
        def test_early(lem_energy):
            with lem_energy.window("w") as window:
                window.power_w
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*power_w was read inside its window*"])


def test_a_test_that_is_cut_while_the_engine_works_costs_the_next_one_nothing(project):
    cut = """
    import signal
    def alarm(number, frame):
        raise RuntimeError("time is up")
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.6)
"""
    slow = TEST.replace("0.001", "0.1").replace("[1, 8]", "1").replace("test_decode", "test_cut")
    project.write(
        slow.replace("    lem_energy.measure", cut + "    lem_energy.measure")
        + slow.replace("import pytest", "").replace("test_cut", "test_next")
    )
    result = project.run("--lem-rounds=1")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*time is up*"])


def test_properties_of_tests_that_are_not_ours_are_not_touched(project):
    project.write(
        """
        def test_plain(request):
            request.node.user_properties.append(("mine", (1, 2)))
        """
    )
    conftest = project.pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
def pytest_runtest_logreport(report):
    if report.when == "call":
        assert report.user_properties == [("mine", (1, 2))]
"""
    )
    project.run().assert_outcomes(passed=1)


def test_an_emptied_lem_test_does_not_hide_a_failure_elsewhere(project):
    project.write(TEST + "\ndef test_bad(): assert False\n")
    assert project.run("--lem-batch=16").ret == pytest.ExitCode.TESTS_FAILED


def test_the_copy_of_the_report_may_be_asked_for_in_the_ini(project):
    project.write()
    project.run("-o", "lem_json=out.json", "-k", "b1").assert_outcomes(passed=1, deselected=1)
    assert json.loads((project.pytester.path / "out.json").read_text())["run"]["complete"] is True


def test_a_test_that_runs_again_is_judged_by_its_last_attempt(project):
    project.write()
    conftest = project.pytester.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem, log=False)
    item._initrequest()  # as pytest-rerunfailures does
    runtestprotocol(item, nextitem=nextitem)
    return True
"""
    )
    project.run("-k", "b1").assert_outcomes(passed=1, deselected=1)
    (measurement,) = project.report()["measurements"]
    assert len(measurement["cycles"]) == 2  # a rerun adds samples, it replaces none


@pytest.mark.parametrize(
    "options",
    [["--fixtures"], ["--setup-plan"], ["--collect-only"], ["--collect-only", "--lem-gap=cool"]],
    ids=" ".join,
)
def test_looking_at_a_project_touches_no_gpu_opens_no_meter_and_leaves_no_files(project, monkeypatch, options):
    touched = []
    nvml = ModuleType("pynvml")
    nvml.__getattr__ = lambda name: touched.append(name) or (lambda *_: None)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    library.cache_clear()
    project.write()
    assert project.run(*options).ret == pytest.ExitCode.OK
    library.cache_clear()
    assert touched == []
    assert project.runs() == []


def test_a_budget_on_a_test_that_cannot_measure_is_refused(project):
    project.write("import pytest\n@pytest.mark.lem_budget(power_w=1)\ndef test_it(): pass\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*@pytest.mark.lem_budget: the test must take lem_energy*"])


def test_a_limit_that_is_not_a_number_is_refused_before_measuring(project):
    project.write()
    result = project.run("--lem-budget=power_w:nan")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-budget=power_w:nan: a limit is a number, 0 or more, got 'nan'"])


def test_a_budget_for_every_test_says_nothing_of_plain_windows(project):
    project.write("def test_w(lem_energy):\n    with lem_energy.window('w'):\n        pass\n")
    project.run("--lem-budget=joules_per_token:1").assert_outcomes(passed=1)


def test_the_demo_takes_no_paths(project):
    project.write()
    result = project.run("--lem-demo", "test_it.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --lem-demo runs its own benchmark: leave the paths out"])


def test_pytests_help_shows_our_options_with_their_percents(project):
    shown = project.subprocess("--help")
    assert shown.ret == 0
    assert shown.stdout.str().count("joules_per_token:5%") == 2  # as an option, and as an ini value
