"""The HTML report in a real Chromium: it works with a mouse, a keyboard, a phone, and where something fails."""

from __future__ import annotations

import project  # noqa: F401 - puts the project's root on the path
import pytest
from builders import a_cycle, a_measurement, an_environment, metrics
from test_render_html import EVIL, a_report

from benchmarks.pages import simulated
from pytest_lem.model.cycle import Gap
from pytest_lem.render.html.page import report_page

pytestmark = [pytest.mark.slow, pytest.mark.browser]
BROKEN_CHARTS = "Object.defineProperty(window, 'echarts', {get() { throw new Error('no canvas'); }, set() {}});"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """24 simulated configurations of 2 cycles, with two earlier runs."""
    runs = [simulated.report(24, 2, days=day, dearer=1 + day / 50) for day in range(3)]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(report_page(runs))
    return path


def rows(page):
    """The names of the rows that are shown, from the top."""
    return page.eval_on_selector_all("table.sortable tbody tr:not([hidden]) a", "all => all.map(a => a.textContent)")


def column(page, label):
    """What the first table's shown rows say in a column."""
    return page.evaluate(
        """label => {
            const table = document.querySelector("table.sortable");
            const heads = [...table.tHead.rows[0].cells];
            const place = heads.findIndex(head => head.querySelector(".label").textContent === label);
            return [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => Number(row.cells[place].dataset.v));
        }""",
        label,
    )


def figure(page, name):
    found = page.locator(f'figure[data-chart="{name}"]')
    found.scroll_into_view_if_needed()
    return found


def drawn(page, name):
    """Whether the chart's canvas has anything on it."""
    figure(page, name).locator("canvas").wait_for()
    return page.evaluate(
        """name => {
            const canvas = document.querySelector(`figure[data-chart="${name}"] canvas`);
            const bytes = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return new Set(new Uint32Array(bytes.buffer)).size > 4;
        }""",
        name,
    )


def table(page, name):
    """A chart's numbers as rows of text."""
    found = figure(page, name)
    found.locator("summary").click()
    found.locator("tbody tr").first.wait_for()
    return found.locator("tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(c => c.textContent))")


def test_every_chart_is_drawn_and_told_in_words(visit, page_file):
    page = visit(page_file)
    for name in ("costs", "pareto", "phases", "searches", "rounds", "power", "clocks", "history"):
        assert drawn(page, name), name
        words = figure(page, name).locator("figcaption").inner_text()
        assert len(words) > 30, name
        assert page.get_by_role("img", name=words, exact=True).count() == 1, name


def test_a_click_on_a_header_sorts_and_another_turns_it_round(visit, page_file):
    page = visit(page_file)
    head = page.locator("table.sortable").first.locator("th", has_text="J/token")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = column(page, "J/token")
    assert values == sorted(values)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "J/token") == sorted(values, reverse=True)
    others = page.locator("table.sortable").first.locator('th[aria-sort="descending"]')
    assert others.count() == 1


def test_what_is_absent_is_last_in_either_order(visit, tmp_path):
    costs = {"a": 0.5, "b": None, "c": 0.2}
    found = [
        a_measurement(f"t.py::test[{name}]", metrics=metrics(joules_per_token=cost)) for name, cost in costs.items()
    ]
    (tmp_path / "page.html").write_text(report_page([a_report(*found)]))
    page = visit(tmp_path / "page.html")
    button = page.locator("th", has_text="J/token").first.locator("button")
    button.click()
    assert rows(page) == ["test[c]", "test[a]", "test[b]"]
    button.click()
    assert rows(page) == ["test[a]", "test[c]", "test[b]"]


