"""Pictures of the HTML report for docs/: light, dark, and on a phone. What they show is simulated, and says so.

python benchmarks/pages/screenshots.py --out docs
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.pages.chromium import chromium
from benchmarks.pages.simulated import report
from pytest_lem.render.html.page import report_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@dataclass(frozen=True)
class Picture:
    """One screenshot: how large the window is, in which theme, and what it is scrolled to."""

    name: str
    width: int
    height: int
    theme: str
    place: str


PICTURES = (
    Picture("report-light", 1200, 1000, "light", "body"),
    Picture("report-dark", 1200, 1000, "dark", "#pareto"),
    Picture("report-phone", 390, 844, "light", "#details"),
)


def take(browser: Browser, page_file: Path, picture: Picture, folder: Path) -> None:
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height}, color_scheme=picture.theme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.select_option("#details-row", "3")
    page.evaluate("place => document.querySelector(place).scrollIntoView()", picture.place)
    page.wait_for_timeout(500)
    page.screenshot(path=folder / f"{picture.name}.png")
    context.close()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    runs = [report(16, 3, days=day, dearer=1 + day / 100) for day in range(4)]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        page_file.write_text(report_page(runs))
        browser = playwright.chromium.launch(executable_path=chromium())
        for picture in PICTURES:
            take(browser, page_file, picture, asked.out)
        browser.close()


if __name__ == "__main__":
    main()
