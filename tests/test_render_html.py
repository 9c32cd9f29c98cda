"""The HTML report without a browser: what it is made of, that nothing gets out of its place, that nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import project  # noqa: F401 - puts the project's root on the path
import pytest
from builders import (
    GPU,
    SECOND,
    a_cycle,
    a_measurement,
    a_metric,
    a_reading,
    a_round,
    a_verdict,
    a_window,
    an_edge,
    an_engine,
    an_environment,
    an_invalid_round,
    metrics,
)

from benchmarks.pages import simulated
from pytest_lem.model.cycle import Gap
from pytest_lem.model.phases import BasePart, PhasePart, Phases
from pytest_lem.model.reading import DeviceState
from pytest_lem.render.configuration import provenance
from pytest_lem.render.html import rounds
from pytest_lem.render.html.data import page_data
from pytest_lem.render.html.packing import Texts, packed_value, short, unpacked
from pytest_lem.render.html.page import report_page
from pytest_lem.render.terminal import names_of
from pytest_lem.store.report import Report, RunInfo

EVIL = "\"></script><img src=x onerror=alert(1)><!--' "
BEGAN = datetime(2026, 1, 5, 9, tzinfo=UTC)


def a_report(*measurements, days=0, **changes):
    run = RunInfo(
        id=f"run-{days}",
        started=BEGAN + timedelta(days=days),
        ended=BEGAN + timedelta(days=days, hours=1),
        complete=True,
        quick=False,
    )
    return Report(**{"run": run, "environment": an_environment(), "measurements": measurements} | changes)


def data_of(*reports):
    return page_data(reports, names_of(reports[-1].measurements))


class Page(HTMLParser):
    """Elements with their attributes, and the text of scripts and cells."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.styles, self._open = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = tag
        if tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open == "style":
            self.styles[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def packed_page_data(text):
    return unpacked(re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)[1])


def cell_of(text, words):
    """The first table cell of `text` that holds `words`."""
    return next(cell for cell in re.findall(r"<td.*?</td>", text, re.S) if words in cell)


# What the page is given


def test_a_row_has_its_metrics_with_intervals_counts_and_whole_sentences():
    (row,) = data_of(a_report(a_measurement()))["rows"]
    assert row["name"] == "test_decode[pytorch-bf16-b8-c0]"
    assert row["line"] == "pytorch · synthetic:tiny · bf16 · batch 8 · 128 + 32 tokens · 1 GPU"
    assert row["m"]["joules_per_token"][:5] == [0.4, 0.392, 0.408, 8, 0]


def test_an_absent_metric_has_its_reason_and_no_number():
    data = data_of(a_report(a_measurement(metrics=metrics(joules_per_token=None))))
    value = data["rows"][0]["m"]["joules_per_token"]
    assert value[0] is None
    assert data["texts"][value[6]] == "no meter works here"


def test_an_estimate_is_told_from_a_measurement():
    texts = Texts()
    assert packed_value(a_metric(source="estimated", covers=None), texts)[4] == 1
    assert packed_value(a_metric(covers=None), texts) == [0.4, 0.392, 0.408, 8]


def test_each_text_is_kept_once():
    data = data_of(a_report(*(a_measurement(f"t.py::test[{place}]") for place in range(3))))
    assert data["texts"].count("this session only") == 1


def test_rounds_stand_in_columns_warm_up_first_with_what_each_came_to():
    (cycle,) = data_of(a_report(a_measurement()))["rows"][0]["cycles"]
    assert (cycle["w"], cycle["t"], cycle["d"]) == (1, [0, 5000, 10000], [4000, 4000, 4000])
    assert cycle["v"]["joules_per_token"] == [0.4, 0.4, 0.4]
    assert cycle["v"]["tokens_per_second"] == [500, 500, 500]
    assert cycle["dev"][0]["w"] == [200, 200, 200]


