"""The table shows every number with what it is worth, at any width, and says why a number is not there."""

from __future__ import annotations

import io
import re

import pytest
from builders import (
    a_cycle,
    a_measurement,
    a_meter,
    a_metric,
    a_round,
    a_window,
    an_invalid_round,
    metrics,
)
from rich.cells import cell_len

from pytest_lem.model.specs import ProtocolSpec, WorkloadSpec
from pytest_lem.render.terminal import console_for, print_table, table

WIDTHS = (40, 60, 72, 80, 100, 120, 160, 200)
NO_METER = "no meter reads the CPU here (nvml: no NVIDIA driver; rapl: not readable by this user)"


def decode(batch: int, **changes):
    model = "synthetic_llama_3.2_1b"
    return a_measurement(f"benchmarks/test_decode.py::test_decode[pytorch-{model}-bf16-b{batch}-c0]", **changes)


def headline(value: float, low: float, high: float, **changes):
    return metrics(joules_per_token=a_metric("joules_per_token", value, low=low, high=high, **changes))


def words(text: str) -> str:
    return " ".join(text.split())


def row(text: str, name: str) -> list[str]:
    """The cells of the line that begins with `name`."""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return line.removeprefix(name).split()


EVERYTHING = [
    decode(1, metrics=headline(3.214, 3.19, 3.238)),
    decode(8, cycles=(a_cycle(rounds=(a_round(0), an_invalid_round(1, "process 4123 used the GPU"))),)),
    decode(32, cycles=(a_cycle(steady=False, stopped="interrupted"),), metrics=metrics(ttft_ms=None)),
    decode(64, metrics=headline(0.05, 0.049, 0.051, source="estimated"), protocol=ProtocolSpec(quick=True)),
    a_window(),
]


def test_one_line_tells_a_measurement_where_there_is_room():
    text = table([a_measurement(metrics=headline(0.4123, 0.405, 0.419))], width=160)
    cells = row(text, "test_decode[pytorch-bf16-b8-c0]")
    assert cells == ["412", "±1.7", "%", "405..419", "500", "20.0", "10.0", "200", "3.00", "2/2", "measured"]
    labels, units = text.splitlines()[1:3]
    assert labels.split() == ["J/token", "interval", "tok/s", "TTFT", "TPOT", "W", "memory", "rounds", "source"]
    assert units.split() == ["mJ", "mJ", "ms", "ms", "GiB", "valid"]


def test_a_table_of_nothing_is_nothing():
    assert table([], width=80) == ""


def test_no_line_is_wider_than_the_terminal():
    for width in range(36, 180):
        for line in table(EVERYTHING, width=width).splitlines():
            assert cell_len(line) <= width, (width, line)


def test_a_terminal_too_narrow_for_columns_gets_each_value_with_its_label_and_unit():
    text = words(table(EVERYTHING, width=60))
    assert "J/token 3214 mJ ±0.75 %, interval 3190..3238 mJ, tok/s 500, TTFT 20.0 ms," in text
    assert "TTFT –[3], TPOT 10.0 ms," in text


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_dropped_at_any_width(width):
    text = words(table(EVERYTHING, width=width))
    for value in ("3214", "±0.75 %", "3190..3238", "~50.0", "estimated", "measured", "1/2", "QUICK", "not steady[2]"):
        assert value in text, value
    for reason in ("1 invalid round: process 4123 used the GPU", "no meter works here", "interrupted"):
        assert reason in text, reason
    for label in ("J/token", "interval", "tok/s", "TTFT", "TPOT", "W", "memory", "rounds", "source"):
        assert label in text, label


def test_at_80_columns_the_values_stand_below_a_long_name_and_under_their_header():
    lines = table([decode(1), decode(8)], width=80).splitlines()
    assert lines[4] == "test_decode[pytorch-synthetic_llama_3.2_1b-bf16-b1-c0]"
    assert lines[6] == "test_decode[pytorch-synthetic_llama_3.2_1b-bf16-b8-c0]"
    assert lines[1].index("tok/s") + len("tok/s") == lines[5].index(" 500 ") + len(" 500")
    assert lines[1].index("source") == lines[5].index("measured")


def test_values_of_a_column_share_one_unit():
    text = table([decode(1, metrics=headline(3.214, 3.19, 3.238)), decode(8), decode(32)], width=160)
    assert row(text, "test_decode[pytorch-synthetic_llama_3.2_1b-bf16-b1-c0]")[0] == "3214"
    assert row(text, "test_decode[pytorch-synthetic_llama_3.2_1b-bf16-b8-c0]")[0] == "400"
    assert text.splitlines()[2].split()[0] == "mJ"


