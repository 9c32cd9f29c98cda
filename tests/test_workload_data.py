"""Files of prompts as people write them: what is odd in one is a line that says where."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_lem.model.data import DataSpec
from pytest_lem.model.errors import UsageError
from pytest_lem.model.specs import WorkloadSpec
from pytest_lem.workloads.data import read_data
from pytest_lem.workloads.traces import read_trace
from pytest_lem.workloads.work import check_workload


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A writer of files in the folder where the tests are run."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, content: str | bytes) -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


def refused(**asked) -> str:
    with pytest.raises(UsageError) as caught:
        read_data(DataSpec(**asked))
    return str(caught.value)


def not_asked(**asked) -> str:
    with pytest.raises(ValidationError) as caught:
        DataSpec(source="x.jsonl", **asked)
    return caught.value.errors()[0]["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{a", "expected '}' before end of string"),
        ("a}", "Single '}' encountered in format string"),
        ("{a} and {}", "a field has no column's name; write {column}, and {{ and }} for braces themselves"),
        ("{0}", "a field has no column's name; write {column}, and {{ and }} for braces themselves"),
        ("why?", "it names no column; write {column} where the row's text goes"),
        ("{{a}}", "it names no column; write {column} where the row's text goes"),
    ],
)
def test_a_template_that_is_none_is_refused_before_a_file_is_read(template, line):
    assert not_asked(template=template) == line


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{b}", "no column 'b'; its columns: a, n, tags, w"),
        ("{n}", "column 'n' has no value there"),
        ("{a.size}", "'str' object has no attribute 'size'"),
        ("{tags[name]}", "list indices must be integers or slices, not str"),
        ("{tags[7]}", "list index out of range"),
        ("{a:d}", "Unknown format code 'd' for object of type 'str'"),
        ("{a!z}", "Unknown conversion specifier z"),
        ("{a:>9999999999}", "a width or precision of 9999999999 in ':>9999999999'; 100000 is the most"),
        ("{w:.100001f}", "a width or precision of 100001 in ':.100001f'; 100000 is the most"),
        ("{a!r:{w}}", "a width or precision of 200000 in ':200000'; 100000 is the most"),
    ],
)
def test_a_row_that_a_template_cannot_be_filled_from_is_named_by_its_line(written, template, line):
    rows = [json.dumps({"a": "x", "n": None, "tags": ["y"], "w": 200_000})]
    name = written("qa.jsonl", "\n\n" + "\n".join(rows))
    assert refused(source=name, template=template) == f"data: qa.jsonl:3: template: {line}"


def test_a_template_may_fill_up_as_far_as_a_prompt_is_long(written):
    name = written("short.jsonl", json.dumps({"a": "x", "n": 2.5}))
    (text,) = read_data(DataSpec(source=name, template="{n:08.3f}{a:0>100000}")).texts
    assert (len(text), text[:9], text[-2:]) == (100_008, "0002.5000", "0x")


def test_a_template_reaches_into_columns_and_writes_numbers(written):
    name = written("chat.jsonl", json.dumps({"turns": [{"text": "why"}], "n": 3}))
    assert read_data(DataSpec(source=name, template="{{{turns[0][text]}}} {n}")).texts == ("{why} 3",)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"field": "a", "template": "{a}"}, "field and template each say what a prompt is; give one of them"),
        ({"too_long": "left"}, "too_long='left' says what becomes of prompts over max_tokens; give it"),
        ({"too_short": "drop"}, "too_short='drop' says what becomes of prompts under min_tokens; give it"),
        ({"min_tokens": 9, "max_tokens": 8}, "min_tokens (9) is above max_tokens (8)"),
    ],
)
def test_keywords_that_leave_nothing_to_do_are_refused(asked, line):
    assert not_asked(**asked) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"prompt": "a"}\n\n{"prompt": \n', "x.jsonl:3: no JSON: Expecting value"),
        ('{"prompt": "a"}\n["a"]\n', "x.jsonl:2: expected an object, got ['a']".replace("'", '"')),
        ('{"prompt": "a", "prompt": "b"}', "x.jsonl:1: there are two columns 'prompt'; rename one"),
        ('{"prompt": ' + "[" * 100_000, "x.jsonl:1: no JSON: maximum recursion depth exceeded"),
        ('{"prompt": ' + "9" * 5_000, "x.jsonl:1: no JSON: Exceeds the limit (4300 digits) for integer string"),
        (b'{"prompt": "a"}\n{"prompt": "\xff"}', "x.jsonl:2: no UTF-8 (byte 0xff)"),
        (
            '{"prompt": "a"}\n{"prompt": null}',
            "x.jsonl:2: column 'prompt': expected a text, and not an empty one (got N",
        ),
        ('{"prompt": ""}', "x.jsonl:1: column 'prompt': expected a text, and not an empty one (got '')"),
        ('{"prompt": 7}', "x.jsonl:1: column 'prompt': expected a text, and not an empty one (got 7)"),
        ('{"prompt": "a\\ud83d"}', "x.jsonl:1: column 'prompt': '\\ud83d' is half a character; no tokenizer takes it"),
        ('{"text": "a"}\n{"prose": "b"}', "x.jsonl:2: no column prompt or text or question or instruction or input; "),
        ("\n \n", "x.jsonl is empty; it needs at least one row"),
    ],
)
def test_a_broken_line_of_jsonl_is_named(written, content, line):
    found = refused(source=written("x.jsonl", content))
    assert found.startswith(f"data: {line}")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("\nprompt,n,prompt\na,1,b\n", "x.csv:2: there are two columns 'prompt'; rename one"),
        ('prompt,n\n"two\nlines",1\na\n', "x.csv:4: expected 2 columns as in the header, got 1"),
        ("prompt,n\na,1,2\n", "x.csv:2: expected 2 columns as in the header, got 3"),
        ('prompt\na\n"b\nc\n', "x.csv:3: no CSV: unexpected end of data"),
        ('prompt\n"a"b\n', "x.csv:2: no CSV: ',' expected after '\"'"),
        ("prompt,n\na,1\n,2\n", "x.csv:3: column 'prompt': expected a text, and not an empty one (got '')"),
        (b"prompt\na\n\xe9\n", "x.csv:3: no UTF-8 (byte 0xe9)"),
        ("", "x.csv is empty; it needs at least one row"),
    ],
)
def test_a_broken_row_of_a_csv_is_named_by_the_line_that_it_begins_at(written, content, line):
    assert refused(source=written("x.csv", content)) == f"data: {line}"


def test_a_csv_may_hold_a_long_context_and_leaves_csvs_limit_as_it_was(written):
    csv.field_size_limit(131_072)
    text = "a " * 200_000
    assert read_data(DataSpec(source=written("long.csv", f"prompt\n{text}\n"))).texts == (text,)
    assert csv.field_size_limit() == 131_072


@pytest.mark.parametrize("given", ["null", '"many"', "0", "2.5", "true", "Infinity", "NaN", "[1]"])
def test_an_answers_length_that_is_no_whole_number_is_named(written, given):
    name = written("x.jsonl", f'{{"prompt": "a", "n": 3}}\n{{"prompt": "a", "n": {given}}}')
    assert refused(source=name, output_field="n") == (
        f"data: x.jsonl:2: output_field 'n': expected a whole number from 1 (got {json.loads(given)!r})"
    )
    assert read_data(DataSpec(source=name, output_field="n", limit=1)).output_tokens == (3,)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            '{"arrival_s": Infinity, "prompt_tokens": 1, "output_tokens": 1}',
            "arrival_s: Input should be a finite number",
        ),
        (
            '{"arrival_s": 1, "prompt_tokens": 1.5, "output_tokens": 1}',
            "prompt_tokens: Input should be a valid integer",
        ),
        (
            '{"arrival_s": 1, "prompt": "", "output_tokens": 1}',
            "prompt: String should have at least 1 character (got '')",
        ),
        ('{"arrival_s": 1, "prompt_tokens": 1}', "output_tokens: Field required"),
        ('{"arrival_s": 1, "output_tokens": 1}', "prompt_tokens: give a number, or a prompt"),
    ],
)
def test_a_request_of_a_trace_that_cannot_be_is_named_by_its_line(written, given, line):
    first = '{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1}'
    name = written("day.jsonl", f"{first}\n{given}\n")
    with pytest.raises(UsageError) as caught:
        read_trace(name)
    assert str(caught.value).startswith(f"traffic: trace: day.jsonl:2: {line}")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, texts):
    folder: Path = tmp_path_factory.mktemp("data")
    (folder / "x.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in texts))
    with (folder / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["prompt"], *([text] for text in texts)])
    for name in ("x.jsonl", "x.csv"):
        assert read_data(DataSpec(source=str(folder / name))).texts == tuple(texts)


@given(st.binary(max_size=200), st.sampled_from([".jsonl", ".csv", ".txt", ".parquet"]))
def test_any_bytes_are_prompts_or_one_line(tmp_path_factory, content, suffix):
    file: Path = tmp_path_factory.mktemp("data") / f"x{suffix}"
    file.write_bytes(content)
    said = "data: x"
    try:
        assert all(read_data(DataSpec(source=str(file), field="text")).texts)
    except UsageError as error:
        said = str(error)
    assert said.startswith("data: x")
    assert "\n" not in said


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A folder with a Parquet file of two questions, their answers' lengths, and a column that is nested."""
    import pyarrow
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat").mkdir()
    columns = {"question": ["why", "how so"], "n": [3, 4], "turns": [[{"text": "a"}], [{"text": "b"}]]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "chat" / "train.parquet")
    return "chat/train.parquet"


