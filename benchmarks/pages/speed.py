"""How large the HTML report of many configurations is, how long it takes to make, and when it answers in Chromium.

    python benchmarks/pages/speed.py --out docs/evidence

The run is simulated (benchmarks/pages/simulated.py). Each visit is a Chromium context of its own: nothing is cached.
`ready` is when the page's script has made the table sortable, unpacked the data and filled every control; `drawn` when
the first chart is on the screen; `sorted` and `filtered` are how long the summary takes to answer, to the next frame.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.figures import quantile, table
from benchmarks.pages.chromium import chromium
from benchmarks.pages.simulated import report
from pytest_lem.render.html.page import report_page
from pytest_lem.store.environment import collect_environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Json = dict[str, Any]
SIZES = ((24, 3), (100, 5), (500, 5))
VISITS = 9
GOAL_BYTES = 4_000_000
GOAL_MS = 2000
TIMED = ("ready", "drawn", "sorted", "filtered")
SORT = "() => document.querySelectorAll('table.sortable th button')[4].click()"
FILTER = """() => { const typed = document.getElementById('filter-words'); typed.value = 'vllm b8';
    typed.dispatchEvent(new Event('input')); }"""


def visited(browser: Browser, page_file: Path) -> Json:
    """One visit in a fresh context, ms."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]")
    ready = page.evaluate("performance.getEntriesByName('lem-ready')[0].startTime")
    page.evaluate("document.querySelector('[data-chart=costs]').scrollIntoView({behavior: 'instant'})")
    page.wait_for_selector("[data-chart=costs] canvas")
    drawn = page.evaluate("performance.getEntriesByName('lem-drawn')[0].startTime")
    found = {"ready": ready, "drawn": drawn, "sorted": answered(page, SORT), "filtered": answered(page, FILTER)}
    context.close()
    return found


def answered(page: Any, act: str) -> float:
    """How long the page takes to do `act` and paint, ms."""
    timed = f"""() => new Promise(done => {{ const began = performance.now(); ({act})();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))); }})"""
    return float(page.evaluate(timed))


def measured(browser: Browser, configurations: int, cycles: int, visits: int, folder: Path) -> Json:
    simulated = [report(configurations, cycles)]
    began = perf_counter()
    text = report_page(simulated)
    made = perf_counter() - began
    path = folder / f"{configurations}.html"
    path.write_text(text)
    rounds = sum(
        len(cycle.rounds) + len(cycle.warmup_rounds) for each in simulated[0].measurements for cycle in each.cycles
    )
    visited(browser, path)  # the first starts Chromium's processes
    return {
        "configurations": configurations,
        "cycles": cycles,
        "rounds": rounds,
        "bytes": path.stat().st_size,
        "make_s": made,
        "visits": [visited(browser, path) for _ in range(visits)],
    }


def render(data: Json) -> str:
    """The generated part of the page."""
    heads = ["configurations × cycles", "rounds", "size", "made in", *(f"{name}, median (worst)" for name in TIMED)]
    rows = []
    for each in data["pages"]:
        times = [_told([visit[name] for visit in each["visits"]]) for name in TIMED]
        size = f"{each['bytes'] / 1e6:.2f} MB"
        name = f"{each['configurations']} × {each['cycles']}"
        rows.append([name, f"{each['rounds']:,}", size, f"{each['make_s']:.1f} s", *times])
    largest = data["pages"][-1]
    ready = max(visit["ready"] for visit in largest["visits"])
    goals = table(
        ["goal", "reached"],
        [
            [f"≤ {GOAL_BYTES / 1e6:g} MB for {largest['configurations']} × {largest['cycles']}", _size(largest)],
            [f"interactive within {GOAL_MS / 1e3:g} s, the worst of {len(largest['visits'])}", f"{ready / 1e3:.2f} s"],
        ],
    )
    return f"{data['machine']}, Chromium {data['chromium']}:\n\n{table(heads, rows)}\n\n{goals}"


def _size(page: Json) -> str:
    return f"{page['bytes'] / 1e6:.2f} MB"


def _told(values: list[float]) -> str:
    return f"{quantile(values, 0.5):.0f} ms ({max(values):.0f})"


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--visits", type=int, default=VISITS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        pages = [measured(browser, *size, asked.visits, Path(folder)) for size in SIZES]
        version = browser.version
        browser.close()
    found = {
        "title": "The HTML report: size, and when it answers",
        "command": "python benchmarks/pages/speed.py --out docs/evidence",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{collect_environment().cpu}, Python {platform.python_version()}",
        "chromium": version,
        "pages": pages,
    }
    (asked.out / "html-report.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