def test_an_absent_value_is_a_dash_whose_footnote_gives_the_reason_once():
    absent = a_metric(value=None, reason=NO_METER)
    found = metrics(joules_per_token=absent, power_w=absent)
    text = table([decode(1, metrics=found), decode(8, metrics=found)], width=160)
    assert text.count("–[1]") == 4
    assert text.count(NO_METER) == 1
    assert f"[1] {NO_METER}" in text
    assert " 0 " not in text


def test_without_any_joules_the_interval_is_that_of_the_throughput():
    found = metrics(
        joules_per_token=None, tokens_per_second=a_metric("tokens_per_second", 500.0, low=480.0, high=520.0)
    )
    text = table([a_measurement(metrics=found)], width=120)
    assert row(text, "test_decode[pytorch-bf16-b8-c0]")[:5] == ["–[1]", "500", "±4.0", "%", "480..520"]
    assert "± and interval: 95 % of tok/s" in text


def test_an_estimate_is_marked_in_its_cell_and_in_its_source():
    text = table([a_measurement(metrics=headline(0.5, 0.48, 0.52, source="estimated"))], width=120)
    cells = row(text, "test_decode[pytorch-bf16-b8-c0]")
    assert cells[0] == "~500"
    assert cells[-1] == "estimated"
    assert "~ estimated by a model, not measured" in text


def test_a_measured_table_does_not_speak_of_estimates():
    assert "estimated" not in table([a_measurement()], width=120)


def test_a_quick_run_says_so_in_its_title():
    text = table([a_measurement(protocol=ProtocolSpec(quick=True))], width=120)
    assert text.splitlines()[0] == "1 measurement · QUICK: a first look, not gateable"
    assert text.count("QUICK") == 1


def test_a_quick_measurement_among_others_is_marked_itself():
    text = table([decode(1), decode(8, protocol=ProtocolSpec(quick=True))], width=80)
    assert text.splitlines()[0] == "2 measurements · 1 of them QUICK, not gateable"
    assert "b8-c0]  QUICK" in text
    assert "b1-c0]\n" in text


def test_a_measurement_that_did_not_settle_says_so():
    text = table([a_measurement(cycles=(a_cycle(steady=False),))], width=80)
    assert "test_decode[pytorch-bf16-b8-c0]  not steady[1]" in text
    assert "[1] not steady: warm-up ended at its cap before the rounds had settled" in text
    assert "not steady" not in table([a_measurement()], width=80)


def test_joules_of_several_gpus_say_how_far_apart_they_are():
    both = a_cycle(gpus=("GPU-a", "GPU-b"))
    told = table([decode(8, cycles=(both,), metrics=metrics(gpu_imbalance=0.0314))], width=120)
    assert "2 GPUs, 3.1 % apart in joules" in words(told)
    assert "GPUs" not in table([decode(8)], width=120)


def test_invalid_rounds_are_counted_with_their_reasons():
    rounds = (
        a_round(0),
        an_invalid_round(1, "process 41 used the GPU"),
        an_invalid_round(2, "process 43 used the GPU"),
        an_invalid_round(3, "the counter went backwards"),
    )
    text = table([a_measurement(cycles=(a_cycle(rounds=rounds),))], width=80)
    assert " 1/4 " in text
    assert "3 invalid[1][2]" in text
    assert "[1] 2 invalid rounds, such as: process 41 used the GPU" in text
    assert "[2] 1 invalid round: the counter went backwards" in text


def test_rounds_of_all_cycles_are_counted():
    cycles = (a_cycle(0, rounds=3), a_cycle(1, rounds=(a_round(0), an_invalid_round(1))))
    assert " 4/5 " in table([a_measurement(cycles=cycles)], width=120)


def test_a_single_round_has_no_interval_and_the_table_says_why():
    found = metrics(joules_per_token=a_metric("joules_per_token", 0.4, low=None, high=None, n=1))
    text = table([a_measurement(metrics=found)], width=120)
    assert row(text, "test_decode[pytorch-bf16-b8-c0]")[:2] == ["400", "–[1]"]
    assert "[1] no interval: a single round has none" in text


def test_a_measurement_cut_short_says_that_its_metrics_were_never_computed():
    text = table([a_measurement(metrics={}, cycles=(a_cycle(stopped="interrupted"),))], width=80)
    assert "interrupted" in text
    assert "[1] it was cut short before its metrics were computed" in text


def test_a_window_has_a_table_of_its_own():
    text = table([a_measurement(), a_window("tokenize")], width=120)
    assert "\n1 window\n" in text
    cells = row(text, "test_window · tokenize")
    assert cells == ["120", "–[1]", "–[2]", "1.50", "80.0", "1/1", "measured"]


def test_the_table_says_what_the_interval_covers_and_which_meters_were_read():
    meters = (a_meter(), a_meter("codecarbon", source="estimated"), a_meter("rapl", used=False, reason="not readable"))
    text = table([a_measurement(meters=meters)], width=120)
    assert "± and interval: 95 % of J/token, covering this session only" in text
    assert "meters: nvml (measured), codecarbon (estimated)\n" in text + "\n"


