"""In CI a skip without an excuse fails the run and says so; elsewhere it is a skip."""

from __future__ import annotations

import re

import pytest
from project import ROOT

SKIPS = """
    import pytest

    def test_passes():
        assert True

    @pytest.mark.skipif(True, reason="the library is missing")
    def test_needs_a_library():
        pass

    @pytest.mark.gpu
    @pytest.mark.skipif(True, reason="no GPU")
    def test_needs_a_gpu():
        pass

    @pytest.mark.torch
    @pytest.mark.skipif(True, reason="no torch")
    def test_needs_torch():
        pass

    @pytest.mark.xfail
    def test_is_known_to_fail():
        assert False
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("LEM_TESTS_WITHOUT", raising=False)
    pytester.makeini("[pytest]\nmarkers =\n    gpu\n    torch\n")

    def run(source: str, **environment: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return pytester.runpytest("-p", "no_skips")

    return run


def test_a_skip_in_ci_fails_the_run_and_names_the_test_and_its_reason(run) -> None:
    result = run(SKIPS, CI="true", LEM_TESTS_WITHOUT="torch")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*these skips fail the run:", "*test_needs_a_library: *the library is missing"])
    result.stdout.no_fnmatch_line("*::test_needs_torch: *")
    result.stdout.no_fnmatch_line("*::test_needs_a_gpu: *")
    result.assert_outcomes(passed=1, skipped=3, xfailed=1)


def test_torch_may_be_absent_only_where_the_environment_says_so(run) -> None:
    result = run(SKIPS, CI="true")
    result.stdout.fnmatch_lines(["*::test_needs_torch: *no torch"])


def test_outside_ci_a_skip_is_a_skip(run) -> None:
    result = run(SKIPS)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*these skips fail the run:")


def test_a_module_that_skips_itself_fails_the_run_too(run) -> None:
    result = run("import pytest\npytest.importorskip('no_such_module')", CI="true")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*these skips fail the run:", "*no_such_module*"])


@pytest.mark.xdist
def test_a_skip_on_a_worker_fails_the_run_too(run, pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(SKIPS)
    result = pytester.runpytest_subprocess("-p", "no_skips", "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len([line for line in result.outlines if "::test_needs_a_library: " in line]) == 1


def test_a_run_that_a_test_starts_knows_nothing_of_the_workers_around_it(pytester) -> None:
    pytester.makepyfile(
        """
        import os

        def test_alone():
            assert [name for name in os.environ if name.startswith("PYTEST_XDIST")] == []
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_what_one_environment_lacks_another_has() -> None:
    """Else a test could be excused everywhere, and nobody would notice."""
    text = "\n".join((ROOT / name).read_text() for name in ("Makefile", "tox.ini"))
    told = [set(words.replace(",", " ").split()) for words in re.findall(r"LEM_TESTS_WITHOUT :?=(.*)", text)]
    assert {"torch", "vllm", "xdist", "neighbours"} in told
    assert {"neighbours"} in told  # with torch and xdist; its tests of vLLM are not selected
    assert {"torch", "vllm"} in told  # with xdist and neighbours
    assert set() in told  # vLLM's own
