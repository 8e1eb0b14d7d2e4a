"""What is seen when a page opens: text that can be read, and nothing that lies over the drawing."""

from __future__ import annotations

from typing import Any

import pytest
from page_driver import Open

SIZES = [(1400, 900), (390, 844), (820, 1180)]
LEAST = 11.0
"""The smallest text, in CSS pixels."""
TEXT_SIZES = """
[...document.querySelectorAll('#canvas text, #canvas tspan')]
  .filter((text) => text.textContent.trim() && text.getClientRects().length)
  .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)
"""
OUTSIDE = """
[...document.querySelectorAll('#canvas .box')].flatMap((box) => {
  const body = box.querySelector('.body').getBoundingClientRect();
  return [...box.querySelectorAll('text')].filter((text) => {
    const place = text.getBoundingClientRect();
    return place.left < body.left - 0.5 || place.right > body.right + 0.5;
  }).map((text) => text.textContent);
})
"""
COVERING = """
(() => {
  const drawing = document.getElementById('canvas').getBoundingClientRect();
  const parts = '#bar, #graph-bar, #graph-bar > *, #minimap, #details, #legend, #zoom';
  return [...document.querySelectorAll(parts)]
    .filter((part) => part.getClientRects().length)
    .filter((part) => {
      const place = part.getBoundingClientRect();
      return place.width && place.left < drawing.right - 0.5 && place.right > drawing.left + 0.5 &&
        place.top < drawing.bottom - 0.5 && place.bottom > drawing.top + 0.5;
    }).map((part) => part.id || part.className);
})()
"""
SEEN = """
(() => {
  const drawing = document.getElementById('canvas').getBoundingClientRect();
  return [...document.querySelectorAll('#canvas .box')].filter((box) => {
    const place = box.getBoundingClientRect();
    return place.left >= drawing.left && place.right <= drawing.right &&
      place.top >= drawing.top && place.bottom <= drawing.bottom;
  }).length;
})()
"""


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", ["small", "large", "network"])
def test_text_can_be_read_and_nothing_covers_it(
    open_page: Open, request: Any, name: str, width: int, height: int
) -> None:
    page = open_page(request.getfixturevalue(name), width=width, height=height)
    sizes = page.evaluate(TEXT_SIZES)
    assert len(sizes) > 10 and min(sizes) >= LEAST - 1e-6
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(COVERING) == []
    assert page.evaluate(SEEN) >= 2


def test_the_whole_of_a_large_graph_is_seen_at_once(open_page: Open, large: str) -> None:
    page = open_page(large, width=1400)
    bar = page.locator("#graph-bar > :visible").evaluate_all(
        "all => all.map((one) => Math.round(one.getBoundingClientRect().top))"
    )
    assert len(bar) == 4 and len(set(bar)) == 1, "in one line"
    assert page.evaluate(SEEN) == page.locator("#canvas .box").count() > 8


def test_a_phone_shows_one_side_first(open_page: Open, small: str) -> None:
    page = open_page(small, width=390, height=844)
    assert page.get_attribute("[data-view=forward]", "aria-pressed") == "true"
    page.click("[data-view=mirror]")
    assert page.locator("#canvas .kind-delta").count() > 0


def test_it_fits_again_when_a_panel_opens_until_it_is_moved(open_page: Open, small: str) -> None:
    def transform() -> str:
        page.wait_for_timeout(80)
        found: str = page.get_attribute("#canvas .world", "transform")
        return found

    page = open_page(small, width=1400)
    before = transform()
    page.keyboard.press("o")
    assert transform() != before
    assert min(page.evaluate(TEXT_SIZES)) >= LEAST - 1e-6
    page.keyboard.press("o")
    assert transform() == before
    page.mouse.move(400, 400)
    page.mouse.wheel(0, -300)
    moved = transform()
    page.keyboard.press("o")
    assert transform() == moved


def test_colours_and_neighbourhoods_have_their_legend_beside_the_drawing(
    open_page: Open, small: str
) -> None:
    page = open_page(small, "#colour=bytes", width=1400)
    assert page.locator("#legend").is_visible()
    assert page.evaluate(COVERING) == []
    page = open_page(small, "#node=decoder.1.cross_attention.scores&radius=2", width=1400)
    assert page.locator("#focus-bar").is_visible()
    assert page.evaluate(COVERING) == []
