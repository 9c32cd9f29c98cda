"""Lists, ranges, explicit experiments and exclusions → points, each with an id of its own."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.ids import parse
from pytest_lem.campaign.matrix import Emptied, Layers, cells
from pytest_lem.model.errors import UsageError
from pytest_lem.model.precision import PRECISION_IDS

ENGINES = ("pytorch", "vllm")


def made(marker, command=None, **layers):
    return cells(Layers(marker, command or {}, {}, {}, **layers), ENGINES)


def ids(marker, command=None):
    return [cell.id for cell in made(marker, command)]


def some(*values, most=3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def whole(most=3):
    return st.lists(st.integers(1, 4096), min_size=1, max_size=most, unique=True)


GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "backend": some(*ENGINES, most=2),
        "model": some("synthetic:tiny", "tiny", "org/tiny", "tiny_no2", "vllm", "x/bf16", "a-b", "é", most=3),
        "precision": some(*PRECISION_IDS, most=2),
        "device": some("cpu", "cuda", "auto", most=2),
        "prompt_tokens": whole(2),
        "output_tokens": whole(2),
        "target_qps": st.lists(st.none() | st.floats(1e-9, 1e20), min_size=1, max_size=3, unique=True),
        "batch": whole(2),
        "pytorch": st.lists(st.sampled_from([{}, {"a": 1}, {"a": True}]), min_size=1, max_size=3, unique_by=repr),
    },
)
EXPERIMENTS = st.lists(
    st.tuples(GRIDS, st.fixed_dictionaries({}, optional={"seed": st.integers(-2, 2), "rounds": st.integers(1, 3)})).map(
        lambda both: both[0] | both[1]
    ),
    min_size=1,
    max_size=3,
)


def size(grid):
    """How many experiments a grid has: pytorch's sections count for pytorch alone."""
    lists = prod(len(values) for name, values in grid.items() if name not in ("backend", "pytorch"))
    sections = len(grid.get("pytorch", [{}]))
    return lists * sum(sections if backend == "pytorch" else 1 for backend in grid.get("backend", ["pytorch"]))


@given(GRIDS)
def test_every_combination_is_one_experiment(grid):
    assert len(made(grid)) == size(grid)


@given(GRIDS, st.integers(1, 3))
def test_ids_are_unique_and_say_what_runs_when_read_from_the_right(grid, cycles):
    found = made(grid, {"cycles": cycles})
    assert len({cell.id for cell in found}) == len(found)
    for cell in found:
        read = parse(f"user-s own-{cell.id}", ENGINES)
        assert (read.own, read.backend) == ("user-s own", cell.engine.backend)
        assert read.precision == cell.engine.precision_id
        assert (read.batch, read.cycle) == (cell.workload.batch, cell.cycle)
        assert (read.model is None) == (len(grid.get("model", ["one"])) == 1)
        assert (f"in{cell.workload.prompt_tokens}" in read.options) == (len(grid.get("prompt_tokens", [1])) > 1)
        assert (cell.engine.device in read.options) == (len(grid.get("device", [1])) > 1)


@given(EXPERIMENTS)
def test_a_list_of_experiments_is_their_union_in_order_each_once(entries):
    found = made({"experiments": entries})
    assert len({cell.id for cell in found}) == len(found)
    alone = [cell for entry in entries for cell in made(entry)]
    wanted = [(cell.engine, cell.workload) for cell in alone]
    assert list(dict.fromkeys((cell.engine, cell.workload) for cell in found)) == list(dict.fromkeys(wanted))
    assert len(made({"experiments": entries + entries})) == len(found)


RULES = st.dictionaries(
    st.sampled_from(["backend", "precision", "batch", "prompt_tokens", "device"]), st.none(), min_size=1, max_size=3
).flatmap(
    lambda keys: st.fixed_dictionaries(
        {
            name: {
                "backend": some(*ENGINES) | st.sampled_from(ENGINES),
                "precision": st.sampled_from(["bf16", "bfloat16", "fp16", "float16"]),
                "batch": some(1, 8, 64) | st.tuples(st.integers(1, 70), st.integers(1, 70)).map(tuple),
                "prompt_tokens": st.sampled_from([16, 32]),
                "device": some("cpu", "cuda"),
            }[name]
            for name in keys
        }
    )
)
FULL = {
    "backend": list(ENGINES),
    "precision": ["bf16", "fp16"],
    "device": ["cpu", "cuda"],
    "prompt_tokens": [16, 32],
    "batch": [1, 8, 64],
}


def matches(cell, rule):
    """`unless` said once more, as plainly as can be. A tuple stands for a range of two ends."""
    long = {short: name for name, short in PRECISION_IDS.items()}
    for name, value in rule.items():
        found = getattr(cell.workload if hasattr(cell.workload, name) else cell.engine, name)
        if isinstance(value, tuple):
            inside = min(value) <= found <= max(value)
        else:
            wanted = value if isinstance(value, list) else [value]
            inside = found in [long.get(one, one) for one in wanted]
        if not inside:
            return False
    return True


