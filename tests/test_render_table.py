"""The flat table and what is written from it: every number comes back, no text means anything but itself."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime

import pytest
from builders import a_cycle, a_measurement, a_metric, a_verdict, a_window, an_environment, metrics
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_lem.model.errors import UsageError
from pytest_lem.model.foreign import Foreign
from pytest_lem.model.measurement import MetricValue
from pytest_lem.model.metrics import METRICS
from pytest_lem.render import flat, latex, markdown
from pytest_lem.render.entries import entries
from pytest_lem.render.table import ABOUT, USUAL, table
from pytest_lem.store.report import Report, RunInfo


def a_report(*measured, verdicts=(), run="20260105Z-a", **changes):
    started = datetime(2026, 1, 5, 12, tzinfo=UTC)
    info = RunInfo(id=run, started=started, ended=None, complete=True, quick=False)
    return Report(run=info, environment=an_environment(), measurements=measured, verdicts=verdicts, **changes)


def a_foreign(**changes):
    seconds = MetricValue(value=0.25, unit="s", n=5, source="measured")
    row = {"name": "bench", "metrics": {"seconds": seconds}} | changes
    return Foreign(tool="stopwatch", version="2.0", file="b.json", means=("it counts seconds",), rows=[row])


def cells(found, index=0):
    return dict(zip([column.name for column in found.columns], found.rows[index], strict=True))


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


# What the table holds


def test_a_row_tells_what_was_measured_and_each_metric_with_its_interval():
    row = cells(table(entries([a_report(a_measurement(), verdicts=[a_verdict(test="elsewhere")])])))
    told = {
        "tool": "pytest-lem",
        "tool_version": "0.1.0",
        "run": "20260105Z-a",
        "started": "2026-01-05T12:00:00+00:00",
        "label": "test_decode[pytorch-bf16-b8-c0]",
        "engine": "pytorch",
        "precision": "bf16",
        "load": "batch 8",
        "tokens": "128 + 32 tokens",
        "device": "1 GPU",
        "board": "NVIDIA H100 80GB HBM3",
        "driver": "570.86.15",
        "rounds": 2,
        "valid_rounds": 2,
        "steady": True,
        "quick": False,
        "meters": "nvml (measured)",
        "verdict": None,
    }
    assert {key: row[key] for key in told} == told
    parts = ("", "_low", "_high", "_unit", "_n", "_source", "_covers", "_reason")
    assert [row[f"joules_per_token{part}"] for part in parts] == [
        0.4,
        0.4 * 0.98,
        0.4 * 1.02,
        "J/tok",
        8,
        "measured",
        "this session only",
        None,
    ]


def test_what_is_absent_is_null_with_its_reason():
    row = cells(table(entries([a_report(a_measurement(metrics=metrics(joules_per_token=None)))])))
    assert (row["joules_per_token"], row["joules_per_token_reason"]) == (None, "no meter works here")
    assert (row["joules_per_token_source"], row["joules_per_token_n"]) == (None, None)
    assert (row["goodput"], row["goodput_reason"]) == (None, "it was not part of this measurement")


def test_an_estimate_is_marked_in_the_table():
    guess = a_measurement(metrics=metrics(joules_per_token=a_metric(source="estimated")))
    assert cells(table(entries([a_report(guess)])))["joules_per_token_source"] == "estimated"


def test_the_worst_verdict_on_a_row_is_its_own():
    test = "benchmarks/test_decode.py::test_decode[pytorch-bf16-b8]"
    verdicts = [a_verdict(), a_verdict(status="failed"), a_verdict(test="t.py::other", status="failed")]
    rows = table(entries([a_report(a_measurement(test), a_window(), verdicts=verdicts)]))
    assert [cells(rows, place)["verdict"] for place in (0, 1)] == ["failed", None]


def test_a_window_has_no_engine_and_what_a_round_lost_is_counted():
    row = cells(table(entries([a_report(a_window(cycles=(a_cycle(lanes=2),)))])))
    assert (row["engine"], row["device"], row["label"]) == (None, None, "test_window · tokenize")
    assert (row["shared_host"], row["cycles"]) == (True, 1)


def test_a_metric_of_ones_own_comes_along_with_its_unit():
    own = MetricValue(value=3.5, unit="kg", n=2, source="measured")
    found = table(entries([a_report(a_measurement(metrics=metrics(weight=own)), a_measurement("t.py::b"))]))
    assert (cells(found)["weight"], cells(found)["weight_unit"]) == (3.5, "kg")
    assert cells(found, 1)["weight_reason"] == "it was not part of this measurement"
    assert next(column.unit for column in found.columns if column.name == "weight") == "kg"


def test_metrics_can_be_chosen_and_all_are_all():
    known = entries([a_report(a_measurement())])
    names = [column.name for column in table(known, ["ttft_ms", "ttft_ms"]).columns]
    assert (len(names), names[len(ABOUT)]) == (len(ABOUT) + 8, "ttft_ms")
    assert len(table(known, ["all"]).columns) == len(ABOUT) + 8 * len(METRICS)
    assert len(table(known).columns) == len(ABOUT) + 8 * len(USUAL)
    with pytest.raises(UsageError, match="--metric=ttft: unknown metric; the nearest known one is 'ttft_ms', 'all' is"):
        table(known, ["ttft"])


def test_every_column_says_what_it_means():
    columns = table(entries([a_report(a_measurement())]), ["all"]).columns
    assert all(column.definition for column in columns)
    assert len({column.name for column in columns}) == len(columns)
    units = {column.name: column.unit for column in columns}
    assert (units["ttft_ms"], units["ttft_ms_low"], units["ttft_ms_reason"]) == ("ms", "ms", "")


def test_another_tools_row_is_marked_as_such():
    row = cells(table(entries([a_report(a_measurement())], [a_foreign()])), 1)
    assert (row["tool"], row["tool_version"], row["run"], row["label"]) == ("stopwatch", "2.0", "b.json", "bench")
    assert (row["seconds"], row["notes"]) == (0.25, "it counts seconds")
    assert row["joules_per_token_reason"] == "stopwatch does not tell it"
    assert (row["test"], row["rounds"], row["quick"]) == (None, None, None)


# Files for other programs

NUMBERS = st.floats(-1e300, 1e300)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


@given(NUMBERS)
def test_numbers_come_back_whole_from_every_file(value):
    known = table(entries([a_report(a_measurement(metrics=metrics(seconds=a_metric("seconds", value))))]), ["seconds"])
    assert float(csv_rows(flat.as_csv(known))[0]["seconds"]) == value
    assert json.loads(flat.as_json(known))["rows"][0]["seconds"] == value


@given(TEXTS)
def test_no_text_becomes_a_formula_or_another_cell(name):
    (row,) = csv_rows(flat.as_csv(table(entries([], [a_foreign(name=name)]), ["seconds"])))
    assert row["label"] in (name, f"'{name}")
    assert not row["label"].lstrip(" ").startswith(tuple("=+-@\t\r＝＋－＠"))
    assert (row["seconds"], None not in row) == ("0.25", True)


@pytest.mark.parametrize("name", ['=cmd|"/c calc"!A1', "+1", "-1+1", "@SUM(A1)", "\t=1", "  =1", "＝1"])
def test_a_name_that_a_spreadsheet_would_run_is_text_to_it(name):
    (row,) = csv_rows(flat.as_csv(table(entries([], [a_foreign(name=name)]))))
    assert row["label"] == f"'{name}"


def test_what_is_absent_is_an_empty_cell_and_null():
    known = table(entries([a_report(a_measurement(metrics=metrics(joules_per_token=None)))]))
    (row,) = csv_rows(flat.as_csv(known))
    assert (row["joules_per_token"], row["joules_per_token_reason"]) == ("", "no meter works here")
    assert (row["steady"], row["quick"], row["rounds"]) == ("true", "false", "2")
    told = json.loads(flat.as_json(known))
    assert told["rows"][0]["joules_per_token"] is None
    assert told["schema"] == "lem.table/1"
    assert {"name": "power_w", "kind": "number", "unit": "W", "means": METRICS["power_w"].definition} in told["columns"]


@pytest.mark.neighbours("pyarrow")
def test_parquet_keeps_types_units_and_every_digit():
    import pyarrow
    from pyarrow import parquet

    rows = entries([a_report(a_measurement(metrics=metrics(seconds=a_metric("seconds", 0.1 + 0.2))))], [a_foreign()])
    read = parquet.read_table(pyarrow.BufferReader(flat.as_parquet(table(rows))))
    assert read.column("seconds").to_pylist() == [0.1 + 0.2, 0.25]
    assert read.column("joules_per_token").to_pylist() == [0.4, None]
    assert read.column("rounds").to_pylist() == [2, None]
    kinds = [str(read.schema.field(name).type) for name in ("label", "seconds", "rounds", "quick")]
    assert kinds == ["string", "double", "int64", "bool"]
    assert read.schema.field("joules_per_token").metadata[b"unit"] == b"J/tok"


@pytest.mark.neighbours("pyarrow")
def test_parquet_of_nothing_has_its_columns():
    import pyarrow
    from pyarrow import parquet

    read = parquet.read_table(pyarrow.BufferReader(flat.as_parquet(table([]))))
    assert (read.num_rows, "joules_per_token" in read.column_names) == (0, True)


def test_without_pyarrow_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"^--format=parquet needs pyarrow: pip install 'pytest-lem\[parquet\]'$"):
        flat.as_parquet(table([]))


# Tables for people


def seen(markdown_text):
    """The cells of its table as a reader sees them."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown_text):
        if token.type == "tr_open":
            found.append([])
        if token.type == "inline" and token.level >= 4:
            said = (each for each in token.children if each.type in ("text", "code_inline"))
            found[-1].append("".join(each.content for each in said))
    return found


