"""A headless Chromium for the pages, driven by Playwright; skipped where there is none.

    def test_x(open_page): page = open_page(html); page.click(...); ...

Whatever a test does, the page must ask for nothing over the network, write no error to the console
and open no dialog: `open_page` checks that when the test ends. The page's policy forbids evaluated
text, so `page.wait_for_function` cannot be used; `page.evaluate`, `page.wait_for_selector` and
`page.locator(...).wait_for()` can.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update",
           "--no-first-run", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests of the session."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("there is no Chromium (Debian, Ubuntu: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=OPTIONS)
        yield running
        running.close()


class Watch:
    """What a page must not do, as it happens."""

    def __init__(self, page: Any, address: str) -> None:
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self.request)
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("dialog", self.dialog)

    def request(self, request: Any) -> None:
        if request.url.partition("#")[0] != self.address and not request.url.startswith("data:,"):
            self.requests.append(request.url[:200])

    def console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def dialog(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`open_page(html, address="#node=…", dark=False, width=1440, height=900)`: the opened page."""
    contexts: list[Any] = []
    watches: list[Watch] = []

    def open_(
        html: str, address: str = "", dark: bool = False, width: int = 1440, height: int = 900
    ) -> Any:
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True,
            color_scheme="dark" if dark else "light", reduced_motion="reduce",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        watches.append(Watch(page, file.as_uri()))
        page.goto(file.as_uri() + address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_
    for context in contexts:
        context.close()
    for watch in watches:
        assert not watch.complaints, watch.complaints
        assert not watch.requests, watch.requests
