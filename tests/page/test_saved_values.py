"""Bundles of saved values in the mirror view: they open and close by click and by key."""

from __future__ import annotations

from typing import Any

import pytest
from page_driver import Open, title

import graphgrad as gg
from graphgrad.page import build_page

WIDE = "⎵a_name_that_is_as_long_as_the_names_of_users_are_where_they_mean_well"


@pytest.fixture(scope="module")
def html() -> str:
    """The deltas of first need z (tanh') and y (exp'), those of the other z (sin'), y and s."""
    x = gg.input("x", ("batch", 3))
    with gg.scope("first"):
        a = gg.matmul(x, gg.parameter("w", (3, 3), gg.normal(0.5)), name="a")
        z = gg.tanh(a, name="z")
    with gg.scope(WIDE):
        y, s = gg.exp(z, name="y"), gg.sin(z, name="s")
        p = gg.multiply(y, s, name="p")
    graph = gg.derive(gg.Graph({"loss": gg.sum(p, name="loss")}), "loss")
    return build_page(graph, title="saved", sizes={"batch": 4})


def rows(page: Any) -> list[list[str]]:
    """Name, shape and bytes of the listed values."""
    return [
        [
            row.locator(".node-link").get_attribute("title"),
            *row.locator("code, .number").all_inner_texts(),
        ]
        for row in page.locator(".saved-values tbody tr").all()
    ]


def opened(page: Any) -> list[str]:
    return page.locator('[data-bundle][aria-expanded="true"]').all_text_contents()


def test_a_bundle_opens_by_click_shows_its_values_and_closes(open_page: Open, html: str) -> None:
    page = open_page(html, width=1400)
    page.keyboard.press("r")
    labels = page.locator("[data-bundle]")
    texts = labels.evaluate_all("all => all.map((one) => one.textContent)")
    assert {"▸ 48 B", "▸ 2 values, 96 B"} <= set(texts) and opened(page) == []
    label = labels.nth(texts.index("▸ 2 values, 96 B"))
    label.click()
    assert title(page) == "2 values, 96 B" and opened(page) == ["▾ 2 values, 96 B"]
    assert rows(page) == [[f"{WIDE}.{name}", "[batch, 3]", "48 B"] for name in "ys"]
    assert page.locator(".wire-saved.lit-delta").count() == 1
    label.click()
    assert title(page) == "saved" and opened(page) == []
    assert page.locator(".wire-saved.lit-delta").count() == 0
    middle = page.evaluate(
        """() => {
          const lines = [...document.querySelectorAll('.wire-saved')];
          const line = lines.findLast((one) => one.getAttribute('d').includes('C'));
          const middle = line.getPointAtLength(0.5 * line.getTotalLength());
          const at = middle.matrixTransform(line.getScreenCTM());
          return [at.x, at.y + 3];
        }"""
    )
    page.mouse.click(*middle)
    assert title(page) == "1 value, 48 B" and rows(page) == [[f"{WIDE}.y", "[batch, 3]", "48 B"]]
    assert page.inner_text(".saved-values small") == "for δ first.z"
    assert page.evaluate("location.hash").endswith("&for=first")
    page.click(".saved-values .node-link")
    assert title(page) == "y"


def test_bundles_are_opened_one_after_the_other_by_key(open_page: Open, html: str) -> None:
    page = open_page(html, width=1400)
    page.keyboard.press("r")
    page.evaluate("location.hash = '#saved=first&for=first'")
    page.locator("#details h2", has_text="1 value, 48 B").wait_for()
    page.keyboard.press("e")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert title(page) == "1 value, 48 B", "kept, though other boxes are drawn now"
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    assert title(page) == "saved"
    seen = []
    for _ in range(4):
        page.keyboard.press("s")
        seen.append([row[0].rpartition(".")[2] for row in rows(page)])
        assert page.locator(".wire-saved.lit-delta").count() == 1
    assert seen == [["z"], ["z"], ["y", "s"], ["y"]]
    page.keyboard.press("s")
    assert title(page) == "saved" and rows(page) == []
    page.evaluate("name => { location.hash = '#scope=' + encodeURIComponent(name); }", WIDE)
    page.locator("#details .kicker.kind-scope").wait_for()
    page.keyboard.press("s")
    assert [row[0] for row in rows(page)] == ["first.z"]
    page.keyboard.press("s")
    assert title(page) == "2 values, 96 B"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('#details') !== null")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.inner_text("#details .kicker") == "scope"
    page.click("[data-view=forward]")
    page.keyboard.press("s")
    assert "The mirror view draws the values" in page.inner_text("#notice")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