def test_markdown_shows_a_number_with_its_interval_in_one_unit_a_column():
    known = entries([a_report(a_measurement(), a_measurement("t.py::b", metrics=metrics(joules_per_token=0.0312)))])
    head, first, second = seen(markdown.as_markdown(known))
    assert head[:4] == ["configuration", "J/token (mJ)", "tok/s", "TTFT (ms)"]
    assert first[:3] == ["test_decode[pytorch-bf16-b8-c0]", "400 ± 8", "500 ± 10"]
    assert second[:2] == ["b", "31.2 ± 0.6"]


def test_markdown_says_why_a_number_is_absent_what_is_estimated_and_what_is_alike():
    guess = metrics(joules_per_token=None, ttft_ms=a_metric("ttft_ms", 20.0, source="estimated"))
    text = markdown.as_markdown(entries([a_report(a_measurement(), a_measurement("t.py::b", metrics=guess))]))
    row = seen(text)[2]
    assert (row[1], row[3]) == ("– [1]", "~20.0 ± 0.4")
    assert r"- \[1\] no meter works here" in text
    assert "~ is estimated by a model, not measured" in text.replace("\\", "")
    assert "all of them: pytorch · synthetic:tiny · bf16 · batch 8 · 128 + 32 tokens · 1 GPU" in text