@given(st.lists(RULES, max_size=3))
def test_unless_removes_exactly_what_matches_and_renames_nothing(rules):
    everything = made(FULL)
    written = [
        {name: {"min": min(v), "max": max(v)} if isinstance(v, tuple) else v for name, v in rule.items()}
        for rule in rules
    ]
    found = made({**FULL, "unless": written})
    wanted = [cell.id for cell in everything if not any(matches(cell, rule) for rule in rules)]
    if wanted:
        assert [cell.id for cell in found] == wanted
    else:
        assert found == Emptied("unless (@pytest.mark.lem) leaves out all experiments of this test (48)")


def test_axes_of_several_values_are_words_of_one_options_part():
    marker = {
        "pytorch": [{"use_cache": True}, {"use_cache": False}],
        "prompt_tokens": [16, 256],
        "output_tokens": 8,
        "target_qps": [None, 2.5],
        "device": ["cpu", "cuda"],
        "batch": 4,
    }
    found = ids(marker)
    assert found[0] == "pytorch-bf16-o0_cpu_in16_qpsnone-b4-c0"
    assert found[-1] == "pytorch-bf16-o1_cuda_in256_qps2.5-b4-c0"
    assert len(found) == 16


def test_a_range_stands_for_a_list_or_in_one():
    assert ids({"batch": [3, {"min": 1, "max": 4, "pow2": True}]}) == [
        f"pytorch-bf16-b{batch}-c0" for batch in (3, 1, 2, 4)
    ]


def test_an_experiment_lies_above_the_marker_and_below_the_command_line():
    marker = {"batch": 4, "output_tokens": 7, "experiments": [{"batch": [1, 8]}, {"precision": "fp16"}]}
    found = made(marker)
    assert [(cell.id, cell.workload.output_tokens) for cell in found] == [
        ("pytorch-bf16-b1-c0", 7),
        ("pytorch-bf16-b8-c0", 7),
        ("pytorch-fp16-b4-c0", 7),
    ]
    assert ids(marker, {"batch": ["8", "4"]}) == ["pytorch-bf16-b8-c0", "pytorch-fp16-b4-c0"]
    assert made(marker, {"batch": ["2"]}) == Emptied(
        "--lem-batch=2 leaves nothing of this test's batch=[1, 8] (nor of its other experiments)"
    )


def test_experiments_that_differ_in_how_they_are_measured_have_ids_and_protocols_of_their_own():
    found = made({"experiments": [{"rounds": 3}, {"rounds": 9, "cycles": 2}]})
    assert [cell.id for cell in found] == [
        "pytorch-bf16-r0-b1-c0",
        "pytorch-bf16-r1-b1-c0",
        "pytorch-bf16-r1-b1-c1",
    ]
    assert [cell.point.protocol for cell in found] == [{"rounds": 3}] + [{"rounds": 9, "cycles": 2}] * 2


def test_experiments_share_an_engine_that_is_checked_once():
    seen = []

    def checked(engine):
        seen.append(engine)
        return engine

    marker = {"experiments": [{"batch": batch} for batch in range(1, 9)]}
    found = cells(Layers(marker, {}, {}, {}), ENGINES, checked=checked)
    assert len(seen) == 1
    assert len({id(cell.engine) for cell in found}) == 1


def test_what_is_left_out_is_never_checked():
    def checked(engine):
        assert engine.backend != "vllm"
        return engine

    marker = {"backend": ["pytorch", "vllm"], "unless": {"backend": "vllm"}}
    (cell,) = cells(Layers(marker, {}, {}, {}), ENGINES, checked=checked)
    assert cell.id == "pytorch-bf16-b1-c0"


def test_unless_knows_options_and_the_numbers_of_a_range():
    marker = {"pytorch": [{"use_cache": True}, {"use_cache": False}], "batch": list(range(1, 6))}
    rule = {"pytorch": {"use_cache": False}, "batch": {"min": 1, "max": 4, "pow2": True}}
    assert [cell.id for cell in made({**marker, "unless": rule}) if not cell.engine.options["use_cache"]] == [
        "pytorch-bf16-o1-b3-c0",
        "pytorch-bf16-o1-b5-c0",
    ]


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ({"min": 3, "max": 8}, [2, 16]),
        ({"min": 3.5}, [2]),
        ({"min": 2, "max": 9, "num": 3}, [4, 8, 16]),  # 2, 5.5 as the whole number 6, 9
        ({"min": 2, "max": 8, "pow2": True}, [16]),
        ([16, {"max": 3}], [4, 8]),
    ],
)
def test_unless_takes_a_range_of_an_option_or_of_a_keywords_field_as_of_a_keyword(wanted, left):
    vllm = {"backend": "vllm", "vllm": [{"max_num_seqs": number} for number in (2, 4, 8, 16)]}
    found = made({**vllm, "unless": {"vllm": {"max_num_seqs": wanted}}})
    assert [cell.engine.options["max_num_seqs"] for cell in found] == left
    traffic = {"backend": "vllm", "experiments": [{"traffic": {"qps": number}} for number in (2, 4, 8, 16)]}
    found = made({**traffic, "unless": {"traffic": {"qps": wanted}}})
    assert [cell.workload.traffic.qps for cell in found] == left


