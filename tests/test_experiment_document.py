"""Whatever stands in a file: the right experiment, or one line with its file and line. Fuzzed."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_lem.campaign.document import MOST_BYTES, read
from pytest_lem.engines import registry
from pytest_lem.experiment.check import campaign_or_files, checked
from pytest_lem.experiment.kinds import parts_of
from pytest_lem.experiment.schema import schema
from pytest_lem.experiment.words import NEUTRAL, WORDS
from pytest_lem.model.errors import UsageError

NAMES = sorted({part for word in (*WORDS, *NEUTRAL) for part in word.split(".")} | set(schema()["properties"]))
OPTIONS = sorted(registry.entry("vllm").options.model_fields)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(
        ["4bit", "sorted", "poisson", "fp16", "vllm", "pytorch", "5%", "creative", "tensor_parallel", "x", ""]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=5),
    st.dates(),
)
KEYS = st.sampled_from([*NAMES, *NAMES, *WORDS, *OPTIONS, "min", "max", "num", "pow2", "exclude"]) | st.text(
    "ab.:[", max_size=3
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
FILES = st.dictionaries(KEYS, VALUES, max_size=5)


def nested(flat):
    """Words with dots → sections; a word that is a section too stays what it is."""
    found = {}
    for name, value in flat.items():
        section, _, field = name.rpartition(".")
        if not section:
            found[name] = value
        elif isinstance(found.setdefault(section, {}), dict):
            found[section][field] = value
    return found


def fitting(kind):
    """Values that a word may have, and now and then one that it may not."""
    plain = {
        bool: st.booleans(),
        int: st.integers(0, 9),
        float: st.sampled_from([0, 0.5, 1, 4.0]),
        str: st.sampled_from(TEXTS),
    }
    ways = []
    for part in parts_of(kind):
        inner = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(inner) is Literal:
            ways.append(st.sampled_from(get_args(inner)))
        elif get_origin(inner) is list:
            ways.append(st.lists(SCALARS if get_args(inner)[0] is Any else fitting(get_args(inner)[0]), max_size=2))
        else:
            ways.append(plain.get(inner, st.just({"min": 1, "max": 4, "num": 2})))
    return st.one_of(*ways, *ways, *ways, *ways, SCALARS)


TEXTS = ["x", "pytorch", "vllm", "fake", "tensorrt", "builtin:chat", "synthetic:tiny", "uniform(4, 8)", "cpu", "auto"]
WORD = st.sampled_from(sorted(WORDS)).flatmap(lambda name: st.tuples(st.just(name), fitting(WORDS[name].kind)))
LIKELY = st.lists(WORD, max_size=5).map(dict).map(nested)
AXIS = st.sampled_from(sorted(WORDS)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(fitting(WORDS[name].kind), min_size=1, max_size=2))
)
RULE = st.lists(WORD, min_size=1, max_size=2).map(dict)
METRIC = st.sampled_from(["joules_per_token", "tokens_per_second", "joules"])
STRUCTURE = st.fixed_dictionaries(
    {},
    optional={
        "sweep": st.lists(AXIS, max_size=2).map(dict) | st.fixed_dictionaries({"exclude": st.lists(RULE, max_size=2)}),
        "experiments": st.lists(LIKELY, max_size=2),
        "unless": RULE,
        "budget": st.dictionaries(METRIC, SCALARS, max_size=2),
        "gate": st.dictionaries(METRIC, SCALARS | st.just({"threshold": 0.1}), max_size=2) | METRIC | st.lists(METRIC),
        "pytorch": st.dictionaries(
            st.sampled_from(["use_cache", "torch_compile", "traffic", "x"]), SCALARS, max_size=2
        ),
        "vllm": st.dictionaries(st.sampled_from(OPTIONS), SCALARS, max_size=2),
        "tensorrt": SCALARS,
    },
)


def look(text, folder):
    """What a file comes to, or the line that says why not; anything else is a fault of ours."""
    path = folder / "a.lem.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        _, files = campaign_or_files(path, lambda found: found.name)
        return [checked(file, lambda found: found.name) for file in files]
    except UsageError as error:
        return str(error)


def well_said(line):
    return re.match(r"a\.lem\.yaml(:\d+)?: ", line) and "\n" not in line and "Traceback" not in line


@given(values=FILES)
def test_any_values_are_an_experiment_or_one_line(values, tmp_path_factory):
    found = look(yaml.safe_dump(values, allow_unicode=True), tmp_path_factory.mktemp("fuzz"))
    if isinstance(found, str):
        assert well_said(found), found
    else:
        for each in found:
            assert list(each.lines())


@settings(max_examples=300)
@given(likely=LIKELY, structure=STRUCTURE)
def test_words_in_any_company_are_an_experiment_or_one_line(likely, structure, tmp_path_factory):
    found = look(yaml.safe_dump({**likely, **structure}, allow_unicode=True), tmp_path_factory.mktemp("fuzz"))
    if isinstance(found, str):
        assert well_said(found), found
    else:
        for each in found:
            assert list(each.lines())
            assert all(origin for origin in each.experiment.origins.values())


@given(text=st.text(st.characters(codec="utf-8"), max_size=60) | st.text("ab: -[]{}&*!|>'\"\n\t#%@", max_size=40))
def test_any_text_is_an_experiment_or_one_line(text, tmp_path_factory):
    found = look(text, tmp_path_factory.mktemp("fuzz"))
    assert not isinstance(found, str) or well_said(found), found


@given(raw=st.binary(max_size=40))
def test_any_bytes_are_an_experiment_or_one_line(raw, tmp_path_factory):
    found = look(raw, tmp_path_factory.mktemp("fuzz"))
    assert not isinstance(found, str) or well_said(found), found


@given(values=FILES, below=FILES)
def test_a_file_over_any_other_is_an_experiment_or_one_line(values, below, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "base.yaml").write_text(yaml.safe_dump(below, allow_unicode=True))
    found = look(yaml.safe_dump({**values, "_extends": "base.yaml"}, allow_unicode=True), folder)
    assert not isinstance(found, str) or re.match(r"(a\.lem|base)\.yaml(:\d+)?: ", found), found


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join(lines + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", None),
        ("# nothing\n", None),
        ("batch: 1\nbatch: 2\n", "a.lem.yaml:2: 'batch' is given twice, first in line 1; keep one"),
        ("vllm:\n\tseed: 1\n", "a.lem.yaml:2: a tab; YAML is indented by spaces"),
        (bomb(), "a.lem.yaml:1: more than 100000 values, with its aliases unfolded"),
        ("- batch\n", "a.lem.yaml:1: expected keywords such as `batch: [1, 8]`, got a list"),
        ("batch: &b [1, *b]\n", "a.lem.yaml:1: an alias that holds itself"),
        ("batch: 1\n\n---\nbatch: 2\n", "a.lem.yaml:3: "),
        ("x: &x {strategy: static}\n", "a.lem.yaml:1: unknown key 'x'; the nearest known one is "),
        ("batching.batch_size: 8\n", "a.lem.yaml:1: batching.batch_size: names have dots under sweep only; write `ba"),
        ("vllm.seed: 8\n", "a.lem.yaml:1: vllm.seed: names have dots under sweep only; write `vllm: {seed: …}`"),
        (":.: 8\n", "a.lem.yaml:1: unknown key ':.'; the nearest known one is "),
        ("batch: " + "9" * 5000 + "\n", "a.lem.yaml:1: "),
    ],
)
def test_what_no_hand_should_write_is_one_line(text, line, tmp_path):
    found = look(text, tmp_path)
    if line is None:
        assert [each.count for each in found] == [1]
    else:
        assert found.startswith(line)
        assert well_said(found)


def test_the_largest_file_that_is_read_is_read(tmp_path):
    path = tmp_path / "a.lem.yaml"
    path.write_text("batch: 3\n# " + "x" * (MOST_BYTES - 11))
    assert path.stat().st_size == MOST_BYTES
    assert read(path, "a").values == {"batch": 3}
    path.write_text(path.read_text() + "x")
    assert look(path.read_text(), tmp_path) == (
        "a.lem.yaml: 256 KiB; at most 256 are read: keep prompts in a file of data"
    )
