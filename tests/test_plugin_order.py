"""The order that a run takes: launches together, plain tests in peace, shards that add up."""

from __future__ import annotations

from itertools import chain

import pytest

from pytest_lem.campaign.order import ORDERS

CAMPAIGN = """
import pytest

def test_first():
    pass

FAKE = {"backend": "fake", "fake": {"token_seconds": 0.001}, "output_tokens": 4, "cycles": 2}

@pytest.mark.lem(precision=["bf16", "fp16"], batch=[1, 8], **FAKE)
def test_decode(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)

def test_window(lem_energy):
    with lem_energy.window("anything"):
        pass

def test_middle():
    pass

@pytest.mark.lem(precision="bf16", **FAKE)
def test_same_engine(lem_backend):
    assert lem_backend.name == "fake"

def test_last():
    pass
"""
GROUPED = [
    "test_first",
    *("test_decode[fake-bf16-b1-c0]", "test_decode[fake-bf16-b8-c0]", "test_same_engine[fake-bf16-c0]"),
    *("test_decode[fake-bf16-b1-c1]", "test_decode[fake-bf16-b8-c1]", "test_same_engine[fake-bf16-c1]"),
    *("test_decode[fake-fp16-b1-c0]", "test_decode[fake-fp16-b8-c0]"),
    *("test_decode[fake-fp16-b1-c1]", "test_decode[fake-fp16-b8-c1]"),
    "test_window",
    *("test_middle", "test_last"),
]


@pytest.fixture
def campaign(project):
    project.write(CAMPAIGN)
    return project


def collected(project, *arguments):
    """The names of the tests that would run, in order."""
    result = project.run("--collect-only", "-q", "-p", "no:cacheprovider", *arguments)
    assert result.ret in (0, 5)
    return [line.partition("::")[2] for line in result.outlines if line.startswith("test_it.py::")]


def test_experiments_of_one_engine_run_together_and_plain_tests_keep_their_order(campaign):
    assert collected(campaign) == GROUPED


def test_interleaved_comes_to_each_engine_before_the_second_cycle_of_any(campaign):
    assert collected(campaign, "--lem-order=interleaved")[1:11] == [
        *("test_decode[fake-bf16-b1-c0]", "test_decode[fake-bf16-b8-c0]", "test_same_engine[fake-bf16-c0]"),
        *("test_decode[fake-fp16-b1-c0]", "test_decode[fake-fp16-b8-c0]"),
        *("test_decode[fake-bf16-b1-c1]", "test_decode[fake-bf16-b8-c1]", "test_same_engine[fake-bf16-c1]"),
        *("test_decode[fake-fp16-b1-c1]", "test_decode[fake-fp16-b8-c1]"),
    ]


def test_latin_turns_the_engines_and_what_each_launch_begins_with(campaign):
    assert collected(campaign, "--lem-order=latin")[1:11] == [
        *("test_decode[fake-bf16-b1-c0]", "test_decode[fake-bf16-b8-c0]", "test_same_engine[fake-bf16-c0]"),
        *("test_decode[fake-fp16-b1-c0]", "test_decode[fake-fp16-b8-c0]"),
        *("test_decode[fake-fp16-b8-c1]", "test_decode[fake-fp16-b1-c1]"),
        *("test_decode[fake-bf16-b8-c1]", "test_same_engine[fake-bf16-c1]", "test_decode[fake-bf16-b1-c1]"),
    ]


def test_shuffled_follows_its_seed(campaign):
    first = collected(campaign, "--lem-order=shuffled", "--lem-seed=1")
    assert collected(campaign, "--lem-order=shuffled", "--lem-seed=1") == first
    assert collected(campaign, "--lem-order=shuffled") == collected(campaign, "--lem-order=shuffled", "--lem-seed=0")
    assert len({tuple(collected(campaign, "--lem-order=shuffled", f"--lem-seed={seed}")) for seed in range(4)}) > 1
    assert sorted(first) == sorted(GROUPED)
    assert [name for name in first if "[" not in name] == ["test_first", "test_window", "test_middle", "test_last"]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_starts_each_engine_once_a_cycle(campaign, order):
    result = campaign.run(f"--lem-order={order}")
    result.assert_outcomes(passed=14)
    assert len(list(campaign.runs()[-1].glob("logs/*"))) == 4


def test_a_run_without_an_engine_keeps_its_order(project):
    project.write("\n".join(f"def test_{name}: pass" for name in ("a()", "b(lem_energy)", "c()", "d(lem_energy)")))
    assert collected(project, "--lem-order=shuffled") == ["test_a", "test_b", "test_c", "test_d"]


def test_a_selection_is_ordered_like_the_whole(campaign):
    names = collected(campaign, "-k", "b8 or last")
    assert names == [name for name in GROUPED if "b8" in name or "last" in name]


@pytest.mark.parametrize("order", ["grouped", "shuffled"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_add_up_to_the_whole_whatever_the_order(campaign, count, order):
    shards = [
        collected(campaign, f"--lem-shard={number}/{count}", f"--lem-order={order}") for number in range(1, count + 1)
    ]
    plain = ["test_first", "test_middle", "test_last"]
    measured = [[name for name in shard if name not in plain] for shard in shards]
    assert all([name for name in shard if name in plain] == plain for shard in shards)  # plain tests run in each
    assert sorted(chain(*measured)) == sorted(name for name in GROUPED if name not in plain)
    for shard in measured:  # all cycles of an experiment in one
        assert {name for name in shard if name.endswith("c0]")} == {
            name.replace("c1]", "c0]") for name in shard if name.endswith("c1]")
        }


def test_a_shard_holds_neighbours_so_that_few_engines_start_twice(campaign):
    first, second = (collected(campaign, f"--lem-shard={number}/2") for number in (1, 2))
    assert not any("fp16" in name for name in first)
    assert not any("bf16" in name for name in second)


def test_shards_agree_where_something_else_shuffles_the_tests(campaign):
    other_engine_first = (
        'def pytest_collection_modifyitems(items):\n    items.sort(key=lambda item: "bf16" in item.name)\n'
    )
    campaign.pytester.makeconftest(other_engine_first)
    shuffled_first = collected(campaign, "--lem-shard=1/2")
    campaign.pytester.makeconftest("")
    second = collected(campaign, "--lem-shard=2/2")
    both = [name for name in [*shuffled_first, *second] if "[" in name]
    assert sorted(both) == sorted(name for name in GROUPED if "[" in name)


def test_what_other_shards_run_counts_as_deselected(campaign):
    result = campaign.run("--collect-only", "-q", "--lem-shard=2/2")
    result.stdout.fnmatch_lines(["*8/14 tests collected (6 deselected)*"])


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--lem-order=random", "*--lem-order=random: there is no such order; known: grouped, interleaved, *"),
        ("--lem-shard=3/2", "*--lem-shard=3/2: expected I/N with I from 1 to N, like 1/4*"),
        ("--lem-lanes=0", "*--lem-lanes=0: at least 1 lane must be left to measure in*"),
        ("--lem-gpus-per-worker=0", "*--lem-gpus-per-worker=0: a lane needs at least 1*"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_collected(campaign, option, line):
    result = campaign.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])
