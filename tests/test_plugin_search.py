"""A search from a test: the cheapest batch that keeps a service level, and what is kept of the way there."""

from __future__ import annotations

import pytest

SEARCH = """
import pytest

@pytest.mark.lem(batch=1, output_tokens=4, {lem})
@pytest.mark.lem_search({search})
def test_cheapest(lem_backend, lem_workload, lem_energy):
    found = lem_energy.search(lem_backend, lem_workload)
    print("FOUND", found.value, found.measurement.name, float(lem_energy.joules_per_token) > 0)
"""
NEXT = """

@pytest.mark.lem(batch=1, output_tokens=4, {lem})
def test_next(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
# A step takes 2 ms, and 0.25 ms more for each other request: joules a token fall with the batch, times rise.
CROWD = "backend='fake', fake={'traffic': True, 'token_seconds': 0.002, 'crowd_seconds': 0.00025}"


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


def test_settings_of_the_workload_are_tried_on_the_one_engine_that_the_next_test_goes_on_with(project):
    project.write(SEARCH.format(lem=CROWD, search="over='batch', values=[1, 4, 16]") + NEXT.format(lem=CROWD))
    project.run("--lem-rounds=1").assert_outcomes(passed=2)
    measured = project.report()["measurements"]
    assert {one["name"] for one in measured} == {"batch=4", "batch=16", ""}
    assert len({cycle["launch"] for one in measured for cycle in one["cycles"]}) == 1


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


SLOTS = "backend='fake', fake={'traffic': True, 'token_seconds': 0.005, 'slots': 1}"  # 50 requests a second


def test_the_highest_rate_that_is_served_in_time_is_found(project, searched):
    lem = f"{SLOTS}, traffic={{'arrivals': 'constant', 'qps': 1, 'seconds': 1.4}}"
    search = "over='traffic.qps', values=[40, 80], slo={'ttft_p99_ms': 100}"
    searched(search, "--lem-rounds=1", lem=lem).assert_outcomes(passed=1)
    found = record(project)
    assert found["best"] == 40
    assert {point["value"]: point["meets"] for point in found["points"]} == {40: True, 80: False}
    (best,) = [one for one in project.report()["measurements"] if one["name"] == "traffic.qps=40"]
    assert best["metrics"]["requests_per_second"]["value"] == pytest.approx(40, rel=0.05)


def test_a_rate_that_was_over_before_it_was_steady_is_no_answer(project, searched):
    lem = f"{SLOTS}, traffic={{'qps': 1, 'requests': 8}}"
    result = searched("over='traffic.qps', values=[640], slo={'ttft_p99_ms': 1000}", "--lem-rounds=2", lem=lem)
    result.assert_outcomes(failed=1)
    why = "2 of 2 rounds have no steady time, so that this rate was never kept up; give it seconds, and more of them"
    result.stdout.fnmatch_lines([f"*no setting keeps the service level; traffic.qps=640: {why}*"])
    assert [(point["meets"], point["why"]) for point in record(project)["points"]] == [(False, why)]


def test_how_many_an_engine_runs_at_once_is_searched_as_any_option_of_it(project, searched):
    lem = f"{SLOTS}, traffic={{'concurrency': 4, 'requests': 16}}"
    result = searched("over='fake.slots', values=[1, 2, 4], objective='tokens_per_second'", "--lem-rounds=1", lem=lem)
    result.assert_outcomes(passed=1)
    found = record(project)
    assert (found["best"], found["over"]) == (4, "fake.slots")
    best = {one["name"]: one for one in project.report()["measurements"]}["fake.slots=4"]
    assert best["engine"]["observed"]["options"]["slots"] == 4


def test_a_search_keeps_the_workloads_own_service_level_where_it_names_none(project, searched):
    searched("over='batch', values=[1, 8, 32]", lem=f"{CROWD}, slo={{'tpot_ms': 4.5}}").assert_outcomes(passed=1)
    found = record(project)
    assert (found["best"], found["slo"]) == (8, {"slo_met": 1})
    assert {point["value"]: point["why"] for point in found["points"]}[32] == "0 % of requests met the service level"


def test_bounds_of_the_search_are_taken_instead_of_the_workloads(project, searched):
    lem = f"{CROWD}, slo={{'tpot_ms': 4.5}}"
    searched("over='batch', values=[1, 8, 32], slo={'tpot_ms': 20}", lem=lem).assert_outcomes(passed=1)
    assert (record(project)["best"], record(project)["slo"]) == (32, {"tpot_ms": 20})


def test_no_bounds_are_no_bounds(project, searched):
    lem = f"{CROWD}, slo={{'tpot_ms': 4.5}}"
    searched("over='batch', values=[8, 32], slo={}", lem=lem).assert_outcomes(passed=1)
    assert (record(project)["best"], record(project)["slo"]) == (32, {})


def test_a_traffic_that_the_test_gives_itself_is_searched(project):
    body = SEARCH.format(lem=CROWD, search="over='traffic.concurrency', values=[1, 4], objective='tokens_per_second'")
    given = "lem_workload.replace(traffic={'concurrency': 1, 'requests': 8})"
    project.write(body.replace("lem_backend, lem_workload)\n    print", f"lem_backend, {given})\n    print"))
    project.run("--lem-rounds=3").assert_outcomes(passed=1)
    assert record(project)["best"] == 4


def test_a_search_over_a_traffic_that_nobody_gives_is_one_line(searched):
    result = searched("over='traffic.qps', values=[1, 2]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*@pytest.mark.lem_search: over='traffic.qps': the workload has no traffic; give it by lem(traffic={...})*"]
    )


TINY = "backend='pytorch', model='synthetic:tiny'"
VLLM = "backend='vllm', model='synthetic:tiny'"
CLOSED = f"{CROWD}, traffic={{'concurrency': 1, 'requests': 12}}"


@pytest.mark.parametrize(
    ("search", "lem", "line"),
    [
        ("over='btch'", CROWD, "over: unknown field 'btch'; the nearest known one is 'batch'"),
        ("over='traffic.concurency'", CLOSED, "over: unknown field 'traffic.concurency'; *'traffic.concurrency'"),
        ("over='vllm.max_num_seqs'", CROWD, "over: unknown field 'vllm.max_num_seqs'; the nearest known one is *"),
        (
            "over='max_num_seqs'",
            VLLM,
            "over: unknown field 'max_num_seqs'; the nearest known one is 'vllm.max_num_seqs'",
        ),
        (
            "over='vllm.max_num_seqs', values=[0]",
            VLLM,
            "vllm.max_num_seqs=0: vllm: option max_num_seqs=0: Input should*",
        ),
        ("over='traffic.qps', values=[3]", CLOSED, "over='traffic.qps': closed arrivals take no qps; they take conc*"),
        ("over='batch', slo={'tpt_ms': 3}", CROWD, "slo: unknown metric 'tpt_ms'; the nearest known one is 'tpot_ms'"),
        ("over='batch', slo={'tpot_ms': 'low'}", CROWD, "slo: tpot_ms: expected a number, got 'low'"),
        ("over='batch', slo={'tpot_ms': float('nan')}", CROWD, "slo: tpot_ms: expected a number, got nan"),
        ("over='batch', slo='interactive'", CROWD, "slo: expected bounds on metrics, such as *, got 'interactive'"),
        ("over='batch', slo={3: 3}", CROWD, "slo: expected the name of a metric, got 3"),
        ("over='batch', objective='joules'", CROWD, "objective: unknown metric 'joules'; the nearest known one is *"),
        ("over='batch', objective=['seconds']", CROWD, "objective: expected the name of a metric, got [[]'seconds'[]]"),
        (
            "over='batch', latency='power_w'",
            CROWD,
            "latency: power_w is in W; name a metric in ms, such as tpot_p99_ms",
        ),
        ("over='batch', values=[0]", CROWD, "over='batch': batch: Input should be greater than or equal to 1 (got 0)"),
        ("over='batch', values=[1, 1.5]", CROWD, "over='batch': batch: Input should be a valid integer, *"),
        ("over='batch', values='all'", CROWD, "values: expected a list of numbers, got 'all'"),
        ("over='batch', values=range(8, 1)", CROWD, "values: expected a list of numbers, got range(8, 1)"),
        ("over='batch', values=[1, float('inf')]", CROWD, "values: expected a list of numbers, got [[]1, inf[]]"),
        ("over='max_tokens_per_batch', values=[8]", CROWD, "max_tokens_per_batch=8: max_tokens_per_batch*"),
        (
            "over='pytorch.num_threads', values=[0]",
            TINY,
            "pytorch.num_threads=0: pytorch: option num_threads=0: Input *",
        ),
        (
            "over='prompt_tokens', values=[8, 131072]",
            TINY,
            "prompt_tokens=131072: prompt_tokens: request 0 has 131072 *",
        ),
        ("objective='seconds'", CROWD, "over names a field of the workload, such as 'batch' or 'traffic.qps'"),
        ("over='batch', goal='x'", CROWD, "unknown keyword 'goal'; the nearest known one is *"),
    ],
)
def test_a_search_that_cannot_be_is_one_line_at_collection(project, searched, search, lem, line):
    result = searched(search, lem=lem)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"test_it.py::test_cheapest: @pytest.mark.lem_search: {line}"])
    assert project.runs() == []