def test_an_invalid_round_says_why_and_a_noted_one_what():
    cycle = a_cycle(rounds=(an_invalid_round(1), a_round(2, notes=("late",))))
    data = data_of(a_report(a_measurement(cycles=(cycle,))))
    (packed,) = data["rows"][0]["cycles"]
    ((place, why),) = packed["bad"]
    assert (place, data["texts"][why]) == (1, "another process used the GPU")
    assert [(place, [data["texts"][each] for each in notes]) for place, notes in packed["said"]] == [(2, ["late"])]


def test_the_gap_before_an_engine_is_told_in_one_line():
    cool = Gap(asked="cool:120", seconds=42.04, ended="cool", temperature_c={"GPU-5c0ffee0": 41}, power_w={})
    capped = Gap(asked="cool", seconds=300.0, ended="cap", temperature_c={"GPU-a": 55}, power_w={"GPU-a": 91.26})
    fixed = Gap(asked="30", seconds=30.0, ended="elapsed")
    cycles = [a_cycle(index, gap=gap) for index, gap in enumerate((None, cool, capped, fixed))]
    data = data_of(a_report(a_measurement(cycles=cycles)))
    packed = data["rows"][0]["cycles"]
    assert [data["texts"][each["gap"]] if "gap" in each else None for each in packed] == [
        None,
        "waited 42 s before its engine started (--lem-gap=cool:120: cool; GPU-5c0f 41 °C)",
        "waited 300 s before its engine started (--lem-gap=cool: not cool at its cap; GPU-a 55 °C 91.3 W)",
        "waited 30 s before its engine started (--lem-gap=30: elapsed)",
    ]


def test_a_round_without_joules_leaves_a_gap_and_the_device_says_why():
    cycle = a_cycle(rounds=(a_round(1), a_round(2, devices=(a_reading(None),))))
    data = data_of(a_report(a_measurement(cycles=(cycle,))))
    (packed,) = data["rows"][0]["cycles"]
    assert packed["v"]["joules_per_token"] == [0.4, 0.4, None]
    assert packed["dev"][0]["w"] == [200, 200, None]
    assert [data["texts"][each] for each in packed["dev"][0]["why"]] == ["the counter could not be read"]


