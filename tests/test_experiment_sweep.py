"""`sweep` and `experiments`: every combination that is meant, once, in the file's order, and nothing else."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.document import read
from pytest_lem.experiment.check import checked
from pytest_lem.experiment.sweep import axes_of, configurations
from pytest_lem.model.errors import UsageError


@pytest.fixture
def made(tmp_path):
    def made(text):
        path = tmp_path / "a.lem.yaml"
        path.write_text(text)
        return checked(path, lambda path: path.name)

    return made


def loads(found):
    return [(cell.engine.backend, cell.workload.batch, cell.workload.decoding.temperature) for cell in found.cells]


def test_every_combination_of_words_in_sections_and_with_dots(made):
    found = made(
        "backend: [pytorch, vllm]\nsweep:\n  batch_size: [1, 8]\n  decoder.temperature: [0, 0.5]\n"
        "  vllm:\n    max_num_seqs: [64, 128]\n"
    )
    assert found.experiment.keywords == {
        "backend": ["pytorch", "vllm"],
        "batch": [1, 8],
        "decoding": [{"temperature": 0}, {"temperature": 0.5}],
        "vllm": [{"max_num_seqs": 64}, {"max_num_seqs": 128}],
    }
    assert found.count == 4 + 8  # the options of vLLM are nothing to pytorch
    origins = found.experiment.origins
    assert {path: origins[path] for path in ("batch", "decoding[1].temperature", "vllm", "vllm[1].max_num_seqs")} == {
        "batch": "a.lem.yaml:3",
        "decoding[1].temperature": "a.lem.yaml:4",
        "vllm": "a.lem.yaml:6",
        "vllm[1].max_num_seqs": "a.lem.yaml:6",
    }


def test_what_the_file_says_beside_the_sweep_stays(made):
    found = made("vllm: {max_model_len: 640, max_num_seqs: 1}\nbackend: vllm\nsweep:\n  vllm.max_num_seqs: [8, 16]\n")
    assert [cell.engine.options["max_num_seqs"] for cell in found.cells] == [8, 16]
    assert {cell.engine.options["max_model_len"] for cell in found.cells} == {640}
    origins = found.experiment.origins
    assert {path: origins[f"vllm[1]{path}"] for path in ("", ".max_model_len", ".max_num_seqs")} == {
        "": "a.lem.yaml:1",
        ".max_model_len": "a.lem.yaml:1",
        ".max_num_seqs": "a.lem.yaml:4",
    }


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("batch_size: {min: 1, max: 8, pow2: true}", [1, 2, 4, 8]),
        ("batch_size: [1, {min: 4, max: 6, num: 3}]", [1, 4, 5, 6]),
        ("batching.batch_size: {min: 1, max: 64, num: 4, log: true}", [1, 4, 16, 64]),
        ("vllm.max_num_seqs: {min: 1, max: 10, num: 3}", [1, 6, 10]),
        ("decoder.temperature: {min: 0, max: 1, num: 3}", [0, 0.5, 1]),
        ("vllm.gpu_memory_utilization: {min: 0.5, max: 0.9, num: 3}", [0.5, 0.7, 0.9]),
        ("gpus: [1, 2]", [1, 2]),
    ],
)
def test_ranges_are_whole_where_the_word_is(tmp_path, axis, values):
    path = tmp_path / "a.lem.yaml"
    path.write_text(f"sweep: {{{axis}}}\n")
    (found,) = axes_of(read(path, "a"))
    assert list(found.values) == values
    assert [type(value) for value in found.values] == [type(value) for value in values] or 0.5 in values


def test_words_that_change_two_keywords_at_once_stay_together(made):
    found = made("backend: vllm\nsharding: {strategy: tensor_parallel}\nsweep: {sharding.num_shards: [2, 4]}\n")
    assert found.experiment.keywords["experiments"] == [
        {"gpus": 2, "vllm": {"tensor_parallel_size": 2}},
        {"gpus": 4, "vllm": {"tensor_parallel_size": 4}},
    ]
    assert [(cell.engine.gpus, cell.engine.options["tensor_parallel_size"]) for cell in found.cells] == [(2, 2), (4, 4)]
    assert found.experiment.origins["experiments[1].gpus"] == "a.lem.yaml:3"


def test_a_sweep_over_engines_tells_each_what_it_needs(made):
    found = made("sweep:\n  backend: [pytorch, vllm]\n  target_qps: [1, 2]\nrequests: 4\n")
    assert [(cell.engine.backend, cell.workload.target_qps) for cell in found.cells] == [
        *(("pytorch", rate) for rate in (1, 2)),
        *(("vllm", rate) for rate in (1, 2)),
    ]
    assert {cell.engine.options.get("served") for cell in found.cells if cell.engine.backend == "vllm"} == {True}


def test_protocols_are_swept_too(made):
    found = made("sweep: {rounds: [2, 4], batch: [1, 8]}\n")
    assert [cell.id for cell in found.cells] == [
        "pytorch-bf16-r0-b1-c0",
        "pytorch-bf16-r0-b8-c0",
        "pytorch-bf16-r1-b1-c0",
        "pytorch-bf16-r1-b8-c0",
    ]


def test_exclusions_leave_out_what_matches_every_word_and_rename_nothing(made):
    sweep = "backend: [pytorch, vllm]\nsweep:\n  batch_size: [1, 8]\n  decoder.temperature: [0, 0.5]\n"
    whole = [cell.id for cell in made(sweep).cells]
    found = made(
        f"{sweep}  exclude:\n    - {{backend: vllm, batching.batch_size: 8}}\n    - decoder: {{temperature: 0.5}}\n"
        "      backend: pytorch\n"
    )
    assert loads(found) == [("pytorch", 1, 0.0), ("pytorch", 8, 0.0), ("vllm", 1, 0.0), ("vllm", 1, 0.5)]
    assert {cell.id for cell in found.cells} < set(whole)


def test_an_exclusion_knows_options_ranges_and_some_fields_of_a_keyword(made):
    found = made(
        "backend: vllm\ndecoder: {preset: standard}\nsweep:\n  vllm.max_num_seqs: [8, 16]\n  batch_size: [1, 2, 4]\n"
        "  decoder.temperature: [0.1, 0.9]\n  exclude:\n    - {vllm.max_num_seqs: 8, batch_size: {max: 2}}\n"
        "    - decoder.temperature: [0.9, 1.9]\n"
    )
    assert [
        (c.engine.options["max_num_seqs"], c.workload.batch, c.workload.decoding.temperature) for c in found.cells
    ] == [
        (8, 4, 0.1),
        (16, 1, 0.1),
        (16, 2, 0.1),
        (16, 4, 0.1),
    ]


def test_a_file_may_exclude_beside_unless(made):
    found = made("unless: {batch: 1}\nsweep: {batch: [1, 2, 4, 8], exclude: {batch: 8}}\n")
    assert [cell.workload.batch for cell in found.cells] == [2, 4]


def test_listed_experiments_build_on_the_file(made):
    found = made(
        "decoder: {preset: creative}\nbatch_size: 4\nexperiments:\n  - batch_size: 1\n"
        "  - decoder: {temperature: 0.5}\n    num_cycles: 2\n"
    )
    assert found.experiment.keywords["experiments"] == [
        {"batch": 1, "decoding": {"preset": "creative"}},
        {"batch": 4, "decoding": {"preset": "creative", "temperature": 0.5}, "cycles": 2},
    ]
    assert [(cell.workload.batch, cell.workload.decoding.temperature, cell.cycle) for cell in found.cells] == [
        (1, 1.2, 0),
        (4, 0.5, 0),
        (4, 0.5, 1),
    ]
    assert found.experiment.origins["experiments[1].decoding.temperature"] == "a.lem.yaml:5"


def test_a_sweep_is_done_within_each_listed_experiment(made):
    found = made("experiments: [{output_tokens: 4}, {output_tokens: 8}]\nsweep: {batch: [1, 2]}\n")
    assert [(cell.workload.output_tokens, cell.workload.batch) for cell in found.cells] == [
        (4, 1),
        (4, 2),
        (8, 1),
        (8, 2),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sweep: 8\n", "a.lem.yaml:1: sweep: expected words with lists, such as `batch_size: [1, 8]`; got 8"),
        ("sweep:\n  batch: 8\n", "a.lem.yaml:2: sweep: batch: expected a list or a range; got 8"),
        ("sweep:\n  batch: []\n", "a.lem.yaml:2: sweep: batch is empty; name at least one value, or leave it out"),
        (
            "sweep:\n  batch: {min: 1, max: 8}\n",
            "a.lem.yaml:2: sweep: batch: a range needs pow2, or num from 2 to 100000",
        ),
        ("sweep:\n  bacth: [1]\n", "a.lem.yaml:2: unknown key 'bacth'; the nearest known one is 'batch'"),
        ("sweep:\n  batch: [1,\n   x]\n", "a.lem.yaml:3: batch: expected a whole number from 1, a range or a list of"),
        ("sweep:\n  vllm.max_num_seqs: [1, x]\nbackend: vllm\n", "a.lem.yaml:2: vllm.max_num_seqs: Input should be a"),
        (
            "sweep:\n  config_name: [a]\n",
            "a.lem.yaml:2: sweep: config_name cannot be varied; it is about the whole file",
        ),
        (
            "sweep:\n  decoder.top_p: [1]\n  decoder: {top_p: [1]}\n",
            "a.lem.yaml:3: sweep: decoder.top_p is varied twice; keep one of them",
        ),
        (
            "sweep:\n  batch: {min: 1, max: 200, num: 200}\n  seed: {min: 0, max: 100, num: 101}\n",
            "a.lem.yaml:1: sweep: 20200 configurations; at most 10000 are run from one file",
        ),
        (
            "sweep: {batch: [1], exclude: 3}\n",
            "a.lem.yaml:1: sweep.exclude: expected words with values to leave out; got",
        ),
        ("sweep: {exclude: [{bacth: 3}]}\n", "a.lem.yaml:1: sweep.exclude: unknown key 'bacth'; the nearest known"),
        (
            "sweep: {exclude: [{num_shards: 3}]}\n",
            "a.lem.yaml:1: sweep.exclude: unknown key 'num_shards'; say sharding.nu",
        ),
        ("sweep: {exclude: [{streaming: true}]}\n", "a.lem.yaml:1: sweep.exclude: streaming cannot stand here"),
        (
            "sweep: {exclude: [{decoder: {temprature: 3}}]}\n",
            "a.lem.yaml:1: sweep.exclude: unknown key 'decoder.temprat",
        ),
        ("sweep:\n  exclude:\n    - precision: fp9\n", "a.lem.yaml:3: unless: unknown precision 'fp9'"),
        ("experiments: 3\n", "a.lem.yaml:1: experiments: expected a list of configurations; got 3"),
        ("experiments: []\n", "a.lem.yaml:1: experiments: expected a list of configurations; got []"),
        (
            "experiments:\n  - batch: 1\n  - eight\n",
            "a.lem.yaml:3: experiments[1]: expected words as a mapping; got 'eight'",
        ),
        (
            "experiments:\n  - batch: 1\n    bacth: 2\n",
            "a.lem.yaml:3: unknown key 'bacth'; the nearest known one is 'batch'",
        ),
        ("experiments:\n  - batch: 1\n    sweep: {}\n", "a.lem.yaml:3: sweep stands beside experiments, not in one"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_line(made, text, line):
    with pytest.raises(UsageError) as caught:
        made(text)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


AXES = {
    "batch_size": st.integers(1, 64),
    "seed": st.integers(0, 9),
    "decoder.temperature": st.sampled_from([0, 0.5, 1]),
    "decoder.repetition_penalty": st.sampled_from([1.1, 1.3]),
    "max_output_tokens": st.integers(1, 64),
    "pytorch.use_cache": st.booleans(),
    "rounds": st.integers(1, 9),
}
GRIDS = st.fixed_dictionaries(
    {}, optional={n: st.lists(v, min_size=1, max_size=3, unique=True) for n, v in AXES.items()}
)


def wanted(picked):
    return (
        picked.get("batch_size", 1),
        picked.get("seed", 0),
        float(picked.get("decoder.temperature", 0)),
        picked.get("decoder.repetition_penalty"),
        picked.get("max_output_tokens", 32),
        picked.get("pytorch.use_cache", True),
        picked.get("rounds"),
    )


@given(grid=GRIDS)
def test_any_grid_is_each_of_its_combinations_once(grid, tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "a.lem.yaml"
    path.write_text(json.dumps({"sweep": grid}))
    found = checked(path, lambda path: path.name)
    got = [
        (
            cell.workload.batch,
            cell.workload.seed,
            cell.workload.decoding.temperature,
            cell.workload.decoding.repetition_penalty,
            cell.workload.output_tokens,
            cell.engine.options["use_cache"],
            cell.point.protocol.get("rounds") or found.experiment.keywords.get("rounds"),
        )
        for cell in found.cells
    ]
    expected = [wanted(dict(zip(grid, values, strict=True))) for values in product(*grid.values())]
    assert sorted(map(repr, got)) == sorted(map(repr, expected))
    assert len({cell.id for cell in found.cells}) == len(expected) == len(configurations(read(path, "a")))
