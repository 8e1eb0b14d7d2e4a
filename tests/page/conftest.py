"""Pages and a headless Chromium for them, driven by Playwright; skipped where there is none.

    def test_x(open_page): page = open_page(html); page.click(...); ...

All tests share the windows of one browser; each opens its page anew in one of them, so nothing of
another test is left in it. Whatever a test does, the page must ask for nothing over the
network, write no error to the console and open no dialog: `open_page` checks that when the test
ends. The page's policy forbids evaluated text, so `page.wait_for_function` cannot be used;
`page.evaluate`, `page.wait_for_selector` and `page.locator(...).wait_for()` can.

Pages that tests of several files open are built here, each once in a session.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_runs import Trained, trained_on_dates, trained_on_words

import graphgrad as gg
from graphgrad.models import BUILTIN
from graphgrad.models import transformer as transformer_model
from graphgrad.page import build_page
from graphgrad.training.optimisers import training_step
from graphgrad.training.task import load_model

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


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

    def __init__(self, page: Any) -> None:
        self.address = ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", self.request)
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("dialog", self.dialog)

    def request(self, request: Any) -> None:
        known = (self.address, "about:blank")
        if request.url.partition("#")[0] not in known and not request.url.startswith("data:,"):
            self.requests.append(request.url[:200])

    def console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def dialog(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        dialog.dismiss()


class Windows:
    """Windows of a browser by size and colours, lent to one test after the other."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.free: dict[tuple[bool, int, int], list[tuple[Any, Watch]]] = {}
        self.lent: list[tuple[tuple[bool, int, int], Any, Watch]] = []
        self.contexts: list[Any] = []

    def open(
        self, html: str, address: str = "", dark: bool = False, width: int = 1440, height: int = 900
    ) -> Any:
        key = (dark, width, height)
        page, watch = self.free[key].pop() if self.free.get(key) else self.new(*key)
        self.lent.append((key, page, watch))
        file = self.folder / f"{hashlib.sha256(html.encode()).hexdigest()[:20]}.html"
        if not file.exists():
            file.write_text(html, encoding="utf-8")
        watch.address = file.as_uri()
        page.goto(watch.address + address)
        page.wait_for_selector("html[data-ready]")
        return page

    def new(self, dark: bool, width: int, height: int) -> tuple[Any, Watch]:
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            offline=True,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8000)
        return page, Watch(page)

    def give_back(self) -> list[str]:
        """Clears what tests left in their windows; returns what the pages did wrong."""
        wrong: list[str] = []
        while self.lent:  # a window that cannot be cleared is lent no more
            key, page, watch = self.lent.pop(0)
            wrong += [*watch.complaints, *watch.requests]
            watch.complaints.clear()
            watch.requests.clear()
            page.evaluate("localStorage.clear()")
            page.emulate_media(media="screen")
            page.mouse.move(0, 0)
            page.goto("about:blank")
            self.free.setdefault(key, []).append((page, watch))
        return wrong


@pytest.fixture(scope="session")
def windows(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    """The windows that all tests of the session share."""
    shared = Windows(browser, tmp_path_factory.mktemp("pages"))
    yield shared
    for context in shared.contexts:
        context.close()


@pytest.fixture
def open_page(windows: Windows) -> Iterator[Callable[..., Any]]:
    """`open_page(html, address="#node=…", dark=False, width=1440, height=900)`: the opened page."""
    yield windows.open
    wrong = windows.give_back()
    assert not wrong, wrong


@pytest.fixture(scope="session")
def pages() -> Callable[[str], str]:
    """The pages of Transformers by name, each built once: 2+2 layers and 6+6 layers with deltas,
    and the whole training step of 2+2 layers; `test_acceptance_graph` has that of 6+6."""

    @functools.cache
    def page(name: str) -> str:
        settings = transformer_model.Settings(layers=6 if name == "large" else 2)
        graph = transformer_model.training_graph(settings, 114, 15)
        whole = training_step(graph, settings) if name == "step" else gg.derive(graph, "loss")
        sizes = {"batch": 8, "source": 10, "target": 6}
        return build_page(whole, title="transformer", sizes=sizes)

    return page


@pytest.fixture
def small(pages: Callable[[str], str]) -> str:
    return pages("small")


@pytest.fixture
def large(pages: Callable[[str], str]) -> str:
    return pages("large")


@pytest.fixture
def training(pages: Callable[[str], str]) -> str:
    return pages("step")


@pytest.fixture(scope="session")
def network() -> str:
    """The page of a small feed-forward network with deltas."""
    model = load_model("feedforward", BUILTIN)
    graph = model.task(model.settings, {}).graph
    return build_page(gg.derive(graph, "loss"), title="network")


@pytest.fixture(scope="session")
def deep() -> str:
    """The page of a graph of 20,000 nodes in one scope: more than can be drawn."""
    x = value = gg.input("x", ("batch", 3))
    with gg.scope("deep"):
        for _ in range(10_000):
            value = gg.tanh(value + x)
    return build_page(gg.Graph({"loss": gg.sum(value, name="loss")}))


@pytest.fixture(scope="session")
def dates(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_on_dates(tmp_path_factory.mktemp("acceptance") / "dates")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_on_words(tmp_path_factory.mktemp("panels"))
