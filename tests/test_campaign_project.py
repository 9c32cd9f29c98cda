"""`lem.yaml`: values that know their lines, and files that cannot be, each with one line that says where."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign import project
from pytest_lem.campaign.matrix import Layers, cells, protocol
from pytest_lem.model.errors import UsageError

ENGINES = ("pytorch", "vllm")


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "lem.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return project.read(path)

    return read


def layers(written, marker=None):
    return Layers(marker or {}, {}, {}, {}, project=written.values, origins={"project": written.origins})


def test_no_file_and_an_empty_one_say_nothing(read, tmp_path):
    assert project.read(tmp_path / "none.yaml") == project.Project()
    assert read("# nothing yet\n") == project.Project()


def test_each_value_knows_its_line(read):
    written = read(
        "model: synthetic:tiny\n"
        "batch:\n"
        "  - 1\n"
        "  - {min: 2, max: 8, pow2: true}\n"
        "pytorch:\n"
        "  use_cache: false\n"
        "experiments:\n"
        "  - precision: fp16\n"
        "    cycles: 2\n"
    )
    assert written.values["batch"] == [1, {"min": 2, "max": 8, "pow2": True}]
    lines = {
        path: written.origins[path] for path in ("model", "batch[1]", "pytorch.use_cache", "experiments[0].cycles")
    }
    assert lines == {
        "model": "lem.yaml:1",
        "batch[1]": "lem.yaml:4",
        "pytorch.use_cache": "lem.yaml:6",
        "experiments[0].cycles": "lem.yaml:9",
    }


def test_an_alias_may_say_the_same_twice(read):
    written = read("pytorch: &options\n  use_cache: false\nvllm: *options\n")
    assert written.values["vllm"] == written.values["pytorch"] == {"use_cache": False}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", categories=["L", "N", "P"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc~-<", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.dictionaries(st.text("abcxyz_", min_size=1), VALUES, max_size=4))
def test_it_reads_what_pyyaml_reads(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("read") / "lem.yaml"
    text = yaml.safe_dump(values, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    try:
        assert project.read(path).values == yaml.safe_load(text)
    except UsageError as error:
        assert "'<<' is not read" in str(error)  # noqa: PT017 - the one thing that is refused on purpose
        assert "<<" in text


def bomb(depth=12):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: tiny\nbatch: 1\nmodel: tiny\n", "lem.yaml:3: 'model' is given twice, first in line 1; keep one"),
        ("pytorch:\n  a: 1\n  a: 2\n", "lem.yaml:3: 'a' is given twice, first in line 2; keep one"),
        ("pytorch:\n\tuse_cache: true\n", "lem.yaml:2: a tab; YAML is indented by spaces"),
        ("model: tiny\n- 1\n", "lem.yaml:2: "),
        ("batch: [1, 8\n", "lem.yaml:2: "),
        ("- batch\n", "lem.yaml:1: expected keywords such as `batch: [1, 8]`, got a list"),
        ("batch\n", "lem.yaml:1: expected keywords such as `batch: [1, 8]`, got 'batch'"),
        ("model: tiny\n8: 1\n", "lem.yaml:2: a keyword is a name, got '8'"),
        ("model: tiny\n'': 1\n", "lem.yaml:2: a keyword is a name, got ''"),
        ("[a]: 1\n", "lem.yaml:1: a keyword is a name, got a list"),
        ("model: a\n---\nmodel: b\n", "lem.yaml:2: "),
        ("x: &x {a: 1}\npytorch:\n  <<: *x\n", "lem.yaml:3: '<<' is not read here; write the keywords out"),
        ("pytorch: !!python/object:os.system {}\n", "lem.yaml:1: tag:yaml.org,2002:python/object:os.system is not"),
        ("model: !!python/name:os.system\n", "lem.yaml:1: could not determine a constructor"),
        ("model: tiny\nbatch: *b\n", "lem.yaml:2: found undefined alias 'b'"),
        ("model: tiny\nbatch: &b [1, *b]\n", "lem.yaml:2: an alias that holds itself"),
        ("seed: 2024-13-45\n", "lem.yaml:1: 2024-13-45: month must be in 1..12"),
        (bomb(), "lem.yaml:1: more than 100000 values, with its aliases unfolded"),
        ("batch: " + "[" * 5000, "lem.yaml: nested too deeply to be read"),
        (b"model: tiny\nbatch: \xff\n", "lem.yaml:2: not UTF-8 text; save it as such"),
        ("model: tiny\nbatch: \x00\n", "lem.yaml:2: a character that YAML does not allow"),
    ],
)
def test_a_file_that_cannot_be_is_one_line_with_its_line(read, text, line):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model: tiny\nbacth: 8\n", "lem.yaml:2: unknown keyword 'bacth'; the nearest known one is 'batch'"),
        ("batch: [1,\n  eight]\n", "lem.yaml:2: a batch is a whole number from 1, got 'eight'"),
        ("batch:\n", "lem.yaml:1: batch is empty; name at least one, or leave it out"),
        ("# a\nprecision: fp9\n", "lem.yaml:2: unknown precision 'fp9'"),
        ("model: {a: 1}\n", "lem.yaml:1: model: expected a name, got {'a': 1}"),
        ("prompt_tokens: yes\n", "lem.yaml:1: prompt_tokens: expected no truth value (got True)"),
        ("prompt_tokens: {min: 1, mx: 8}\n", "lem.yaml:1: prompt_tokens: unknown key of a range 'mx'"),
        ("gpus: two\n", "lem.yaml:1: gpus: Input should be a valid integer"),
        ("cycles: 1\nrounds: none\n", "lem.yaml:2: rounds: Input should be a valid integer"),
        ("pytorch: eager\n", "lem.yaml:1: pytorch: expected options as a dictionary"),
        ("experiments:\n - batch: 1\n - batch: 1\n   bacth: 8\n", "lem.yaml:4: unknown keyword 'bacth'"),
        ("experiments:\n - batch: 1\n - eight\n", "lem.yaml:3: experiments[1]: expected keywords as a dictionary"),
        ("unless:\n - batch: 1\n - btch: 1\n", "lem.yaml:3: unless: unknown keyword 'btch'"),
    ],
)
def test_a_value_that_cannot_be_names_its_line(read, text, line):
    def make():
        made = layers(read(text))
        cells(made, ENGINES)
        protocol(made, quick=False)

    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
