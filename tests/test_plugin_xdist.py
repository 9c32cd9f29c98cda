"""A campaign over xdist's workers: each experiment on one lane, everything once, plain tests in peace."""

from __future__ import annotations

from itertools import groupby

import pytest
from xdist_campaign import EXPERIMENTS

from pytest_lem.plugin.distribution import auto_workers

pytestmark = pytest.mark.xdist
LANES = ("-n2", "--lem-lanes=2")
EVERYTHING = sorted(["test_first", *EXPERIMENTS, "test_last"])


def on_one_worker_each(campaign):
    """Whether all that one engine's spec measured was measured by one worker, and the two by two."""
    by_worker = [{name.split("-")[1] for name in names} for names in campaign.measured().values()]
    return sorted(map(sorted, by_worker)) == [["bf16"], ["fp16"]]


def test_two_lanes_measure_side_by_side_each_its_own_experiments(campaign):
    result = campaign.run(*LANES)
    result.assert_outcomes(passed=10)
    assert sorted(campaign.names()) == EVERYTHING
    assert on_one_worker_each(campaign)
    assert campaign.engine_starts() == 4  # two engines, two cycles
    for lane in "01":
        own = [name for _, number, _, _, name in campaign.ran() if number == lane and name in EXPERIMENTS]
        assert own == [name for name in EXPERIMENTS if name in own]  # in the run's order
    report = campaign.project.report()
    assert (report["missing"], report["run"]["complete"]) == ([], True)


