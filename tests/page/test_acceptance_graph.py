"""The page of the 6+6-layer graph, driven as a whole by clicks and keys; that of a cut graph."""

from __future__ import annotations

import re
from typing import Any

import pytest
from page_driver import Open, follow, number, title, visible_boxes

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.models import BUILTIN
from graphgrad.models import transformer as transformer_model
from graphgrad.page import build_page
from graphgrad.passes.surgery import clip, scale, surgery
from graphgrad.training.optimisers import training_step
from graphgrad.training.task import load_model

OPENING, EXPANDING = 2.0, 0.1  # seconds


@pytest.fixture(scope="module")
def whole() -> str:
    """The page of the training step of 6+6 layers."""
    settings = transformer_model.Settings(layers=6)
    graph = training_step(transformer_model.training_graph(settings, 114, 15), settings)
    assert len(graph) > 6000
    return build_page(graph, title="six", sizes={"batch": 8, "source": 10, "target": 6})


def go(page: Any, name: str) -> None:
    """Follows the deep link of a node and waits for its details."""
    follow(page, name)
    page.locator("#details h2", has_text=re.compile(re.escape(name.rpartition(".")[2]))).wait_for()


def test_it_opens_and_expands_in_time(whole: str, open_page: Open) -> None:
    opened = []
    for _ in range(3):
        page = open_page(whole)
        opened.append(page.evaluate("Number(document.documentElement.dataset.ready)") / 1000)
        if opened[-1] < OPENING:
            break
    assert 0 < min(opened) < OPENING, opened
    page.evaluate("location.hash = '#scope=encoder.0.attention'")
    scope = page.locator('#canvas .box[data-name="encoder.0.attention"] .body').first
    scope.wait_for()
    assert "×6" in page.text_content("#canvas")
    taken = []
    for _ in range(3):  # the machine is shared: the quickest says what the page needs
        before = visible_boxes(page)
        taken.append(
            scope.evaluate(
                "body => { const start = performance.now();"
                " body.dispatchEvent(new MouseEvent('click', {bubbles: true}));"
                " document.body.getBoundingClientRect(); return performance.now() - start; }"
            )
        )
        assert visible_boxes(page) > before
        page.keyboard.press("Enter")
        assert visible_boxes(page) == before
    assert min(taken) / 1000 < EXPANDING, taken


def test_one_walk_through_the_whole_page(whole: str, open_page: Open) -> None:
    """Search, details, links, ways, neighbourhood, views, zoom, theme, outline, help by keys."""
    page = open_page(whole)
    page.keyboard.press("/")
    page.keyboard.type("encoder.4 attention weights")
    page.keyboard.press("Enter")
    assert title(page) == "weights" and page.inner_text("#details .kicker code") == "softmax"
    assert page.locator("#details .formula mfrac").count() >= 1
    shape = page.inner_text("#details [data-fact=shape]").split()
    assert shape == ["batch8", "4", "source10", "source10"]
    assert page.inner_text("#details [data-fact=bytes]").startswith("12.5 KiB")
    assert "transformer.py:" in page.inner_text("#details .source")
    page.click("#details .part-heads .node-link")
    assert title(page) == "masked_scores"
    go(page, "encoder.4.attention.matches")
    assert number(page.inner_text("#details [data-fact=flops]")) == 2 * 8 * 4 * 10 * 10 * 24
    page.keyboard.press("p")
    way = page.locator("#details .way .node-link").all_inner_texts()
    assert way[0] == "encoder.4.attention.matches" and way[-1] == "loss"
    page.keyboard.press("a")
    assert "ways to the loss" in page.inner_text("#details .part-way h3")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    near = visible_boxes(page)
    page.click("[aria-label='larger radius']")
    assert visible_boxes(page) > near
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    assert page.inner_text("#details .kicker").startswith("delta")
    page.keyboard.press("d")
    assert title(page) == "matches"
    for view in ("forward", "backward", "updates", "mirror"):
        page.keyboard.press("v")
        assert page.locator(f"[data-view={view}]").get_attribute("aria-pressed") == "true"
    assert page.locator("#canvas .wire-saved").count() > 3
    before = page.get_attribute("#canvas .world", "transform")
    page.keyboard.press("+")
    page.wait_for_timeout(40)
    assert page.get_attribute("#canvas .world", "transform") != before
    page.keyboard.press("o")
    assert page.locator("#outline [role=treeitem]").count() > 3
    page.keyboard.press("?")
    assert "shortest way to the loss" in page.inner_text("#help")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    folded = visible_boxes(page)
    page.keyboard.press("u")
    assert visible_boxes(page) > folded
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_surgery_is_visible(open_page: Open) -> None:
    model = load_model("feedforward", BUILTIN)
    graph: Graph = gg.derive(model.task(model.settings, {}).graph, "loss")
    cuts = [clip("hidden.h1.z", 1.0), scale("hidden.h2.z<-output.y1.from_h2", 0.5)]
    page = open_page(build_page(surgery(graph, cuts)), "#node=hidden.h1.z")
    formula = page.locator("#details .delta-formula math")
    assert formula.first.get_attribute("alttext").startswith("δ[z] = clip 1 (δ[")
    assert formula.last.get_attribute("alttext").endswith(")")
    assert page.text_content("#canvas .detail.cut") == "clip 1"
    page.click(".surgery-note .node-link")
    assert title(page) == "z.delta.before"
    go(page, "hidden.h2.z")
    texts = page.locator("#details .delta-formula math").evaluate_all(
        "all => all.map((one) => one.getAttribute('alttext'))"
    )
    assert sum("scale 0.5 (δ[" in text for text in texts) == 1
    assert "1 contribution cut" in page.inner_text(".surgery-note")
