"""Workloads as users write them: markers, files beside the tests, generators of their own."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from users_project import CONFTEST

from pytest_lem.model.specs import WorkloadSpec

MEASURED = """
import pytest

@pytest.mark.lem(backend="fake", fake={{"traffic": True, "token_seconds": 0.0005}}, {keywords})
def test_it(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""


def ids(result):
    return [line.partition("[")[2].rstrip("]") for line in result.outlines if line.startswith("test_it.py::")]


@pytest.fixture
def asked(project):
    def write(keywords: str):
        project.write(MEASURED.format(keywords=keywords))
        return project

    return write


def test_ids_name_what_tells_workloads_apart(asked):
    keywords = (
        "traffic=[{'qps': 4, 'requests': 3}, {'qps': 4, 'requests': 6}, {'concurrency': 2, 'requests': 4}], "
        "decoding=['deterministic', 'creative'], output_tokens=[8, 'uniform(4, 8)']"
    )
    found = ids(asked(keywords).run("--collect-only", "-q"))
    assert len(set(found)) == 12
    assert found[0] == "fake-bf16-out8_poisson4no0_deterministic-b1-c0"
    assert found[-1] == "fake-bf16-outuniform8_closed2_creative-b1-c0"


def test_groups_of_requests_are_measured_and_kept_as_they_were_asked(asked):
    project = asked("batch=2, requests=5, batching='sorted_static', prompt_tokens='uniform(4, 40)', output_tokens=3")
    project.run("--lem-rounds=2").assert_outcomes(passed=1)
    (one,) = project.report()["measurements"]
    assert one["workload"]["batching"] == "sorted_static"
    assert one["workload"]["prompt_tokens"]["distribution"] == "uniform"
    round_ = one["cycles"][0]["rounds"][0]
    assert round_["requests"] == 5 * round_["passes"]
    assert round_["tokens"] == 15 * round_["passes"]


@pytest.mark.parametrize(
    ("strategy", "groups", "padding"),
    [
        # Prompts of 4, 40, 6, 38 and 5 tokens, answers of 2.
        ("'static'", 2, 36 + 34 + 2),
        ("'sorted_static'", 2, 2 + 34 + 35),
        ("'dynamic', max_tokens_per_batch=84", 3, 36 + 32),
        ("'sorted_dynamic', max_tokens_per_batch=84", 2, 2 + 1 + 2),
    ],
)
def test_each_strategy_is_reported_with_what_it_pads(asked, strategy, groups, padding):
    prompts = "prompts=[[1] * 4, [2] * 40, [3] * 6, [4] * 38, [5] * 5]"
    project = asked(f"{prompts}, batch=4, requests=5, output_tokens=2, batching={strategy}")
    project.run("--lem-rounds=1").assert_outcomes(passed=1)
    (cycle,) = project.report()["measurements"][0]["cycles"]
    assert cycle["work"] == {"groups": groups, "padding_tokens": padding, "overrun_tokens": 0}
    assert {round_["prompt_tokens"] / round_["passes"] for round_ in cycle["rounds"]} == {93}  # padding is no prompt


def test_a_conftest_gives_a_workload_of_its_own(asked):
    project = asked("generator='mine', output_tokens=2")
    project.pytester.makeconftest(
        f"{CONFTEST}\n"
        "def requests(workload, vocabulary):\n"
        "    for length in (1, 2, 3):\n"
        "        yield {'prompt': list(range(length)), 'output_tokens': 2 * length}\n"
        "def pytest_lem_workloads():\n"
        "    return {'mine': requests}\n"
    )
    project.run("--lem-rounds=1").assert_outcomes(passed=1)
    round_ = project.report()["measurements"][0]["cycles"][0]["rounds"][0]
    assert (round_["requests"], round_["prompt_tokens"], round_["tokens"]) == tuple(
        round_["passes"] * each for each in (3, 6, 12)
    )


def test_prompts_of_a_file_are_cut_and_told_with_their_tokens_before_and_after(project):
    (project.pytester.path / "asked.txt").write_text("one two three four\nfive\n")
    asked = "data={'source': 'asked.txt', 'template': 'Why {text}?', 'max_tokens': 3, 'too_long': 'left'}"
    body = MEASURED.format(keywords=f"{asked}, batch=2").replace('"traffic"', '"tokenizer": True, "traffic"')
    project.write(body)
    project.run("--lem-rounds=1").assert_outcomes(passed=1)
    (one,) = project.report()["measurements"]
    cycle = one["cycles"][0]
    told = {name: cycle["work"][name] for name in ("source", "prompts", "truncated", "padded", "dropped")}
    assert told == {"source": "asked.txt", "prompts": 2, "truncated": 1, "padded": 0, "dropped": 0}
    # A word is a token: 'Why one two three four?' and 'Why five?'.
    assert (cycle["work"]["prompt_tokens_before"], cycle["work"]["prompt_tokens_after"]) == (7, 5)
    assert cycle["work"]["sha256"] == sha256((project.pytester.path / "asked.txt").read_bytes()).hexdigest()
    assert {round_["prompt_tokens"] / round_["passes"] for round_ in cycle["rounds"]} == {5}


@pytest.mark.parametrize(
    ("keywords", "line"),
    [
        ("traffic={'qps': 0}", "*@pytest.mark.lem: traffic.qps: Input should be greater than 0 (got 0)"),
        ("traffic={'trace': 'late.jsonl'}", "*late.jsonl:2: arrival_s 1 comes after 2; sort the trace*"),
        ("data={'source': 'empty.csv'}", "*data: empty.csv is empty; it needs at least one row"),
        (
            "data={'source': 'qa.csv', 'template': '{a'}",
            "*@pytest.mark.lem: data.template: expected '}' before end of *",
        ),
        (
            "data={'source': 'qa.csv', 'template': '{a} {b}'}",
            "*data: qa.csv:3: template: no column 'b'; its columns: a, q",
        ),
        ("slo={'tpt_ms': 3}", "*@pytest.mark.lem: slo: unknown metric 'tpt_ms'; the nearest known one is 'tpot_ms'*"),
        ("decoding='creativ'", "*@pytest.mark.lem: decoding: unknown preset 'creativ'; *'creative'*"),
        (
            "decoding={'top_p': 0.9, 'top_k': 50}",
            "*decoding.top_p: temperature 0 takes the likeliest token, and draws none; give a temperature, or leave *",
        ),
        ("decoding={'preset': 'deterministic', 'seed': 3}", "*decoding.seed: temperature 0 takes the likeliest token*"),
        ("batch_size=4", "*@pytest.mark.lem: unknown keyword 'batch_size'; the nearest known one is 'batch'"),
        ("batching='dynamic'", "*batching='dynamic' fills groups up to max_tokens_per_batch; *"),
        ("batching='clever'", "*@pytest.mark.lem: batching: Input should be 'static', 'dynamic', *"),
        ("output_tokens='norml(3, 4)'", "*@pytest.mark.lem: output_tokens: expected uniform(LOW, HIGH), *"),
        ("traffic={'qps': 2}, target_qps=2", "*target_qps is short for traffic={'qps': ...}; give one of them*"),
        (
            "prompts=['a'], data={'source': 'builtin:chat'}",
            "*@pytest.mark.lem: prompts and data each give the prompts; give one of them*",
        ),
        (
            "generator='mine', traffic={'trace': 'late.jsonl'}",
            "*@pytest.mark.lem: generator and traffic.trace each give the prompts; give one of them*",
        ),
        (
            "traffic={'arrivals': 'generator'}",
            "*traffic: generator arrivals come with a generator's requests; name it by generator='...'",
        ),
        (
            "generator='mine', traffic={'arrivals': 'generator', 'qps': 2}",
            "*@pytest.mark.lem: traffic: generator arrivals take no qps; they take requests (got *",
        ),
        (
            "requests=4, traffic={'qps': 2, 'requests': 3}",
            "*@pytest.mark.lem: requests and traffic.requests both bound a pass; give one of them*",
        ),
        (
            "requests=4, traffic={'qps': 2, 'seconds': 3}",
            "*@pytest.mark.lem: requests and traffic.seconds both bound a pass; give one of them*",
        ),
        (
            "output_tokens={'distribution': 'normal', 'mean': float('inf'), 'std': 1}",
            "*@pytest.mark.lem: output_tokens: mean: Input should be a finite number*",
        ),
        ("target_qps=float('inf')", "*@pytest.mark.lem: target_qps: Input should be a finite number (got inf)"),
        ("traffic={'qpss': 2}", "*@pytest.mark.lem: traffic.qpss: there is no such field; the nearest one is 'qps'*"),
        ("traffic={'qps': float('nan')}", "*@pytest.mark.lem: traffic.qps: Input should be a finite number (got nan)"),
        ("slo={'ttft_ms': float('inf')}", "*@pytest.mark.lem: slo.ttft_ms: Input should be a finite number (got inf)"),
        (
            "generator='mine'",
            "*generator 'mine': no such generator; none is installed (entry points of pytest_lem.workloads) *",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line_at_collection(asked, keywords, line):
    project = asked(keywords)
    lines = [json.dumps({"arrival_s": at, "prompt_tokens": 1, "output_tokens": 1}) for at in (2, 1)]
    (project.pytester.path / "late.jsonl").write_text("\n".join(lines))
    (project.pytester.path / "empty.csv").write_text("prompt\n")
    (project.pytester.path / "qa.csv").write_text("a,q\n\n1,2\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([line])
    assert project.runs() == []


HOOK = "def pytest_lem_workloads():\n    return {returned}\n"


@pytest.mark.parametrize(
    ("returned", "line"),
    [
        ("{'main': print}", "*generator 'mine': no such generator; the nearest is 'main'"),
        ("{'mine': [1, 2]}", "*generator 'mine': expected a function of the workload and the vocabulary's size, got *"),
        ("[print]", "*pytest_lem_workloads: expected names mapped to functions, got [[]<built-in function print>]"),
    ],
)
def test_a_generator_that_no_conftest_gives_is_one_line_at_collection(asked, returned, line):
    project = asked("generator='mine'")
    project.pytester.makeconftest(f"{CONFTEST}\n{HOOK.format(returned=returned)}")
    result = project.run("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([line])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("raise ValueError('two\\nlines')", "ValueError: two"),
    ],
)
def test_an_installed_generator_that_cannot_be_imported_is_one_line_at_collection(asked, module, line):
    project = asked("generator='theirs'")
    installed = project.pytester.path / "theirs-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[pytest_lem.workloads]\ntheirs = their_module:make\n")
    (project.pytester.path / "their_module.py").write_text(module)
    project.pytester.syspathinsert()
    result = project.run("--collect-only")
    result.stdout.fnmatch_lines(
        [f"*generator 'theirs': its entry point 'their_module:make' cannot be imported: {line}"]
    )


SMALL = """
import pytest

@pytest.mark.lem(backend="pytorch", model={model!r}, output_tokens=32, {keywords})
def test_it(lem_backend, lem_workload, lem_energy):
    lem_energy.measure(lem_backend, lem_workload)
"""
TEXT_CONFIG = '{"max_position_embeddings": 9, "text_config": {"max_position_embeddings": 512}}'
ONE = '{"arrival_s": 0, "prompt_tokens": 8, "output_tokens": 2}\n'
LONG = '{"arrival_s": 0, "prompt_tokens": 500, "output_tokens": 13}\n'


def test_an_engine_refuses_a_generators_arrivals_as_it_does_any_traffic(project):
    project.pytester.makeconftest(HOOK.format(returned="{'mine': print}"))
    asked = "generator='mine', traffic={'arrivals': 'generator'}"
    told = {
        "decoding={'temperature': 1, 'seed': 3}": "*decoding.seed*all requests draw from one generator*",
        "pytorch={'prompt_lookup_num_tokens': 2}": "*traffic*prompt_lookup_num_tokens is for groups of requests*",
        "pytorch={'tensor_parallel_size': 2}": "*traffic*requests that come over time are not shared among ranks*",
        "batching='sorted_static'": "*batching='sorted_static': requests that come over time are not handed over in *",
    }
    for keywords, line in told.items():
        project.write(SMALL.format(model="synthetic:tiny", keywords=f"{asked}, {keywords}"))
        result = project.run("--collect-only")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("keywords", "line"),
    [
        ("prompt_tokens=481", "prompt_tokens: request 0 has 481 prompt and 32 output tokens"),
        ("prompt_tokens='uniform(470, 490)', batch=9, seed=1", "prompt_tokens: request 3 has 484 prompt and 32 output"),
        ("prompts=[[1], [2] * 500], batch=2", "prompts: request 1 has 500 prompt and 32 output tokens"),
        ("traffic={'trace': 'long.jsonl'}", "traffic: trace: request 1 has 500 prompt and 13 output tokens"),
    ],
)
def test_prompts_longer_than_the_model_are_one_line_at_collection(project, keywords, line):
    (project.pytester.path / "small").mkdir()
    (project.pytester.path / "small" / "config.json").write_text(TEXT_CONFIG)
    (project.pytester.path / "long.jsonl").write_text(ONE + LONG)
    project.write(SMALL.format(model="./small", keywords=keywords))
    result = project.run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    told = f"*: {line}*, more than the 512 positions of './small' on pytorch; ask for fewer tokens"
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert project.runs() == []


@pytest.mark.parametrize(
    "keywords",
    [
        "prompt_tokens=480",
        "prompts=['a text of unknown tokens', [1] * 480]",
        "traffic={'trace': 'long.jsonl', 'requests': 1}",
        "data={'source': 'builtin:chat'}",
    ],
)
def test_prompts_that_fit_or_are_counted_later_are_collected(project, keywords):
    (project.pytester.path / "small").mkdir()
    (project.pytester.path / "small" / "config.json").write_text('{"max_position_embeddings": 512}')
    (project.pytester.path / "long.jsonl").write_text(ONE + LONG)
    project.write(SMALL.format(model="./small", keywords=keywords))
    assert ids(project.run("--collect-only", "-q"))[0].startswith("pytorch-bf16-")


def test_vllms_own_limit_is_known_before_it_starts(project):
    served = SMALL.format(model="synthetic:tiny", keywords="vllm={'max_model_len': 100}, prompt_tokens=69")
    project.write(served.replace("pytorch", "vllm"))
    project.run("--collect-only").stdout.fnmatch_lines(
        ["*: prompt_tokens: request 0 has 69 prompt and 32 output tokens, more than the 100 positions of * on vllm; *"]
    )


@pytest.mark.torch
def test_prompts_that_only_the_engine_can_count_are_one_line_when_it_has_started(project):
    project.pytester.makeconftest(
        "def pytest_lem_workloads():\n    return {'long': lambda *_: [{'prompt': [1]}, {'prompt': [2] * 131_072}]}\n"
    )
    project.write(SMALL.format(model="synthetic:tiny", keywords="generator='long'"))
    result = project.subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*engine 'pytorch': prompts: prompt 1 has 131072 tokens; *131104 is more than *"])
    result.stdout.no_fnmatch_line("*Traceback*")


DUMP = """
import json

def pytest_lem_workloads():
    return {"mine": lambda *_: [{"prompt": [1]}]}

def pytest_collection_modifyitems(items):
    for item in items:
        print("SPEC", item.callspec.params["lem_workload"].model_dump_json())
"""
PLAIN = """
import pytest

@pytest.mark.lem({keywords})
def test_it(lem_backend, lem_workload, lem_energy): ...
"""
ENGINE = "backend: fake\nfake: {traffic: true, tokenizer: true}\n"


@pytest.fixture
def specs(project):
    """The workloads of a test with this marker, in a project with this lem.yaml."""

    def collected(keywords: str, yaml: str) -> list[str]:
        project.pytester.makeconftest(DUMP)
        (project.pytester.path / "lem.yaml").write_text(ENGINE + yaml)
        project.write(PLAIN.format(keywords=keywords))
        result = project.run("--collect-only", "-q", "-s")
        assert result.ret == pytest.ExitCode.OK
        return [line.partition("SPEC ")[2] for line in result.outlines if line.startswith("SPEC ")]

    return collected


@pytest.mark.parametrize(
    ("keywords", "yaml"),
    [
        (
            "traffic={'qps': 4, 'burstiness': 0.5, 'seconds': 60, 'ramp_seconds': 2}",
            "traffic: {qps: 4, burstiness: 0.5, seconds: 60, ramp_seconds: 2}",
        ),
        (
            "traffic={'arrivals': 'constant', 'qps': 2.5, 'requests': 7}",
            "traffic:\n  arrivals: constant\n  qps: 2.5\n  requests: 7",
        ),
        (
            "traffic=[{'concurrency': 2, 'requests': 4}, {'concurrency': 4, 'requests': 4}]",
            "traffic:\n  - {concurrency: 2, requests: 4}\n  - {concurrency: 4, requests: 4}",
        ),
        ("traffic={'trace': 'day.jsonl'}", "traffic: {trace: day.jsonl}"),
        ("target_qps=[1, 2.5], batch=3", "target_qps: [1, 2.5]\nbatch: 3"),
        (
            "batching=['dynamic', 'sorted_dynamic'], max_tokens_per_batch=900, requests=8",
            "batching: [dynamic, sorted_dynamic]\nmax_tokens_per_batch: 900\nrequests: 8",
        ),
        (
            "data={'source': 'builtin:chat', 'limit': 3, 'max_tokens': 20, 'too_long': 'left', 'min_tokens': 4}",
            "data: {source: 'builtin:chat', limit: 3, max_tokens: 20, too_long: left, min_tokens: 4}",
        ),
        (
            "data={'source': 'qa.csv', 'template': 'Why {q}?', 'output_field': 'n'}",
            "data:\n  source: qa.csv\n  template: Why {q}?\n  output_field: n",
        ),
        ("data={'source': 'qa.csv', 'field': 'q'}", "data: {source: qa.csv, field: q}"),
        ("prompts=['a b', 'c'], batch=2", "prompts: [a b, c]\nbatch: 2"),
        ("prompts=[[1, 2], [3]], batch=2", "prompts: [[1, 2], [3]]\nbatch: 2"),
        (
            "prompt_tokens='uniform(4, 8)', output_tokens=[2, 'normal(6, 1)']",
            "prompt_tokens: uniform(4, 8)\noutput_tokens: [2, 'normal(6, 1)']",
        ),
        (
            "prompt_tokens={'distribution': 'lognormal', 'mean': 64, 'std': 32, 'low': 8, 'high': 512}",
            "prompt_tokens: {distribution: lognormal, mean: 64, std: 32, low: 8, high: 512}",
        ),
        ("output_tokens={'histogram': {64: 3, 512: 1}}", "output_tokens: {histogram: {64: 3, 512: 1}}"),
        ("generator='mine'", "generator: mine"),
        ("decoding=['factual', {'preset': 'creative', 'seed': 3}]", "decoding: [factual, {preset: creative, seed: 3}]"),
        ("decoding={'temperature': 0.5, 'top_k': 5}", "decoding: {temperature: 0.5, top_k: 5}"),
        ("slo='interactive'", "slo: interactive"),
        ("slo={'ttft_ms': 200, 'e2el_ms': 900, 'percentile': 95}", "slo: {ttft_ms: 200, e2el_ms: 900, percentile: 95}"),
        ("seed=7", "seed: 7"),
    ],
)
def test_a_project_file_asks_for_what_the_marker_asks_for(project, specs, keywords, yaml):
    (project.pytester.path / "day.jsonl").write_text(ONE)
    (project.pytester.path / "qa.csv").write_text("q,n\nso,3\n")
    said_twice = specs(keywords, "")
    assert specs("", yaml) == said_twice
    assert len(set(said_twice)) == len(said_twice) > 0
    assert said_twice[0] != specs("", "")[0]


def test_every_keyword_of_a_workload_is_tried_in_both():
    (cases,) = [
        mark for mark in test_a_project_file_asks_for_what_the_marker_asks_for.pytestmark if mark.name == "parametrize"
    ]
    said = " ".join(yaml for _, yaml in cases.args[1])
    assert [name for name in WorkloadSpec.model_fields if f"{name}:" not in said] == []


@pytest.mark.parametrize(
    ("yaml", "line"),
    [
        ("traffic: {qps: 0}", "*lem.yaml:3: traffic.qps: Input should be greater than 0 (got 0)"),
        ("data:\n  source: no.csv", "*lem.yaml:3: data: there is no file 'no.csv'"),
        ("batching: clever", "*lem.yaml:3: batching: Input should be 'static', 'dynamic', *"),
        ("generator: nobody's", '*lem.yaml:3: generator "nobody\'s": no such generator; *'),
        (
            "requests: 3\ntraffic: {qps: 2, requests: 4}",
            "*lem.yaml:3: requests and traffic.requests both bound a pass; *",
        ),
        (
            "output_tokens: {histogram: {a: 3}}",
            "*lem.yaml:3: output_tokens: histogram.a.[[]key[]]: Input should be a *",
        ),
        ("output_tokens: {histogram: {64: 3, '64': 1}}", "*lem.yaml:3: '64' is given twice, first in line 3; keep one"),
        ("output_tokens: {histogram: {true: 3}}", "*lem.yaml:3: a keyword is a name, got 'true'"),
    ],
)
def test_what_a_project_file_cannot_ask_is_one_line(project, yaml, line):
    (project.pytester.path / "lem.yaml").write_text(ENGINE + yaml)
    project.write(PLAIN.format(keywords=""))
    result = project.run("--collect-only")
    assert result.ret in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR)
    pytest.LineMatcher([*result.outlines, *result.errlines]).fnmatch_lines([line])
