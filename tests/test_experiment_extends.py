"""`_extends`: a file says only what it changes, and each value still knows its file and line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_lem.campaign.document import Document
from pytest_lem.experiment.extends import load, overlaid
from pytest_lem.model.errors import UsageError


@pytest.fixture
def files(tmp_path):
    """Writes files, and loads the first."""

    def load_first(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return load(
            tmp_path / f"{next(iter(texts))}.yaml", lambda path: path.resolve().relative_to(tmp_path).as_posix()
        )

    return load_first


def test_three_levels_say_only_what_they_change(files):
    found = files(
        experiment="_extends: multi-gpu.yaml\nbatch_size: 32\n",
        **{
            "multi-gpu": "# four\n_extends: base.yaml\nnum_gpus: 4\nsharding: tensor_parallel\n",
            "base": "model: llama-3.2-3b\nprecision: float16\nbatch_size: 16\nnum_gpus: 1\n",
        },
    )
    assert found.values == {
        "model": "llama-3.2-3b",
        "precision": "float16",
        "batch_size": 32,
        "num_gpus": 4,
        "sharding": "tensor_parallel",
    }
    assert {name: found.origins[name] for name in found.values} == {
        "model": "base.yaml:1",
        "precision": "base.yaml:2",
        "batch_size": "experiment.yaml:2",
        "num_gpus": "multi-gpu.yaml:3",
        "sharding": "multi-gpu.yaml:4",
    }


def test_mappings_are_merged_lists_and_scalars_replaced(files):
    found = files(
        a="_extends: b.yaml\nvllm:\n  max_num_seqs: 8\ngpus: [0]\ndecoder: {preset: creative}\n",
        b="vllm:\n  max_num_seqs: 4\n  seed: 1\ngpus: [0, 1]\ndecoder: deterministic\n",
    )
    assert found.values == {
        "vllm": {"max_num_seqs": 8, "seed": 1},
        "gpus": [0],
        "decoder": {"preset": "creative"},
    }
    assert {name: found.origins[name] for name in ("vllm", "vllm.max_num_seqs", "vllm.seed", "gpus[0]")} == {
        "vllm": "a.yaml:2",
        "vllm.max_num_seqs": "a.yaml:3",
        "vllm.seed": "b.yaml:3",
        "gpus[0]": "a.yaml:4",
    }
    assert "gpus[1]" not in found.origins


def test_of_several_files_the_later_one_wins(files):
    found = files(a="_extends: [b.yaml, c.yaml]\n", b="batch: 1\nseed: 1\n", c="batch: 2\n")
    assert found.values == {"batch": 2, "seed": 1}
    assert found.origins["batch"] == "c.yaml:1"


def test_a_diamond_is_no_circle(files):
    found = files(
        a="_extends: [b.yaml, c.yaml]\n",
        b="_extends: d.yaml\nbatch: 1\n",
        c="_extends: d.yaml\nseed: 3\n",
        d="batch: 4\nseed: 4\nrounds: 4\n",
    )
    # c comes later, and what it builds on is part of it
    assert found.values == {"batch": 4, "seed": 3, "rounds": 4}


def test_a_tower_of_diamonds_is_read_in_no_time(files):
    tower = {f"f{n}": f"_extends: [f{n + 1}.yaml, f{n + 1}.yaml]\n" for n in range(40)}
    assert files(**tower, f40="batch: 3\n").values == {"batch": 3}


def test_a_path_starts_at_the_file_that_names_it(files, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.yaml").write_text("_extends: ../c.yaml\n")
    assert files(a="_extends: deep/b.yaml\n", c="batch: 3\n").values == {"batch": 3}


def test_null_takes_back_what_was_said(files):
    found = files(a="_extends: b.yaml\nprecision: null\n", b="precision: float16\n")
    assert found.values == {"precision": None}


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({"a": "batch: 1\n_extends: a.yaml\n"}, "a.yaml:2: _extends: *circle: a.yaml → a.yaml"),
        (
            {"a": "_extends: b.yaml\n", "b": "_extends: c.yaml\n", "c": "\n_extends: b.yaml\n"},
            "c.yaml:2: _extends: *circle: b.yaml → c.yaml → b.yaml",
        ),
        ({"a": "_extends:\n - b.yaml\n - a.yaml\n", "b": ""}, "a.yaml:3: _extends: *circle: a.yaml → a.yaml"),
        ({"a": "_extends: no.yaml\n"}, "a.yaml:1: _extends: there is no file no.yaml; *"),
        ({"a": "_extends: .\n"}, "a.yaml:1: _extends: there is no file *"),
        ({"a": "_extends: 8\n"}, "a.yaml:1: _extends: expected a file's name, or a list of them, got 8"),
        ({"a": "_extends: []\n"}, "a.yaml:1: _extends: expected a file's name*got []"),
        ({"a": "_extends: [b.yaml, 8]\n", "b": ""}, "a.yaml:1: _extends: expected a file's name*"),
        ({"a": "_extends: b.yaml\n", "b": "batch: 1\nbatch: 2\n"}, "b.yaml:2: 'batch' is given twice*"),
        ({"a": "_extends: b.yaml\n", "b": "vllm:\n\tseed: 1\n"}, "b.yaml:2: a tab*"),
        ({"a": '_extends: "b\\0.yaml"\n'}, "a.yaml:1: _extends: expected a file's name*"),
    ],
)
def test_what_cannot_be_is_one_line_with_its_file_and_line(files, texts, line):
    with pytest.raises(UsageError) as caught:
        files(**texts)
    pytest.LineMatcher([str(caught.value)]).fnmatch_lines([line.replace("[]", "[[]]")])
    assert "\n" not in str(caught.value)


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "big.lem.yaml"
    path.write_text("# x\n" * (10 * 2**20 // 4))
    monkeypatch.setattr("yaml.SafeLoader", lambda _: pytest.fail("it was parsed"))
    with pytest.raises(UsageError, match=r"^big.lem.yaml: 10240 KiB; at most 256 are read"):
        load(path, lambda found: found.name)


TREES = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=9,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def told(values, name, path=""):
    """The origins that a reader would give."""
    found = {}
    for key, value in values.items():
        inner = f"{path}.{key}" if path else key
        found[inner] = name
        if isinstance(value, dict):
            found |= told(value, name, inner)
    return found


def merged(below, above):
    both = {
        key: merged(below[key], above[key])
        for key in below
        if key in above and isinstance(below[key], dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}


@given(below=MAPPINGS, above=MAPPINGS)
def test_any_two_files_merge_and_every_value_has_one_origin(below, above):
    found = overlaid(Document(below, told(below, "below")), Document(above, told(above, "above")))
    assert found.values == merged(below, above)
    assert set(found.origins) == set(told(found.values, ""))
    for path, origin in told(above, "above").items():
        assert found.origins[path] == origin