def test_idle_power_stands_beside_its_round():
    start = 5 * SECOND
    edges = {"head": an_edge(start - SECOND // 4), "tail": an_edge(start + 4 * SECOND + SECOND // 2, 800.0, power_w=75)}
    cycle = a_cycle(rounds=(a_round(1, devices=(a_reading(**edges),)),))
    (packed,) = data_of(a_report(a_measurement(cycles=(cycle,))))["rows"][0]["cycles"]
    assert packed["dev"][0]["idle"] == [[], [-250, 60, 500, 75]]


def test_clock_temperature_and_throttling_stand_beside_their_round():
    before = DeviceState(time_ns=5 * SECOND - SECOND // 10, sm_clock_mhz=1980, temperature_c=41)
    after = DeviceState(time_ns=9 * SECOND + SECOND // 10, temperature_c=52, throttle_reasons=("power cap", "heat"))
    cycle = a_cycle(rounds=(a_round(1, devices=(a_reading(before=before, after=after),)),))
    data = data_of(a_report(a_measurement(cycles=(cycle,))))
    device = data["rows"][0]["cycles"][0]["dev"][0]
    assert device["at"] == [[None, None], [-100, 100]]
    assert device["mhz"] == [[None, None], [1980, None]]
    assert device["deg"] == [[None, None], [41, 52]]
    ((place, side, why),) = device["hot"]
    assert (place, side, data["texts"][why]) == (1, 1, "power cap, heat")


def test_a_run_without_clocks_says_nothing_of_them():
    device = data_of(a_report(a_measurement()))["rows"][0]["cycles"][0]["dev"][0]
    assert not {"at", "mhz", "deg", "hot", "idle", "fine"} & set(device)


def test_ticks_of_the_counter_become_power_from_tick_to_tick():
    ticks = tuple((5 * SECOND + step * SECOND // 10, 20.0 * step + (5 if step > 1 else 0)) for step in range(4))
    cycle = a_cycle(rounds=(a_round(1, devices=(a_reading(ticks=ticks),)),))
    (packed,) = data_of(a_report(a_measurement(cycles=(cycle,))))["rows"][0]["cycles"]
    assert packed["dev"][0]["fine"] == [[1, [5100, 5200, 5300], [200, 250, 200]]]


def test_many_ticks_are_joined_and_no_joule_is_lost():
    ticks = tuple((step * SECOND // 10, float(step * step)) for step in range(1001))
    reading = a_reading(ticks=ticks)
    times, powers = rounds._curve(reading, 0, 50)
    assert len(times) == 50
    joules = sum(power * (time - old) / 1e3 for power, time, old in zip(powers, times, [0, *times], strict=False))
    assert joules == pytest.approx(1e6, rel=1e-3)


def test_points_within_rounds_are_shared_among_all_rounds():
    ticked = a_cycle(rounds=(a_round(1, devices=(a_reading(ticks=((0, 0.0), (9, 1.0))),)),))
    assert rounds.fine_points([a_measurement(cycles=(ticked,))]) == rounds.MOST_POINTS
    assert rounds.fine_points([a_measurement(cycles=(ticked,) * 800)]) == rounds.FINE_POINTS // 800
    assert rounds.fine_points([a_measurement()]) == 0


def test_a_window_has_joules_and_seconds_of_its_own():
    (row,) = data_of(a_report(a_window()))["rows"]
    assert row["cycles"][0]["v"] == {"gpu_joules": [800], "power_w": [200], "seconds": [4]}
    assert (row["line"], row["engines"]) == ("a window: no engine", [])


def test_what_was_asked_of_the_engine_stands_beside_what_was_observed():
    engine = an_engine(options={"use_cache": True}).model_copy(
        update={"observed": {"precision": "float32", "options": {"use_cache": True, "kernel": "sdpa"}}}
    )
    data = data_of(a_report(a_measurement(engine=engine)))
    told = [[data["texts"][place] if place >= 0 else None for place in field] for field in data["rows"][0]["engines"]]
    assert ["precision", "bfloat16", "float32"] in told
    assert ["options.use_cache", "yes", "yes"] in told
    assert ["options.kernel", None, "sdpa"] in told
    assert ["python", "not said", None] in told


def test_what_was_cut_of_prompts_stands_below_what_was_observed():
    work = {
        "source": "asked.txt",
        "prompt_tokens_before": 7,
        "prompt_tokens_after": 5,
        "arrivals": [{"arrival_s": 0.0}],
    }
    data = data_of(a_report(a_measurement(cycles=(a_cycle(work=work),))))
    told = [[data["texts"][place] if place >= 0 else None for place in field] for field in data["rows"][0]["engines"]]
    assert told[-3:] == [
        ["work.source", None, "asked.txt"],
        ["work.prompt_tokens_before", None, "7"],
        ["work.prompt_tokens_after", None, "5"],
    ]


@pytest.mark.parametrize(
    ("observed", "told"),
    [
        (["GPU-1", "GPU-2"], [["gpus", "2", "2"], ["gpu_uuids", None, "GPU-1, GPU-2"]]),
        ([], [["gpus", None, "none"]]),
    ],
    ids=["gpus", "cpu"],
)
def test_gpus_asked_by_number_are_no_different_when_seen_by_name(observed, told):
    engine = an_engine(gpus=2).model_copy(update={"observed": {"gpus": observed}})
    assert [list(field) for field in provenance(engine) if field[0].startswith("gpu")] == told


def test_phases_keep_the_reason_of_what_cannot_be_resolved():
    split = Phases(
        test="t.py::test_a",
        outputs=(8, 16),
        rounds=6,
        prefill=PhasePart(tokens=128, reason="unresolvable: 2 ms are too short for the meter"),
        decode=PhasePart(tokens=31, joules=3.1, joules_per_token=0.1, low=0.09, high=0.11),
    )
    (packed,) = data_of(a_report(a_measurement(), phases=(split,)))["phases"]
    assert packed["prefill"] == [128, None, None, None, None, None, "unresolvable: 2 ms are too short for the meter"]
    assert packed["decode"][:5] == [31, 3.1, 0.1, 0.09, 0.11]
    assert (packed["method"], packed["base"]) == ("windows", None)


def test_phases_of_traffic_bring_what_is_drawn_beside_them():
    split = Phases(
        test="t.py::test_a",
        method="regression",
        rounds=8,
        prefill=PhasePart(tokens=128, reason="unresolvable: collinear"),
        decode=PhasePart(tokens=31, joules=3.1, joules_per_token=0.1, low=0.09, high=0.11),
        base=BasePart(seconds=30.0, joules=4350.0, watts=145.0, low=120.0, high=170.0),
        notes=("1 round left out: fewer than 5 windows",),
    )
    (packed,) = data_of(a_report(a_measurement(), phases=(split,)))["phases"]
    assert (packed["method"], packed["base"]) == ("regression", [30, 4350, 145, 120, 170, None])
    assert packed["notes"] == ["1 round left out: fewer than 5 windows"]


@pytest.mark.parametrize(
    ("value", "told"), [(0.123456789, 0.123457), (2000.0, 2000), (1234567.8, 1234570), (None, None), (0.0, 0)]
)
def test_numbers_travel_as_long_as_they_are_known(value, told):
    assert short(value) == told


# Several runs


def test_the_newest_run_is_shown_and_the_others_are_its_history_whatever_their_order():
    old = a_report(a_measurement(metrics=metrics(joules_per_token=0.3)), days=0)
    new = a_report(a_measurement(metrics=metrics(joules_per_token=0.5)), days=2)
    data = packed_page_data(report_page([new, old]))
    assert [run["id"] for run in data["runs"]] == ["run-0", "run-2"]
    points = data["rows"][0]["history"]["joules_per_token"]
    assert [(point[0], point[1], point[5]) for point in points] == [(0, 0.3, -1), (1, 0.5, -1)]


def test_a_run_that_cannot_be_compared_says_what_differs():
    gpu = an_environment().gpus[0].model_copy(update={"driver": "560.1"})
    old = a_report(a_measurement(), environment=an_environment(gpus=(gpu,)))
    data = data_of(old, a_report(a_measurement(), days=1))
    first, last = data["rows"][0]["history"]["joules_per_token"]
    assert data["texts"][first[5]] == "driver 560.1 then, 570.86.15 now"
    assert last[5] == -1


def test_a_name_that_outlives_a_rename_keeps_its_history():
    old = a_report(a_measurement("old.py::test_was[x]", known_as="decode"))
    data = data_of(old, a_report(a_measurement("new.py::test_is[x]", known_as="decode"), days=1))
    assert [point[0] for point in data["rows"][0]["history"]["joules_per_token"]] == [0, 1]


def test_a_run_that_lacks_a_configuration_is_left_out_of_its_history():
    data = data_of(a_report(a_measurement("t.py::test_b")), a_report(a_measurement("t.py::test_a"), days=1))
    assert [point[0] for point in data["rows"][0]["history"]["joules_per_token"]] == [1]


# The page


def test_the_summary_shows_values_as_the_terminal_does_and_sorts_by_the_numbers():
    page = report_page([a_report(a_measurement())])
    assert "400.0 ±2.0 %" not in page  # ±2 %: three digits
    cell = cell_of(page, "400 ±2.0 %")
    assert 'data-v="0.4"' in cell


def test_an_absent_value_shows_its_reason_to_those_who_see_and_to_those_who_listen():
    page = report_page([a_report(a_measurement(metrics=metrics(power_w=None)))])
    cell = cell_of(page, "not measured")
    assert 'title="no meter works here"' in cell
    assert '<span class="sr"> not measured: no meter works here</span>' in cell
    assert '<li id="note-1"><b>[1]</b> no meter works here</li>' in page


def test_an_estimate_is_marked_and_said():
    page = report_page(
        [a_report(a_measurement(metrics=metrics(power_w=a_metric("power_w", 200.0, source="estimated"))))]
    )
    cell = cell_of(page, "~200")
    assert 'class="guess"' in cell
    assert '<span class="sr"> estimated</span>' in cell
    assert "~ estimated by a model, not measured" in page


def test_a_row_shows_the_worst_verdict_of_all_its_cycles():
    test = "t.py::test_a[x]"
    verdicts = (a_verdict(test="t.py::test_a[x-c0]"), a_verdict(test="t.py::test_a[x-c1]", status="failed", line="bad"))
    page = report_page([a_report(a_measurement(test), a_measurement("t.py::test_b[x]"), verdicts=verdicts)])
    first, second = re.findall(r"<tr data-row.*?</tr>", page, re.S)
    assert '<td class="word" title="bad" data-v="0"><span class="status failed">' in first
    assert "nothing was judged" in second


def test_what_is_alike_in_all_rows_is_said_once_and_what_differs_has_a_column():
    rows = [a_measurement(f"t.py::test_a[{each}]", engine=an_engine(each)) for each in ("pytorch", "vllm")]
    page = report_page([a_report(*rows)])
    assert "all of them: synthetic:tiny · bf16 · batch 8 · 128 + 32 tokens · 1 GPU" in page
    assert '<td class="word">vllm</td>' in page
    assert '<td class="word">bf16</td>' not in page


def test_the_environment_the_meters_and_what_is_missing_are_told():
    page = report_page([a_report(a_measurement(), missing=("t.py::test_b: failed: out of memory",))])
    assert "NVIDIA H100 80GB HBM3 · driver 570.86.15 · limit 700 W" in page
    assert "<dt>meter nvml</dt><dd>measured: NVIDIA H100 80GB HBM3</dd>" in page
    assert "<li>t.py::test_b: failed: out of memory</li>" in page


def test_a_run_that_measured_nothing_is_a_page_too():
    page = report_page([a_report()])
    assert "No measurement was made." in page
    assert packed_page_data(page)["rows"] == []


@pytest.mark.parametrize("place", ["test", "name", "model", "host", "reason", "verdict", "missing"])
def test_what_users_wrote_never_becomes_an_element(place):
    changes, measured = {}, {}
    if place == "host":
        changes["environment"] = an_environment(host=EVIL)
    elif place == "verdict":
        changes["verdicts"] = (a_verdict(line=EVIL, status="failed"),)
    elif place == "missing":
        changes["missing"] = (EVIL,)
    elif place == "model":
        measured["engine"] = an_engine(model=EVIL)
    elif place == "reason":
        measured["metrics"] = metrics(power_w=a_metric("power_w", None, reason=EVIL))
    else:
        measured[place] = EVIL
    plain = Page(report_page([a_report(a_measurement())]))
    page = Page(report_page([a_report(a_measurement(**measured), **changes)]))
    assert page.all("img") == []
    assert len(page.scripts) == len(plain.scripts)
    assert not any("onerror" in attributes for _, attributes in page.elements)


def test_nothing_is_loaded_and_the_policy_would_not_let_it():
    page = Page(report_page([a_report(a_measurement())]))
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert [each for _, each in page.elements if "src" in each] == []
    links = [each["href"] for _, each in page.elements if "href" in each]
    assert [link for link in links if not link.startswith("#")] == ["data:,"]
    assert not re.search(r"@import|url\(", page.styles[0])


def test_every_script_and_style_is_one_that_the_policy_names():
    page = Page(report_page([a_report(a_measurement())]))
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv")]
    kinds = [each.get("type") for each in page.all("script")]
    run = [text for text, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    assert len(run) == 9
    for source in [*run, *page.styles]:
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_every_element_that_a_script_asks_for_is_there():
    page = Page(report_page([a_report(a_measurement())]))
    known = {each["id"] for _, each in page.elements if "id" in each}
    own = "".join(text for text in page.scripts if "echarts.init" in text or "lem." in text)
    asked = set(re.findall(r'getElementById\("([\w-]+)"\)|lem\.select\("([\w-]+)"', own))
    assert {first or second for first, second in asked} - known == set()
    figures = {each["data-chart"] for each in page.all("figure")}
    assert figures == set(re.findall(r'lem\.chart\("(\w+)"', own))


def test_the_licences_of_the_charts_travel_with_the_page():
    page = report_page([a_report(a_measurement())])
    assert "Copyright 2017-2026 The Apache Software Foundation" in page
    assert "BSD 3-Clause License" in page


def test_the_same_report_makes_the_same_page_at_any_time(monkeypatch):
    report = a_report(a_measurement(), a_window())
    first = report_page([report])
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert report_page([report]) == first


def test_a_page_of_500_configurations_of_5_cycles_stays_below_4_megabytes():
    """By what 60 of them take; the slow tests make all of them."""
    nothing, some = (len(report_page([simulated.report(count, 5)]).encode()) for count in (1, 60))
    assert nothing + (some - nothing) / 59 * 499 < 4e6


def test_the_gpu_of_a_measurement_is_named():
    data = data_of(a_report(a_measurement()))
    device = data["rows"][0]["cycles"][0]["dev"][0]
    assert (data["texts"][device["id"]], data["texts"][device["name"]]) == (GPU, "NVIDIA H100 80GB HBM3")


# The last line of the summary


def costing(joules, name, **values):
    return a_measurement(f"t.py::{name}", metrics=metrics(joules_per_token=joules, **values))


def last_line(*measured):
    return re.search(r'<p id="cheapest"[^>]*>([^<]*)</p>', report_page([a_report(*measured)]))[1]


def test_the_cheapest_is_the_last_line_of_the_summary():
    line = last_line(costing(0.5, "dear"), costing(0.0312, "cheap"))
    assert line == "cheapest configuration: cheap with 31.2 mJ/tok"


def test_what_misses_the_service_level_is_never_the_cheapest():
    missed = costing(0.1, "missed", slo_met=0.0)
    line = last_line(missed, costing(0.4, "met", slo_met=1.0), costing(0.2, "unpromised"))
    assert line == "cheapest configuration that meets the service level: met with 400 mJ/tok"
    assert last_line(missed) == "cheapest configuration that meets the service level: none meets it"


def test_an_estimate_is_the_cheapest_only_where_nothing_was_measured():
    guess = costing(a_metric(value=0.1, source="estimated"), "guess")
    assert last_line(guess, costing(0.4, "known")) == "cheapest configuration: known with 400 mJ/tok"
    assert last_line(guess) == "cheapest configuration: guess with 100 mJ/tok (estimated)"


def test_without_joules_no_configuration_is_called_cheapest():
    assert last_line(costing(None, "a")).endswith("none can be told, as no joules per token are known")


# Colours, which axe sees in text only: what is drawn is told apart by them too


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_words_and_lines_stand_out_from_what_is_behind_them(theme):
    (style,) = Page(report_page([a_report(a_measurement())])).styles
    block = style[style.index(f"{theme} {{") :].partition("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
    for words in ("ink", "soft", "link", "bad", "good", "warn"):
        for back in ("back", "raised"):
            assert contrast(colours[words], colours[back]) >= 4.5, (words, back)
    assert contrast(colours["warn"], colours["warn-back"]) >= 4.5
    for line in (f"c{place}" for place in range(8)):
        assert contrast(colours[line], colours["back"]) >= 3, line
