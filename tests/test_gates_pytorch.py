"""Gates end to end: the real PyTorch engine on the CPU, through the command line, read back from JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]

TEST = """
import pytest

@pytest.mark.lem(
    model="synthetic:tiny", precision="float32", batch=2, prompt_tokens=256, output_tokens=16, latency=False,
    rounds=10, round_seconds=0.5, warmup_rounds=2, warmup_seconds=1, pytorch={"use_cache": %s},
)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
GATE = ("--lem-baseline=main", "--lem-fail-on=tokens_per_second:5%")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def run(project, pytester, monkeypatch):
    """Pytest in the project's folder, all tests of this module the same one: what a branch and its CI share."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(project)

    def run(test, *options):
        (project / "test_it.py").write_text(test)
        junit = project / "junit.xml"
        result = pytester.runpytest_subprocess(
            f"--rootdir={project}", f"--lem-results={project}/.lem", f"--junitxml={junit}", *options, project
        )
        return result, {case.get("name"): case for case in ET.parse(junit).iter("testcase")}

    return run


def test_a_decoding_that_lost_its_cache_fails_the_build_and_the_same_commit_does_not(run):
    for _ in range(3):
        run(TEST % True, "--lem-save=main")[0].assert_outcomes(passed=1)

    result, cases = run(TEST % True, *GATE)
    assert cases["test_decode[pytorch-fp32-b2-gate-tokens_per_second]"].find("failure") is None
    assert result.parseoutcomes()["passed"] == 2

    result, cases = run(TEST % False, *GATE)
    result.assert_outcomes(passed=1, failed=1)
    failure = cases["test_decode[pytorch-fp32-b2-gate-tokens_per_second]"].find("failure")
    assert failure.get("message").startswith("Failed: tokens_per_second: REGRESSED −")
    assert "3 runs, 2 launches, " in failure.get("message")
    assert "use_cache=True then, use_cache=False now" in failure.get("message")
    assert cases["test_decode[pytorch-fp32-b2-c0]"].find("failure") is None