def test_tests_of_the_same_name_are_told_apart_by_their_files():
    tests = ("a/test_one.py::test_x[b8]", "a/test_two.py::test_x[b8]", "a/test_two.py::test_y[b8]")
    text = table([a_measurement(test) for test in tests], width=200)
    assert re.findall(r"^\S*test_[xy]\S*", text, re.MULTILINE) == [*tests[:2], "test_y[b8]"]


def test_measurements_of_one_test_are_told_apart_by_their_names():
    text = table([a_measurement(name="prefill"), a_measurement(name="decode")], width=200)
    assert "test_decode[pytorch-bf16-b8-c0] · prefill " in text
    assert "test_decode[pytorch-bf16-b8-c0] · decode " in text


def test_a_terminal_without_unicode_gets_plain_signs():
    text = table(EVERYTHING, width=120, encoding="ascii")
    assert text.isascii()
    assert "?" not in text
    assert "+-0.75 %" in text


def test_a_pipe_gets_the_plain_text():
    file = io.StringIO()
    print_table(EVERYTHING, console_for(file, width=100, colour=False))
    assert file.getvalue() == table(EVERYTHING, width=100) + "\n"


def test_a_terminal_gets_the_same_text_in_colour(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    print_table(EVERYTHING, console_for(file, width=100, colour=True))
    assert "\x1b[" in file.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert plain == table(EVERYTHING, width=100) + "\n"


def traffic(**values):
    """A measurement of traffic that promised a service level."""
    known = {
        "joules_per_good_request": 12.0,
        "requests_per_second": 8.0,
        "goodput": 7.96,
        "ttft_p99_ms": 180.0,
        "tpot_p99_ms": 12.0,
        "good_share": 0.99599,
        "slo_met": 1.0,
        "idle_share": 0.125,
    }
    workload = WorkloadSpec(traffic={"qps": 8.0, "requests": 100}, slo={"ttft_ms": 200})
    return a_measurement(workload=workload, metrics=metrics(**known | values))


def test_traffic_has_a_table_of_its_own():
    text = table([a_measurement(), traffic(), a_window()], width=170)
    titles = [line for line in text.splitlines() if line.startswith("1 ")]
    assert titles == ["1 measurement", "1 measurement of traffic", "1 window"]
    lines = text.splitlines()
    start = lines.index("1 measurement of traffic")
    labels, units, cells = (re.split(r" {2,}", lines[start + i].strip()) for i in (1, 2, 4))
    columns = ["J/token", "interval", "J/good req", "tok/s", "req/s", "goodput", "TTFT p99", "TPOT p99", "SLO", "idle"]
    assert labels == [*columns, "W", "memory", "rounds", "source"]
    assert units == ["mJ", "mJ", "J", "req/s", "ms", "ms", "GiB", "valid"]
    values = ["400 ±2.0 %", "392..408", "12.0", "500", "8.00", "7.96", "180", "12.0", "met 99.5 %", "12.5 %"]
    assert cells[1:] == [*values, "200", "3.00", "2/2", "measured"]


def test_traffic_that_promised_nothing_has_no_columns_for_it():
    absent = dict.fromkeys(("joules_per_good_request", "goodput", "good_share", "slo_met", "peak_memory_bytes"))
    text = table([traffic(**absent)], width=170)
    assert re.split(r" {2,}", text.splitlines()[1].strip())[2:5] == ["tok/s", "req/s", "TTFT p99"]
    assert "SLO" not in text


def test_a_service_level_that_was_missed_says_by_how_much():
    assert "missed 83.2 %" in table([traffic(slo_met=0.0, good_share=0.832)], width=170)


def test_notes_on_rounds_that_count_are_told_once():
    noted = [a_round(i, notes=(f"dispatch: requests were sent up to {i}.5 ms late",)) for i in range(3)]
    text = table([a_measurement(cycles=(a_cycle(rounds=(*noted, a_round(3))),))], width=170)
    assert "3 noted[1]" in text
    assert "[1] 3 rounds, such as: dispatch: requests were sent up to 0.5 ms late" in text


def test_a_note_on_the_strategy_and_padding_that_is_worth_telling_stand_beside_the_name():
    cycle = a_cycle(notes=("the batching strategy is a way of submitting here",))
    text = table([a_measurement(cycles=(cycle,), metrics=metrics(padding_share=0.2341))], width=170)
    assert "note[1]" in text
    assert "23.4 % of prompt tokens are padding" in text
    assert "[1] the batching strategy is a way of submitting here" in text
    assert "padding" not in table([a_measurement(metrics=metrics(padding_share=0.004))], width=170)