def test_unless_takes_an_option_that_is_itself_a_mapping_or_a_list_as_one():
    given = [{"split": {"max": 8}}, {"split": [2, 3]}, {"split": True}, {"split": 9}]
    for index, section in enumerate(given):
        found = made({"pytorch": given, "unless": {"pytorch": section}})
        assert [cell.engine.options for cell in found] == given[:index] + given[index + 1 :]


def test_a_default_can_be_left_out_too():
    assert made({"unless": {"precision": "bf16", "output_tokens": 32}}) == Emptied(
        "unless (@pytest.mark.lem) leaves out all experiments of this test (1)"
    )


def test_a_test_without_an_engine_has_ids_of_its_workload():
    marker = {"backend": ["pytorch", "vllm"], "prompt_tokens": [1, 2], "batch": [1, 8]}
    found = cells(Layers(marker, {}, {}, {}), ENGINES, takes=("lem_workload",))
    assert [cell.id for cell in found] == ["in1-b1", "in1-b8", "in2-b1", "in2-b8"]


@pytest.mark.parametrize(
    "text", ["", "c0", "b1-c0", "bf16-b1-c0", "other-bf16-b1-c0", "pytorch-bf16-b1-cx", "pytorch-fp9-o0-b1-c0"]
)
def test_what_is_no_id_is_said_to_be_none(text):
    with pytest.raises(ValueError, match="experiment"):
        parse(text, ENGINES)


@pytest.mark.parametrize(
    ("marker", "line"),
    [
        ({"experiments": []}, "@pytest.mark.lem: experiments is empty; name at least one, or leave it out"),
        ({"experiments": ["b8"]}, "@pytest.mark.lem: experiments[0]: expected keywords as a dictionary, got 'b8'"),
        (
            {"experiments": [{}, {"bacth": 1}]},
            "@pytest.mark.lem: experiments[1]: unknown keyword 'bacth'; the nearest known one is 'batch'",
        ),
        ({"experiments": {"batch": 0}}, "@pytest.mark.lem: experiments[0]: a batch is a whole number from 1, got 0"),
        (
            {"experiments": {"unless": {}}},
            "@pytest.mark.lem: experiments[0]: unless stands beside experiments, not in one of them",
        ),
        ({"unless": {}}, "@pytest.mark.lem: unless: expected keywords with values to leave out, got {}"),
        ({"unless": {"rounds": 3}}, "@pytest.mark.lem: unless: unknown keyword 'rounds'"),
        (
            {"unless": {"backend": "vlm"}},
            "@pytest.mark.lem: unless: unknown backend 'vlm'; the nearest known one is 'vllm'",
        ),
        ({"unless": {"precision": "fp9"}}, "@pytest.mark.lem: unless: unknown precision 'fp9'"),
        ({"unless": {"batch": []}}, "@pytest.mark.lem: unless: batch is empty"),
        (
            {"unless": {"vllm": {"max_num_seqs": {"min": 9, "max": 8}}}},
            "@pytest.mark.lem: unless: vllm.max_num_seqs: a range's min is above its max: 9 > 8",
        ),
        (
            {"unless": {"traffic": {"qps": {"min": 9, "maxx": 8}}}},
            "@pytest.mark.lem: unless: traffic.qps: unknown key of a range 'maxx'; the nearest known one is 'max'",
        ),
        ({"batch": {"min": 1, "max": 4}}, "@pytest.mark.lem: batch: a range needs pow2, or num"),
        ({"device": ["cpu", "gpu"]}, "@pytest.mark.lem: device: Input should be 'auto', 'cuda' or 'cpu' (got 'gpu')"),
        ({"prompt_tokens": True}, "@pytest.mark.lem: prompt_tokens: expected no truth value (got True)"),
        ({"rounds": True}, "@pytest.mark.lem: rounds: expected no truth value (got True)"),
        ({"model": 3}, "@pytest.mark.lem: model: expected a name, got 3"),
    ],
)
def test_what_cannot_be_is_one_line(marker, line):
    with pytest.raises(UsageError) as caught:
        made(marker)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