def test_the_keyboard_sorts_filters_and_opens_a_configuration(visit, page_file):
    page = visit(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    head = page.locator("table.sortable").first.locator("th", has_text="tok/s")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator("#filter-words").focus()
    page.keyboard.type("pytorch b8-")
    assert len(rows(page)) == 1
    link = page.locator("table.sortable tbody tr:not([hidden]) a").first
    link.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "details"
    assert page.locator("#details-row option:checked").inner_text() == link.inner_text()


def test_words_and_verdicts_filter_rows_and_charts(visit, page_file):
    page = visit(page_file)
    assert page.locator("#filter-count").inner_text() == "24 shown"
    page.fill("#filter-words", "vllm 3.2-1b")
    assert page.locator("#filter-count").inner_text() == "8 of 24 shown"
    assert all("vllm-llama-3.2-1b" in name for name in rows(page))
    assert len(table(page, "costs")) == 8
    page.fill("#filter-words", "")
    page.select_option("#filter-verdict", "failed")
    judged = page.locator("table.sortable tbody tr:not([hidden]) .status").all_inner_texts()
    assert judged
    assert all("failed" in each for each in judged)
    page.fill("#filter-words", "no such thing")
    assert rows(page) == []
    figure(page, "costs")
    page.wait_for_function("document.querySelector('[data-chart=costs] figcaption').textContent.includes('leaves no')")


def test_the_front_is_what_no_other_configuration_beats_in_both(visit, page_file):
    page = visit(page_file)
    front = page.evaluate(
        """() => {
            const points = [[1, 9], [2, 5], [3, 7], [4, 5], [5, 1], [2, 6]].map(([x, y]) => ({x, y}));
            const told = found => found.map(({x, y}) => [x, y]);
            return [told(lem.front(points, false)), told(lem.front(points, true))];
        }"""
    )
    assert front == [[[1, 9], [2, 5], [5, 1]], [[1, 9]]]
    told = {row[0]: (float(row[1]), float(row[2]), row[3]) for row in table(page, "pareto")}
    small = {name: each for name, each in told.items() if "3.2-1b" in name}
    for name, (latency, cost, on) in small.items():
        beaten = any(a < latency and b < cost for other, (a, b, _) in small.items() if other != name)
        assert not (on == "yes" and beaten), name
    assert {on for *_, on in small.values()} == {"yes", "no"}


def test_numbers_are_shown_in_the_units_of_the_tables(visit, page_file):
    page = visit(page_file)
    told = page.evaluate(
        """() => [[[0.412], "J/tok"], [[1400], "W"], [[20000], "W"], [[12000], "tok/s"], [[0.35], "ms"], [[3.2e9], "B"],
            [[null, 0.0412], "J/tok"], [[0.993], "1"]]
            .map(([values, unit]) => { const s = lem.scale(values, unit);
                return `${lem.number(values[values.length - 1] * s.factor)} ${s.unit}`.trim(); })"""
    )
    assert told == ["412 mJ/tok", "1400 W", "20.0 kW", "12000 tok/s", "350 µs", "2.98 GiB", "41.2 mJ/tok", "0.993"]


def test_the_gap_before_an_engine_stands_beside_its_configuration(visit, tmp_path):
    waited = a_cycle(1, gap=Gap(asked="cool:120", seconds=42.0, ended="cool"))
    path = tmp_path / "page.html"
    path.write_text(report_page([a_report(a_measurement(cycles=[a_cycle(0), waited]))]))
    told = visit(path).locator("#rounds-said li").all_inner_texts()
    assert told == ["cycle 1: waited 42 s before its engine started (--lem-gap=cool:120: cool)"]


def test_the_theme_is_the_systems_until_it_is_chosen_and_then_remembered(visit, page_file):
    page = visit(page_file, color_scheme="dark")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert page.locator("#theme").inner_text() == "dark theme"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert drawn(page, "costs")


def test_a_configuration_shows_its_rounds_its_engine_and_why_a_metric_is_absent(visit, page_file):
    page = visit(page_file)
    page.select_option("#details-row", "7")
    assert "vllm · synthetic:llama-3.2-1b · bf16 · batch 128" in page.locator("#details-line").inner_text()
    told = table(page, "rounds")
    assert len(told) == 26
    assert {row[4].partition(":")[0] for row in told} <= {"warm-up", "valid", "invalid"}
    assert [row[4] for row in told[:5]].count("warm-up") + [row[4][:7] for row in told[:5]].count("invalid") == 5
    page.select_option("#details-cycle", "1")
    assert "cycle 1" in figure(page, "power").locator("figcaption").inner_text()
    assert page.locator("#details-metrics tr", has_text="co2_grams").inner_text().count("not measured: no carbon") == 1
    assert (
        page.locator("#details-engine tr", has_text="attention_implementation")
        .first.inner_text()
        .endswith("FLASH_ATTN\t")
    )


def test_without_a_gpu_clocks_say_why_there_are_none(visit, tmp_path):
    (tmp_path / "page.html").write_text(report_page([a_report(a_measurement(), environment=an_environment(gpus=()))]))
    page = visit(tmp_path / "page.html")
    assert "Not recorded: the meter of this run asked no GPU" in figure(page, "clocks").inner_text()
    assert "One run only." in figure(page, "history").inner_text()
    assert "Prefill and decode were not split here" in figure(page, "phases").inner_text()


@pytest.mark.parametrize("width", [320, 390, 820])
def test_a_small_screen_never_scrolls_sideways(visit, page_file, width):
    page = visit(page_file, viewport={"width": width, "height": 844}, has_touch=True)
    for name in ("costs", "pareto", "rounds", "power", "clocks", "history"):
        figure(page, name).locator("canvas").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    inner = page.locator(".scroll").first.evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert inner[1] <= width
    assert width > 800 or inner[0] > inner[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_object_to(visit, page_file, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(page_file, color_scheme=scheme)
    figure(page, "costs").locator("summary").click()
    found = Axe().run(page)
    told = [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found.response["violations"]]
    assert told == []


def test_a_chart_that_cannot_be_drawn_leaves_its_table(visit, page_file):
    page = visit(page_file, before=BROKEN_CHARTS)
    found = figure(page, "costs")
    found.get_by_text("This chart could not be drawn (no canvas)").wait_for()
    assert found.locator("tbody tr").count() == 24
    page.locator("table.sortable").first.locator("th button").first.click()
    assert page.locator("table.sortable").first.locator('th[aria-sort="ascending"]').count() == 1


def test_a_browser_that_cannot_unpack_says_so_and_still_sorts(visit, page_file):
    page = visit(page_file, before="delete window.DecompressionStream;")
    assert page.locator("#trouble").is_visible()
    assert "tables and text stand without them" in page.locator("#trouble").inner_text()
    page.fill("#filter-words", "pytorch")
    assert all("pytorch" in name for name in rows(page))


def test_without_scripts_the_tables_stand(visit, page_file):
    page = visit(page_file, ready=False, java_script_enabled=False)
    assert page.locator("noscript").inner_text().startswith("Sorting, filters and charts need JavaScript")
    assert page.locator("table.sortable tbody tr").count() == 24
    assert not page.locator("#filter").is_visible()
    assert page.locator("#cheapest").inner_text().startswith("cheapest")


def test_names_that_are_html_are_shown_as_they_are_written(visit, tmp_path):
    found = a_measurement(f"t.py::test[{EVIL}]", name=EVIL, metrics=metrics(joules_per_token=None))
    (tmp_path / "page.html").write_text(report_page([a_report(found), a_report(found, days=1)]))
    page = visit(tmp_path / "page.html")
    assert page.locator("img").count() == 0
    assert EVIL in rows(page)[0]
    assert EVIL in page.locator("#details-row option").first.inner_text()
    assert EVIL in figure(page, "rounds").inner_text()


def test_who_asks_for_less_motion_gets_none(visit, page_file):
    page = visit(page_file, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_500_configurations_of_5_cycles_fit_and_answer(visit, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(report_page([simulated.report(500, 5)]))
    assert path.stat().st_size < 4_000_000
    page = visit(path)
    assert page.locator("table.sortable tbody tr").count() == 500
    page.fill("#filter-words", "fp16-b128")
    assert all("fp16-b128" in name for name in rows(page))
    assert drawn(page, "costs")
