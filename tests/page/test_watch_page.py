"""A watched page in a browser: it is refreshed, keeps the view, and asks only its own server."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hostile_names import HOSTILE
from page_driver import title, visible_boxes

import graphgrad as gg
from graphgrad.page import build_page
from graphgrad.page.encoding import packed
from graphgrad.tools.watch_pages import Page, Pages
from graphgrad.tools.watch_server import WatchServer


class Watched:
    """A server whose pages a test gives, and a window of a browser that watches it."""

    def __init__(self, server: WatchServer, page: Any) -> None:
        self.server, self.page = server, page
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self.request)

    def request(self, request: Any) -> None:
        if not request.url.startswith((self.server.address, "data:,")):
            self.complaints.append(request.url)

    def give(self, html: str, step: int) -> None:
        """The server has a newer page."""
        version = self.server.pages.page.version + 1
        self.server.pages.page = Page(html.encode(), version, step, 1e9)

    def shown(self, step: int) -> Any:
        """The frame of the page of this step, once it is shown."""
        self.page.locator("#watch-said", has_text=re.compile(rf"^step {step},")).wait_for()
        frame = self.page.frames[-1]
        frame.wait_for_selector("html[data-ready]")
        return frame

    def said(self, text: str) -> None:
        self.page.locator("#watch-said", has_text=text).wait_for()


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    pages = Pages(["nowhere"], pace=0.1)
    with WatchServer(pages, ["</title><img src=x onerror=alert(1)>"]) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.02))
        thread.start()
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.set_default_timeout(8000)
        made = Watched(server, page)
        yield made
        context.close()
        server.shutdown()
        thread.join()
    assert made.complaints == []


def test_a_refreshed_page_keeps_the_view(watched: Watched, pages: Callable[[str], str]) -> None:
    html = pages("small")
    page = watched.page
    page.goto(watched.server.address)
    page.locator("#watch-empty").wait_for()
    watched.give(html, 100)
    frame = watched.shown(100)
    frame.click('[data-view="forward"]')
    frame.evaluate("location.hash = '#scope=decoder.0'")
    frame.press("#canvas", "Enter")
    frame.evaluate("location.hash = '#node=decoder.0.attention.weights'")
    frame.locator("#details h2", has_text="weights").wait_for()
    for _ in range(3):
        frame.click("[aria-label=closer]")
    frame.evaluate("document.getElementById('details').scrollTop = 120")
    page.wait_for_timeout(100)
    look = (
        "() => [document.querySelector('#canvas .world').getAttribute('transform'),"
        " document.getElementById('details').scrollTop,"
        " document.querySelector('.view[aria-pressed=true]').textContent]"
    )
    before = (visible_boxes(frame), frame.evaluate(look), title(frame))
    assert before[1][1] == 120 and before[1][2] == "Forward" and before[2] == "weights"
    watched.give(html + "\n", 200)
    frame = watched.shown(200)
    page.wait_for_timeout(100)
    assert (visible_boxes(frame), frame.evaluate(look), title(frame)) == before
    assert len(page.frames) == 2 and "node=decoder.0.attention.weights" in page.url
    assert page.evaluate("document.images.length") == 0
    frame.press("#canvas", "Escape")
    page.wait_for_timeout(200)
    page.reload()
    assert title(watched.shown(200)) != "weights"


def test_nothing_changes_under_the_hands_of_the_reader(watched: Watched, network: str) -> None:
    page = watched.page
    watched.give(network, 1)
    page.goto(watched.server.address)
    frame = watched.shown(1)
    page.click("#watch-bar button")
    watched.give(network + "\n", 2)
    watched.said("held; a newer page waits")
    page.click("#watch-bar button")
    frame = watched.shown(2)
    frame.fill("#search", "hidden")
    watched.give(network + "\n\n", 3)
    page.wait_for_timeout(400)
    assert frame.input_value("#search") == "hidden"
    frame.press("#search", "Escape")
    frame.fill("#search", "")
    watched.shown(3)
    with page.expect_download() as saved:
        page.click("#watch-bar a")
    assert saved.value.path().read_bytes() == watched.server.pages.page.content


def sentence_page(head: int) -> str:
    """A page with a typed sentence of three words; one of two heads attends to the first word."""
    weights = np.zeros((2, 3, 3), np.float32)
    weights[head, :, 0] = weights[1 - head, :, 2] = 1.0
    example = {"queries": 3, "keys": 3, "weights": packed(weights), "deltas": None, "mask": None}
    names = {"weights": "attention.weights", "scores": "attention.scores"}
    axes = {"query": "ids", "key": "ids", "heads": 2}
    maps = [
        {**names, **axes, "name": name, "examples": [example] * 2} for name in ("first", "last")
    ]
    section = {
        "side": 3,
        "texts": ["a b c", "d e f"],
        "examples": [{"ids": text.split()} for text in ("a b c", "d e f")],
        "maps": maps,
    }
    graph = gg.Graph({"loss": gg.sum(gg.input("x", ("batch", 2)), name="loss")})
    return build_page(graph, sections={"attention": section})


def test_the_lines_of_a_typed_sentence_change_and_the_choices_stay(watched: Watched) -> None:
    page = watched.page
    watched.give(sentence_page(0), 1)
    page.goto(f"{watched.server.address}#tab=attention")
    frame = watched.shown(1)
    frame.select_option('select[aria-label="layer"]', label="last")
    frame.click('button[aria-label^="example “d e f"]')
    frame.click('.choices button[aria-label="head 1"]')
    look = (
        "() => [[...document.querySelectorAll('[data-lines=weights] line')]"
        ".map(({dataset: d}) => `${d.head} ${d.query} ${d.key}`).sort(),"
        " document.querySelector('select[aria-label=layer]').selectedOptions[0].textContent,"
        " document.querySelector('[data-lines=weights] .word title').textContent]"
    )
    assert frame.evaluate(look) == [["1 0 2", "1 1 2", "1 2 2"], "last", "d"]
    watched.give(sentence_page(1), 2)
    frame = watched.shown(2)
    assert frame.evaluate(look) == [["1 0 0", "1 1 0", "1 2 0"], "last", "d"]


def test_what_is_wrong_is_said_as_text(watched: Watched, network: str) -> None:
    page = watched.page
    watched.server.pages._state.problem = HOSTILE[0] + "<script>alert(1)</script>"
    page.goto(watched.server.address)
    page.locator("#watch-empty", has_text="<script>alert(1)</script>").wait_for()
    watched.server.pages._state.problem = ""
    watched.give(network, 1)
    watched.shown(1)
    watched.server.pages._state.problem = "there is no run x"
    watched.said("there is no run x")
    assert page.locator("#watch-bar.problem").count() == 1
    assert page.locator("script, img, b").count() == 1


def test_a_page_that_is_opened_anew_begins_anew(open_page: Callable[..., Any], small: str) -> None:
    page = open_page(small)
    first = visible_boxes(page)
    page.keyboard.press("e")
    opened = visible_boxes(page)
    assert opened > first
    page.evaluate("location.hash = '#scope=encoder'")
    page.locator("#details .actions", has_text="close").wait_for()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert visible_boxes(page) == opened, "reloaded"
    assert "close" in page.inner_text("#details .actions")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    assert visible_boxes(page) == first