def test_a_row_of_another_tool_says_so_below_the_table():
    text = markdown.as_markdown(entries([a_report(a_measurement())], [a_foreign()]))
    assert [row[2] for row in seen(text)] == ["tool", "pytest-lem", "stopwatch"]
    assert "measured by stopwatch 2.0, not by pytest-lem: it counts seconds" in text


def test_nothing_measured_is_a_sentence():
    assert markdown.as_markdown([]) == "No measurement was made.\n"
    assert latex.as_latex([]).startswith("%")


PRINTED = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1)


@given(PRINTED)
def test_markdown_shows_any_text_as_it_is(name):
    expected = " ".join(name.split())
    rows = seen(markdown.as_markdown(entries([], [a_foreign(name=name, engine=name)]), ["seconds"]))
    assert len(rows) == 2
    assert rows[1][0].removesuffix(" [1]") == expected
    assert seen(f"|a|\n|-|\n| x{markdown.text(name)} |")[1] == [f"x{expected}"]


def test_latex_is_a_booktabs_table_with_intervals():
    known = entries([a_report(a_measurement(), a_measurement("t.py::b", metrics=metrics(joules_per_token=None)))])
    lines = [line.strip() for line in latex.as_latex(known).splitlines()]
    order = [r"\begin{table}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    assert [line for line in lines if line in order] == order
    columns = re.search(r"\\begin{tabular}{([lr]+)}", "\n".join(lines))[1]
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {len(row.split(" & ")) for row in rows} == {len(columns)}
    assert rows[0].startswith(r"configuration & J/token (mJ) & tok/s")
    assert rows[1].startswith(r"\texttt{test\_decode[pytorch-bf16-b8-c0]} & $400 \pm 8$ & $500 \pm 10$")
    assert r"\textendash{}\textsuperscript{[1]}" in rows[2]
    assert r"\par{\footnotesize [1] no meter works here}" in lines


def test_latex_writes_large_numbers_and_estimates_in_its_own_way():
    large = metrics(joules_per_token=a_metric(value=3e15, source="estimated"))
    text = latex.as_latex(entries([a_report(a_measurement(metrics=large))]), ["joules_per_token"])
    assert re.search(r"\$\{\\sim\}3000 \\pm 60\$", text)


@given(PRINTED)
@example("a--b,,c")
def test_latex_has_no_live_sign_of_a_text(name):
    told = latex.text(name)
    known = re.sub(r"\\[a-z]+\{\}|\\[{}$&#%_]|(?<=[-,])\{\}(?=[-,])", "", told)
    assert not set(known) & set("\\{}$&#%_^~<>|\"'`")
    assert "--" not in told
    (row,) = (line for line in latex.as_latex(entries([], [a_foreign(name=name)])).splitlines() if "texttt" in line)
    assert len(re.split(r"(?<!\\)&", row)) == 2
