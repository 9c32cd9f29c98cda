"""`pytest --lem-duel=git:REF` as a user calls it: this checkout's engine beside that of another commit."""

from __future__ import annotations

import pytest
from test_duel_environment import ADAPTER, SETUP, git
from users_project import CONFTEST

SHOP = """
from pathlib import Path
from pytest_lem.engines.entry import EngineEntry
ENTRY = EngineEntry("shop", Path(__file__).with_name("shop_adapter.py"))
"""
DECODE = """
import pytest

@pytest.mark.lem(backend="shop", batch=2, prompt_tokens=4, output_tokens=5)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


@pytest.fixture
def shop(project, monkeypatch):
    """A project in git, whose engine runs the project's code; its newest commit made that three times as slow."""
    folder, info = project.pytester.path, project.pytester.path / "site" / "lem_shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lem-shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_lem.engines]\nshop = lem_shop:ENTRY\n")
    (info.parent / "lem_shop.py").write_text(SHOP)
    (info.parent / "shop_adapter.py").write_text(ADAPTER)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    project.write(DECODE)
    git(folder, "init", "--quiet", "--initial-branch=work")
    for token_seconds in (0.001, 0.003):
        (folder / "shop.py").write_text(f"TOKEN_SECONDS = {token_seconds}\n")
        git(folder, "add", "shop.py", "test_it.py", "conftest.py", "pytest.ini")
        git(folder, "commit", "--quiet", "-m", f"take {token_seconds} s a token")
    git(folder, "branch", "main", "HEAD~1")
    return project


def test_a_commit_that_made_the_code_slower_fails_against_the_one_before(shop):
    options = ("--lem-duel=git:main", f"--lem-duel-setup={SETUP}", "--lem-fail-on=tokens_per_second:5%")
    result = shop.run("--lem-rounds=4", *options)
    result.assert_outcomes(passed=1, failed=1)
    (verdict,) = [each for each in shop.report()["verdicts"] if each["kind"] == "gate"]
    assert verdict["comparison"]["outcome"] == "REGRESSED"
    assert verdict["comparison"]["estimate"] == pytest.approx(-2 / 3, abs=0.01)
    result.stdout.fnmatch_lines(["*REGRESSED −67 % * vs git:main (duel of 12 pairs, 2 launches of each)*"])
    assert git(shop.pytester.path, "worktree", "list").count("\n") == 0


def test_the_same_commit_on_both_sides_passes(shop):
    options = ("--lem-duel=git:work", f"--lem-duel-setup={SETUP}", "--lem-fail-on=tokens_per_second:5%")
    shop.run("--lem-rounds=4", *options).assert_outcomes(passed=2)


@pytest.mark.parametrize(("options", "loaded"), [((), False), (("--lem-duel=spec:precision=float16",), True)])
def test_only_a_duel_loads_what_makes_one(project, options, loaded):
    """Every run pays for what it imports before its first test."""
    project.write()
    tell = "\ndef pytest_collection_finish():\n    import sys\n    print('loaded', 'pytest_lem.duel' in sys.modules)\n"
    project.pytester.makeconftest(CONFTEST + tell)
    project.subprocess("--collect-only", *options).stdout.fnmatch_lines([f"*loaded {loaded}"])
