"""A search from a test: the cheapest batch that keeps a service level, and what is kept of the way there."""

from __future__ import annotations

import pytest

SEARCH = """
import pytest

@pytest.mark.lem(backend="fake", batch=1, output_tokens=4, {lem})
@pytest.mark.lem_search({search})
def test_cheapest(lem_backend, lem_workload, lem_energy):
    found = lem_energy.search(lem_backend, lem_workload)
    print("FOUND", found.value, found.measurement.name, float(lem_energy.joules_per_token) > 0)
"""
# A step takes 2 ms, and 0.25 ms more for each other request: joules a token fall with the batch, times rise.
CROWD = "fake={'traffic': True, 'token_seconds': 0.002, 'crowd_seconds': 0.00025}"


@pytest.fixture
def searched(project):
    def run(search: str, *arguments: str, lem: str = CROWD):
        project.write(SEARCH.format(lem=lem, search=search))
        return project.run("--lem-rounds=3", "-s", *arguments)

    return run


def record(project):
    (found,) = project.report()["searches"]
    return found


def test_the_cheapest_batch_that_keeps_its_times_is_found_and_every_point_is_kept(project, searched):
    result = searched("over='batch', values=[1, 2, 4, 8, 16, 32], slo={'tpot_ms': 4.5}")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*FOUND 8 batch=8 True*"])  # 2 + 7 × 0.25 = 3.75 ms; a batch of 16 takes 5.75 ms
    found = record(project)
    assert (found["best"], found["objective"], found["unit"]) == (8, "joules_per_token", "J/tok")
    assert [point["value"] for point in found["points"]] == [4, 16, 8]
    assert found["points"][1]["why"].startswith("tpot_ms 5.")
    names = {one["name"] for one in project.report()["measurements"]}
    assert names == {"batch=4", "batch=8", "batch=16"}
    assert found["rounds"] == 9
    assert found["front"] == [4, 8, 16]


def test_more_is_better_of_throughput(project, searched):
    searched("over='batch', values=[1, 4, 16], objective='tokens_per_second'").assert_outcomes(passed=1)
    assert record(project)["best"] == 16


def test_where_nothing_keeps_the_level_the_test_fails_and_says_by_how_much(searched):
    result = searched("over='batch', values=[1, 2, 4], slo={'tpot_ms': 0.5}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*search over batch: no setting keeps the service level; batch=1: tpot_ms * is over 0.5 ms*"]
    )


def test_an_option_of_the_engine_is_searched_with_an_engine_for_each(project, searched):
    searched("over='fake.token_seconds', values=[0.001, 0.002, 0.004], objective='seconds'").assert_outcomes(passed=1)
    assert record(project)["best"] == 0.001
    engines = {one["engine"]["requested"]["options"]["token_seconds"] for one in project.report()["measurements"]}
    assert {0.001, 0.002} <= engines


def test_a_concurrency_is_searched_in_the_traffic(project, searched):
    lem = f"{CROWD}, traffic={{'concurrency': 1, 'requests': 12}}"
    result = searched("over='traffic.concurrency', values=[1, 2, 4], objective='tokens_per_second'", lem=lem)
    result.assert_outcomes(passed=1)
    assert record(project)["best"] == 4


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ("over='btch'", "*@pytest.mark.lem_search: over: unknown field 'btch'; the nearest known one is 'batch'*"),
        ("over='batch', slo={'tpt_ms': 3}", "*lem_search: slo: unknown metric 'tpt_ms'; the nearest known one is*"),
        ("over='batch', slo={'tpot_ms': 'low'}", "*lem_search: slo: tpot_ms: expected a number, got 'low'*"),
        ("over='batch', values=[0]", "*lem_search: over='batch': batch: Input should be greater than or equal to 1*"),
        ("over='batch', values='all'", "*lem_search: values: expected a list of numbers, got 'all'*"),
        ("objective='seconds'", "*lem_search: over names a field of the workload, such as 'batch' or 'traffic.qps'*"),
        ("over='batch', goal='x'", "*lem_search: unknown keyword 'goal'; the nearest known one is*"),
    ],
)
def test_a_search_that_cannot_be_is_one_line(searched, search, line):
    result = searched(search)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])
