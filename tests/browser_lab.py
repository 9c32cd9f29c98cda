"""A real Chromium that opens pages of reports, and lets nothing pass unnoticed: no fault, no request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import project  # noqa: F401 - puts the project's root on the path
import pytest

from benchmarks.pages.chromium import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

SEEN_MS = 10_000
FAULTS = ("error", "warning")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each opens its pages in a context of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium())
        yield started
        started.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file; at the end of the test no page may have logged an error, failed, or asked for anything else."""
    faults: list[str] = []
    with ExitStack() as contexts:

        def opened(path: Path, *, before: str = "", ready: bool = True, **options: Any) -> Page:
            context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(SEEN_MS)
            page.on(
                "console", lambda said: said.type in ("error", "warning") and faults.append(f"console: {said.text}")
            )
            page.on("pageerror", lambda fault: faults.append(f"error: {fault}"))
            page.route("**/*", lambda route: _only(path.as_uri(), route, faults))
            if before:
                page.add_init_script(before)
            page.goto(path.as_uri())
            if ready:
                page.wait_for_selector("html[data-ready]")
            return page

        yield opened
    assert faults == []


def _only(allowed: str, route: Route, faults: list[str]) -> None:
    if route.request.url.partition("#")[0] == allowed:
        route.continue_()
    else:
        faults.append(f"request: {route.request.url}")
        route.abort()