@pytest.mark.neighbours("pyarrow")
def test_a_parquet_file_is_read_by_its_columns(table):
    found = read_data(DataSpec(source=table, output_field="n"))
    assert (found.texts, found.output_tokens) == (("why", "how so"), (3, 4))
    assert len(found.notes["sha256"]) == 64
    assert read_data(DataSpec(source=table, template="{turns[0][text]}: {question}?", limit=1)).texts == ("a: why?",)
    assert refused(source=table, field="prompt") == (
        "data: train.parquet, row 1: no column prompt; name one by field (it has question, n, turns)"
    )


@pytest.mark.neighbours("pyarrow")
def test_a_broken_parquet_file_and_one_without_rows_are_one_line(table, tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), tmp_path / "none.parquet")
    assert refused(source="none.parquet") == "data: none.parquet is empty; it needs at least one row"
    whole = (tmp_path / table).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert refused(source="cut.parquet").startswith("data: cut.parquet: no Parquet file: ")


@pytest.mark.neighbours("pyarrow")
def test_a_trace_may_be_a_parquet_file(tmp_path):
    import pyarrow
    from pyarrow import parquet

    columns = {"arrival_s": [0.0, 0.5], "prompt_tokens": [4, 8], "output_tokens": [2, 3], "user": ["x", None]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "day.parquet")
    found = read_trace(str(tmp_path / "day.parquet"))
    assert [(each.arrival_s, each.prompt_tokens, each.output_tokens) for each in found] == [(0, 4, 2), (0.5, 8, 3)]


def test_a_dataset_of_the_hub_without_its_library_is_one_line_before_an_engine_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    line = "data: hf:chat needs the datasets library: pip install datasets"
    assert refused(source="hf:chat") == line
    with pytest.raises(UsageError) as caught:
        check_workload(WorkloadSpec(data=DataSpec(source="hf:chat")))
    assert str(caught.value) == line


@pytest.mark.neighbours("pyarrow", "datasets")
def test_a_dataset_of_the_hub_is_read_from_a_local_copy(table, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    found = read_data(DataSpec(source="hf:chat", output_field="n"))
    assert (found.texts, found.output_tokens) == (("why", "how so"), (3, 4))
    assert found.notes == {"source": "hf:chat", "split": "train"}
    assert read_data(DataSpec(source="hf:chat", template="{question}?", limit=1)).texts == ("why?",)
    assert refused(source="hf:chat", field="prompt") == (
        "data: hf:chat, row 1: no column prompt; name one by field (it has question, n, turns)"
    )
    assert refused(source="hf:chat", split="test").startswith("data: hf:chat, split 'test': cannot be loaded: ")
