"""Marker, command line and settings → the experiments of one test, and their ids."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pytest_lem.campaign.matrix import Emptied, Layers, cells, protocol
from pytest_lem.model.errors import UsageError

ENGINES = ("pytorch", "vllm")


def made(marker=None, command=None, settings=None, **kwargs):
    return cells(Layers(marker or {}, command or {}, settings or {}, kwargs.pop("pythons", {})), ENGINES, **kwargs)


def ids(*args, **kwargs):
    return [cell.id for cell in made(*args, **kwargs)]


def test_nothing_said_gives_one_default_experiment():
    assert ids() == ["pytorch-bf16-b1-c0"]


def test_lists_make_one_experiment_each_grouped_by_engine():
    assert ids({"precision": ["bfloat16", "fp16"], "batch": [1, 8]}) == [
        "pytorch-bf16-b1-c0",
        "pytorch-bf16-b8-c0",
        "pytorch-fp16-b1-c0",
        "pytorch-fp16-b8-c0",
    ]


def test_a_batch_needs_no_new_engine():
    specs = {cell.engine for cell in made({"batch": [1, 8, 32]})}
    assert len(specs) == 1


def test_what_an_experiment_is_cannot_be_changed_once_it_is_made():
    (cell,) = made()
    for spec, field in ((cell.engine, "precision"), (cell.workload, "batch")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, field, getattr(spec, field))


def test_the_model_is_named_in_the_id_only_where_there_are_several():
    assert ids({"model": ["synthetic:tiny", "synthetic:llama-3.2-1b"]}) == [
        "pytorch-tiny-bf16-b1-c0",
        "pytorch-llama_3.2_1b-bf16-b1-c0",
    ]


@pytest.mark.parametrize("name", ["backend", "precision", "batch"])
def test_the_command_line_restricts_a_markers_list(name):
    marker = {"backend": ["pytorch", "vllm"], "precision": ["bf16", "fp16"], "batch": [1, 8]}
    asked = {"backend": ["vllm"], "precision": ["float16"], "batch": ["8"]}[name]
    assert len(made(marker, {name: asked})) == 4
    assert len(made(marker)) == 8


def test_the_command_line_replaces_a_markers_model():
    (cell,) = made({"model": "synthetic:tiny"}, {"model": ["synthetic:llama-3.2-1b"]})
    assert cell.engine.model == "synthetic:llama-3.2-1b"


MODELS = ["synthetic:tiny", "synthetic:llama-3.2-1b"]
ONE_EACH = {"experiments": [{"model": "synthetic:tiny", "batch": 8}, {"model": "synthetic:llama-3.2-1b", "batch": 8}]}


@pytest.mark.parametrize(
    "marker", [{"model": MODELS}, ONE_EACH, {"model": MODELS[0], "experiments": [{}, ONE_EACH["experiments"][1]]}]
)
def test_the_command_line_restricts_a_test_of_several_models(marker):
    (cell,) = made(marker, {"model": ["synthetic:llama-3.2-1b", "synthetic:tiny-moe"]})
    assert cell.engine.model == "synthetic:llama-3.2-1b"
    emptied = made(marker, {"model": ["synthetic:tiny-moe"]})
    assert isinstance(emptied, Emptied)
    assert emptied.reason.startswith("--lem-model=synthetic:tiny-moe leaves nothing of this test's model=['synthetic:t")


def test_the_command_line_replaces_the_one_model_of_a_list_of_experiments():
    marker = {"experiments": [{"model": "synthetic:tiny", "batch": batch} for batch in (1, 8)]}
    found = made(marker, {"model": ["synthetic:llama-3.2-1b"]})
    assert [(cell.engine.model, cell.workload.batch) for cell in found] == [(MODELS[1], 1), (MODELS[1], 8)]


def test_settings_fill_what_nobody_else_says():
    (cell,) = made({"batch": 4}, settings={"precision": ["fp16"], "batch": ["64"]})
    assert (cell.engine.precision, cell.workload.batch) == ("float16", 4)


def test_a_restriction_that_leaves_nothing_says_so():
    found = made({"batch": [1, 8]}, {"batch": ["16"]})
    assert found == Emptied("--lem-batch=16 leaves nothing of this test's batch=[1, 8]")


def test_an_engines_section_is_its_own_and_a_list_of_sections_makes_variants():
    marker = {"backend": ["pytorch", "vllm"], "pytorch": [{"use_cache": True}, {"use_cache": False}]}
    found = made(marker)
    assert [cell.id for cell in found] == ["pytorch-bf16-o0-b1-c0", "pytorch-bf16-o1-b1-c0", "vllm-bf16-b1-c0"]
    assert [cell.engine.options for cell in found] == [{"use_cache": True}, {"use_cache": False}, {}]


def test_a_test_without_a_workload_has_no_batch_in_its_id():
    assert ids({"batch": [1, 8]}, takes=("lem_backend", "lem_cycle")) == ["pytorch-bf16-c0"]


def test_an_engines_interpreter_belongs_to_its_spec():
    (cell,) = made(pythons={"pytorch": "/opt/python"})
    assert cell.engine.python == "/opt/python"


@pytest.mark.parametrize(
    ("marker", "command", "line"),
    [
        (
            {"precison": "bf16"},
            {},
            "@pytest.mark.lem: unknown keyword 'precison'; the nearest known one is 'precision'",
        ),
        ({"precision": "fp9"}, {}, "@pytest.mark.lem: unknown precision 'fp9'; known: float32 (fp32)"),
        ({}, {"precision": ["int8"]}, "--lem-precision: unknown precision 'int8'"),
        ({}, {"batch": ["none"]}, "--lem-batch: a batch is a whole number from 1, got 'none'"),
        ({"batch": 0}, {}, "@pytest.mark.lem: a batch is a whole number from 1, got 0"),
        (
            {"output_tokens": 0},
            {},
            "@pytest.mark.lem: output_tokens: expected a whole number from 1, or a distribution (got 0)",
        ),
        ({"gpus": "two"}, {}, "@pytest.mark.lem: gpus: Input should be a valid integer"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_its_place(marker, command, line):
    with pytest.raises(UsageError) as caught:
        made(marker, command)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_protocol_takes_the_nearest_word():
    layers = Layers({"rounds": 12}, {"round_seconds": 2.0, "rounds": None}, {"rounds": 9, "max_seconds": 60.0}, {})
    spec = protocol(layers, quick=False)
    assert (spec.rounds, spec.round_seconds, spec.max_seconds) == (12, 2.0, 60.0)


def test_a_quick_run_says_so_and_is_short():
    spec = protocol(Layers({}, {}, {}, {}), quick=True)
    assert (spec.quick, spec.rounds, spec.round_seconds) == (True, 4, 1.05)


def test_every_experiment_comes_once_a_cycle():
    assert ids({"batch": [1, 8]}, {"cycles": 2}) == [
        "pytorch-bf16-b1-c0",
        "pytorch-bf16-b1-c1",
        "pytorch-bf16-b8-c0",
        "pytorch-bf16-b8-c1",
    ]