TWO_TESTS_OF_ONE_ENGINE = """
import pytest

FAKE = {"backend": "fake", "fake": {"token_seconds": 0.001}, "output_tokens": 4, "cycles": 2}

@pytest.mark.lem(prompt_tokens=[4, 8], **FAKE)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)

@pytest.mark.lem(model=["synthetic:tiny", "synthetic:tiny-moe"], **FAKE)
def test_models(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def test_one_engine_starts_as_often_on_two_lanes_as_alone_whatever_its_tests_are_called(campaign):
    """`test_decode[fake-bf16-in4-…]` and `test_models[fake-tiny-bf16-…]` need one engine, `tiny_moe` another."""
    campaign.project.write(TWO_TESTS_OF_ONE_ENGINE)
    for options in ((), ("-n1",), LANES):
        result = campaign.run(*options)
        result.assert_outcomes(passed=8)
        result.stdout.fnmatch_lines(["lem: 8 tests of 4 experiments in 2 cycles, 4 engine starts*"])
        assert campaign.engine_starts() == 4
    other, shared = sorted(campaign.measured().values(), key=len)
    assert other == {f"test_models[fake-tiny_moe-bf16-b1-c{cycle}]" for cycle in (0, 1)}
    assert len(shared) == 6


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["load", "loadscope", "loadfile", "loadgroup", "worksteal"])
def test_every_mode_of_distribution_comes_to_the_same_lanes(campaign, mode):
    campaign.run(*LANES, f"--dist={mode}").assert_outcomes(passed=10)
    assert sorted(campaign.names()) == EVERYTHING
    assert on_one_worker_each(campaign)
    assert campaign.engine_starts() == 4


@pytest.mark.slow
def test_with_each_and_with_no_distribution_there_are_no_lanes(campaign):
    campaign.run("-n2", "--lem-lanes=2", "--dist=each").assert_outcomes(passed=20)
    assert {lane for _, lane, *_ in campaign.ran()} == {"None"}
    for worker in ("gw0", "gw1"):  # each has run everything, in the run's order
        own = [name for who, *_, name in campaign.ran() if who == worker]
        assert own == ["test_first", *EXPERIMENTS, "test_last"]
    campaign.run("--lem-lanes=2", "--dist=no").assert_outcomes(passed=10)
    assert [(who, name) for who, *_, name in campaign.ran()] == [
        ("None", name) for name in ("test_first", *EXPERIMENTS, "test_last")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["grouped", "interleaved", "shuffled", "latin"])
def test_every_order_holds_inside_a_lane(campaign, order):
    ordered = [f"--lem-order={order}", "--lem-seed=3", "--lem-cycles=3"]
    told = campaign.run("--collect-only", "-q", *ordered).outlines
    planned = [line.partition("::")[2] for line in told if "::test_decode[" in line]
    campaign.run(*LANES, *ordered).assert_outcomes(passed=14)
    assert sorted(campaign.names()) == sorted(["test_first", *planned, "test_last"])
    assert len(planned) == 12
    for lane in "01":
        own = [name for _, number, _, _, name in campaign.ran() if number == lane and name in planned]
        assert own == [name for name in planned if name in own]
    assert on_one_worker_each(campaign)
    assert campaign.engine_starts() == 6  # a launch's items stay together


def test_a_worker_too_many_measures_nothing_and_waits_with_plain_tests_until_all_have_measured(campaign):
    campaign.run("-n3", "--lem-lanes=1").assert_outcomes(passed=10)
    ran = campaign.ran()
    assert {worker for worker, lane, _, _, name in ran if name in EXPERIMENTS} == {
        worker for worker, lane, *_ in ran if lane == "0"
    }
    assert {lanes for _, _, lanes, _, _ in ran} == {"1"}
    phases = [measures for measures, _ in groupby(name in EXPERIMENTS for name in campaign.names())]
    assert phases == [True, False]


def test_the_first_failure_stops_all_lanes_soon(campaign):
    campaign.project.write(
        campaign.path.joinpath("test_it.py").read_text().replace("lem_energy.measure(", "assert 0, (")
    )
    result = campaign.run(*LANES, "-x", "--lem-cycles=20")
    assert result.ret != 0
    assert "were lost" not in result.stdout.str()
    assert 1 <= len(campaign.names()) <= 5  # of 80: what ran, and what the workers held


def test_a_selection_and_the_last_failures_run_alone(campaign):
    test = campaign.path.joinpath("test_it.py")
    sound = test.read_text()
    campaign.project.write(sound.replace("    lem_energy.measure(", "    assert lem_workload.batch == 1\n    ("))
    campaign.run(*LANES, "-k", "c1 or last").assert_outcomes(passed=3, failed=2)
    failed = ["test_decode[fake-bf16-b8-c1]", "test_decode[fake-fp16-b8-c1]"]
    assert sorted(campaign.names()) == sorted([name for name in EXPERIMENTS if "c1" in name] + ["test_last"])
    test.write_text(sound)
    campaign.run(*LANES, "--lf").assert_outcomes(passed=2)
    assert sorted(campaign.names()) == failed


def test_a_shard_is_spread_over_lanes_too(campaign):
    campaign.run(*LANES, "--lem-shard=2/2").assert_outcomes(passed=6)
    assert {name.split("-")[1] for names in campaign.measured().values() for name in names} == {"fp16"}


def test_a_run_without_experiments_is_distributed_by_xdist_as_ever(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "my-own")
    project.pytester.makefile(".ini", pytest="[pytest]\n")
    project.pytester.makeconftest("")
    project.write(
        """
        import os, pytest

        @pytest.mark.parametrize("number", range(8))
        def test_plain(number, request):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "my-own"
            assert "lem_gpus" not in request.config.workerinput
        """
    )
    project.subprocess("-n2", "--dist=loadscope").assert_outcomes(passed=8)


def test_auto_is_a_matter_of_ours_where_the_project_has_a_file_for_us(project, monkeypatch):
    project.pytester.makefile(".ini", pytest="[pytest]\n")
    (project.pytester.path / "lem.yaml").write_text("batch: 8\n")
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    assert auto_workers(project.pytester.parseconfig()) == 1  # no GPU here


@pytest.mark.parametrize(("arguments", "workers"), [((), None), (("--lem-lanes=3",), 3), (("--lem-quick",), 1)])
def test_auto_is_a_matter_of_ours_only_where_an_option_asks(project, monkeypatch, arguments, workers):
    project.pytester.makefile(".ini", pytest="[pytest]\n")
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    assert auto_workers(project.pytester.parseconfig(*arguments)) == workers
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "7")
    assert auto_workers(project.pytester.parseconfig(*arguments)) is None  # the user's own word counts more


ONE_ENGINE_OF_TWO_FAILS = """
import pytest

SOUND, BROKEN = {"token_seconds": 0.001}, {"at": "load", "fault": "exit"}

@pytest.mark.lem(backend="fake", fake=[BROKEN, SOUND], batch=[1, 2, 3], output_tokens=4)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def test_a_lane_whose_engines_all_fail_gives_up_and_the_other_measures_on(campaign):
    campaign.project.write(ONE_ENGINE_OF_TWO_FAILS)
    result = campaign.run(*LANES, "--lem-max-engine-failures=1")
    result.assert_outcomes(errors=1, skipped=2, passed=3)
    missing = campaign.project.report()["missing"]
    assert [": failed: " in line for line in missing] == [True, False, False]
    assert all(": not run: an engine failed" in line for line in missing[1:])
