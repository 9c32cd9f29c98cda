"""`*.lem.yaml` under pytest: a file is a module of tests that are like any other, and says where each value stands."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pytest_lem.experiment.campaign
import pytest_lem.experiment.experiment
import pytest_lem.plugin.campaign_files
import pytest_lem.plugin.explain
import pytest_lem.plugin.gatekeeper  # noqa: F401 - loaded before pytester takes its snapshot of modules

FILE = """\
# the engine of these tests
config_name: decode 1
backend: fake
batching:
  batch_size: [1, 8]
max_output_tokens: 4
fake:
  token_seconds: 0.001
"""


@pytest.fixture
def files(project):
    """Writes experiment files; `project.run` runs them."""

    def files(**texts):
        for name, text in texts.items():
            path = project.pytester.path / f"{name}.lem.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return project

    return files


def collected(result):
    return [line for line in result.outlines if "::" in line]


def test_a_file_is_measured_like_a_test_function(files):
    project = files(decode=FILE)
    result = project.run("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["decode.lem.yaml::decode_1[[]fake-bf16-b1-c0[]] PASSED*"])
    found = project.report()["measurements"]
    assert [each["test"] for each in found] == [f"decode.lem.yaml::decode_1[fake-bf16-b{n}]" for n in (1, 8)]
    assert [each["workload"]["batch"] for each in found] == [1, 8]
    assert {each["workload"]["output_tokens"] for each in found} == {4}


def test_the_function_and_the_file_ask_for_the_same(files):
    project = files(decode=FILE)
    project.write(
        "import pytest\n\n"
        "@pytest.mark.lem(backend='fake', batch=[1, 8], output_tokens=4, fake={'token_seconds': 0.001})\n"
        "def test_decode(lem_backend, lem_workload, lem_energy):\n"
        "    lem_energy.measure(lem_backend, lem_workload)\n"
    )
    project.run().assert_outcomes(passed=4)
    asked = [
        (each["engine"]["requested"], each["workload"], each["protocol"]) for each in project.report()["measurements"]
    ]
    assert asked[:2] == asked[2:]


def test_each_value_is_told_with_its_file_and_line(files):
    project = files(**{"deep/decode": f"_extends: ../base.yaml\n{FILE}rounds: 5\n"})
    (project.pytester.path / "base.yaml").write_text("\nseed: 7\nmax_input_tokens: 16\n")
    result = project.run("--lem-explain", "--lem-precision=fp32")
    found = {line.split()[0]: line.split()[-1] for line in result.outlines if line.startswith("  ")}
    assert {
        name: found[name] for name in ("backend", "batch", "fake.token_seconds", "rounds", "seed", "prompt_tokens")
    } == {
        "backend": "deep/decode.lem.yaml:4",
        "batch": "deep/decode.lem.yaml:6",
        "fake.token_seconds": "deep/decode.lem.yaml:9",
        "rounds": "deep/decode.lem.yaml:10",
        "seed": "base.yaml:2",
        "prompt_tokens": "base.yaml:3",
    }
    assert found["precision"] == "--lem-precision"
    # the conftest of these tests shortens the warm-up by a marker
    assert found["warmup_rounds"] == "deep/decode.lem.yaml::decode_1"


def test_selection_and_last_failed_know_it_by_its_name(files):
    project = files(decode=FILE, other=FILE.replace("decode 1", "other") + "budget: {tokens_per_second: 1000000000}\n")
    assert collected(project.run("--collect-only", "-q", "-k", "decode_1 and b8")) == [
        "decode.lem.yaml::decode_1[fake-bf16-b8-c0]"
    ]
    assert collected(project.run("--collect-only", "-q", "other.lem.yaml::other[fake-bf16-b1-c0]")) == [
        "other.lem.yaml::other[fake-bf16-b1-c0]"
    ]
    project.run().assert_outcomes(passed=2, failed=2)
    assert collected(project.run("--collect-only", "-q", "--lf")) == [
        "other.lem.yaml::other[fake-bf16-b1-c0]",
        "other.lem.yaml::other[fake-bf16-b8-c0]",
    ]


def test_a_budget_that_breaks_is_a_failed_test_without_a_traceback(files):
    result = files(decode=f"{FILE}budget:\n  tokens_per_second: 1000000000\n").run("-k", "b1")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["tokens_per_second * breaks its budget of 1e+09 tok/s*"])
    result.stdout.fnmatch_lines(["decode_1[[]fake-bf16-b1-c0[]]: tokens_per_second * breaks its budget*"])
    result.stdout.no_fnmatch_line("*Error*")


def test_a_gate_is_a_test_of_its_own(files):
    project = files(decode=f"{FILE}gate: {{tokens_per_second: 5%}}\n")
    project.run("--lem-save=main", "--lem-rounds=8").assert_outcomes(passed=2)
    assert collected(project.run("--collect-only", "-q", "--lem-baseline=main", "-k", "gate-")) == [
        "decode.lem.yaml::decode_1[fake-bf16-b1-gate-tokens_per_second]",
        "decode.lem.yaml::decode_1[fake-bf16-b8-gate-tokens_per_second]",
    ]


def test_the_command_line_restricts_a_file_as_it_restricts_a_marker(files):
    project = files(decode=FILE)
    assert collected(project.run("--collect-only", "-q", "--lem-batch=8,16", "--lem-cycles=2")) == [
        "decode.lem.yaml::decode_1[fake-bf16-b8-c0]",
        "decode.lem.yaml::decode_1[fake-bf16-b8-c1]",
    ]


@pytest.mark.xdist
def test_workers_measure_it_and_the_notes_are_told_once(files):
    rated = FILE.replace("max_output_tokens", "traffic: poisson\ntarget_qps: 400\nrequests: 4\nmax_output_tokens")
    project = files(decode=rated.replace("0.001", "0.001\n  traffic: true").replace("g:\n", "g:\n  strategy: sorted\n"))
    result = project.subprocess("-n", "2")
    result.assert_outcomes(passed=2)
    told = [line for line in result.outlines if "is left out" in line]
    assert told == [
        "lem: decode.lem.yaml:5: batching.strategy: sorted_static is left out: with traffic, requests come one by one, "
        "not in groups"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bacth: 1\n", "a.lem.yaml:1: unknown key 'bacth'; the nearest known one is 'batch'"),
        ("batch: 1\nbatch: 2\n", "a.lem.yaml:2: 'batch' is given twice, first in line 1; keep one"),
        ("_extends: no.yaml\n", "a.lem.yaml:1: _extends: there is no file no.yaml; *"),
        ("\nbackend: tensorflow\n", "a.lem.yaml:2: unknown backend 'tensorflow'; did you mean 'tensorrt'? *"),
        ("tensorrt:\n  max_output_len: 8\n", "a.lem.yaml:1: tensorrt: max_output_len needs max_input_len beside it: *"),
        ("backend: fake\nfake:\n  tokn: 1\n", "a.lem.yaml:3: fake: unknown option 'tokn'; the nearest known one is *"),
        ("backend: fake\nfake:\n  slots: x\n", "a.lem.yaml:3: fake.slots: Input should be a valid integer*"),
        ("model: synthetic:tyny\n", "a.lem.yaml:1: unknown model 'synthetic:tyny'; did you mean 'synthetic:tiny'? *"),
        ("gpus: 2\n", "a.lem.yaml:1: pytorch: gpus=2 was asked for, but its options take 1; give the same"),
        ("seed: 1\nbatching: dynamic\n", "a.lem.yaml:2: batching='dynamic' fills groups up to max_tokens_per_batch; *"),
        ("\nbackend: fake\ntarget_qps: 4\n", "a.lem.yaml:3: target_qps: backend 'fake': it takes all requests of a *"),
        ("warmup_seconds: -1\n", "a.lem.yaml:1: warmup_seconds: Input should be greater than or equal to 0 (got -1)"),
        ("unless:\n  - bacth: 1\n", "a.lem.yaml:2: unless: unknown keyword 'bacth'; the nearest known one is 'batch'"),
        ("budget:\n  joules: 1\n", "a.lem.yaml:2: budget: unknown metric 'joules'; *"),
        ("gate: {gpu_joules: 5}\n", "a.lem.yaml:1: gate.gpu_joules: expected a share: 5%, or 0.05; got 5"),
        ("sweep: {batch: []}\n", "a.lem.yaml:1: sweep: batch is empty; *"),
    ],
)
def test_a_file_that_cannot_be_is_one_line_and_the_others_are_collected(files, text, line):
    result = files(a=text, decode=FILE).run("--collect-only", "-q", "--continue-on-collection-errors")
    start = next(n for n, told in enumerate(result.outlines) if "ERROR collecting a.lem.yaml" in told)
    assert [told.startswith(("=", "ERROR")) for told in result.outlines[start + 1 :][:2]] == [False, True]
    pytest.LineMatcher([result.outlines[start + 1]]).fnmatch_lines([line])
    assert len(collected(result)) == 2


def test_a_campaign_runs_its_files_with_its_settings(files):
    project = files(
        night="campaign:\n  files: [decode.lem.yaml, deep/other.lem.yaml]\n  cycles: 2\n  order: interleaved\n",
        decode=FILE,
        **{"deep/other": FILE.replace("decode 1", "other").replace("0.001", "0.002")},
    )
    decode, other = "decode.lem.yaml::decode_1", "deep/other.lem.yaml::other"
    assert collected(project.run("--collect-only", "-q", "night.lem.yaml")) == [
        f"{name}[fake-bf16-b{batch}-c{cycle}]" for cycle in (0, 1) for name in (decode, other) for batch in (1, 8)
    ]
    assert collected(project.run("--collect-only", "-q", "night.lem.yaml", "--lem-cycles=1", "--lem-batch=8")) == [
        f"{name}[fake-bf16-b8-c0]" for name in (decode, other)
    ]
    told = project.run("--lem-explain", "night.lem.yaml", "-k", "decode_1")
    told.stdout.fnmatch_lines(["  cycles  *2  *night.lem.yaml:3"])


def test_in_a_walk_a_campaign_says_nothing_of_its_own(files):
    project = files(night="campaign:\n  files: [decode.lem.yaml]\n  cycles: 2\n", decode=FILE)
    assert len(collected(project.run("--collect-only", "-q"))) == 2


@pytest.mark.xdist
def test_a_campaign_over_workers(files):
    project = files(night="campaign:\n  files: [decode.lem.yaml]\n  cycles: 2\n", decode=FILE)
    project.subprocess("night.lem.yaml", "-n", "2").assert_outcomes(passed=4)
    assert [len(each["cycles"]) for each in project.report()["measurements"]] == [2, 2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("campaign: {}\n", "ERROR: night.lem.yaml:1: campaign: names no files; say `files: [[]a.lem.yaml[]]`"),
        ("campaign: 3\n", "ERROR: night.lem.yaml:1: campaign: expected `files: [[]a.lem.yaml[]]` in it; got 3"),
        (
            "campaign:\n  fils: [a]\n",
            "ERROR: night.lem.yaml:2: unknown key 'campaign.fils'; the nearest * 'campaign.files'",
        ),
        ("campaign:\n  files: a\n", "ERROR: night.lem.yaml:2: campaign.files: expected a list; got 'a'"),
        ("campaign:\n  files:\n   - no.lem.yaml\n", "ERROR: night.lem.yaml:3: campaign.files: there is no file *"),
        ("campaign: {files: [night.lem.yaml]}\n", "ERROR: night.lem.yaml:1: campaign.files: * is a campaign; *"),
        ("batch: 1\ncampaign: {files: [a]}\n", "ERROR: night.lem.yaml:1: batch: a campaign names other files, and *"),
        (
            "campaign:\n  files: [decode.lem.yaml]\n  order: odd\n",
            "ERROR: night.lem.yaml:3: campaign.order: expected *",
        ),
    ],
)
def test_a_campaign_that_cannot_be_is_one_line(files, text, line):
    result = files(night=text, decode=FILE).run("night.lem.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([line])


def test_a_campaign_runs_by_itself(files):
    result = files(night="campaign: {files: [decode.lem.yaml]}\n", decode=FILE).run("night.lem.yaml", "decode.lem.yaml")
    result.stderr.fnmatch_lines(["ERROR: night.lem.yaml: a campaign runs by itself; name it alone"])


def test_a_project_without_such_files_loads_nothing_of_this(tmp_path):
    (tmp_path / "test_plain.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    heavy = ('pydantic', 'yaml', 'numpy', 'pytest_lem.experiment', 'pytest_lem.plugin.experiment_files')\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
    )
    (tmp_path / "notes.yaml").write_text("nothing: 1\n")
    neighbours = ["no:hypothesispytest", "no:randomly", "no:cacheprovider"]  # some of them load numpy of their own
    run = [sys.executable, "-m", "pytest", "-q", *(word for each in neighbours for word in ("-p", each))]
    found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout
