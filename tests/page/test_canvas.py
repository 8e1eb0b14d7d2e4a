"""The drawn graph in a browser: opening and closing, views, pan and zoom, colours, printing."""

import re
from typing import Any

from page_driver import Open, title, visible_boxes

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.page import build_page


def box(page: Any, name: str) -> Any:
    """The box of the values of a node or of a closed scope."""
    return page.locator(f'#canvas .box[data-name="{name}"][data-side=value] .body')


def click(page: Any, name: str) -> None:
    """A click on a box wherever the camera is."""
    box(page, name).dispatch_event("click")


# ---------------------------------------------------------------- too much to draw


def test_more_than_the_page_can_draw_is_refused_and_searchable(open_page: Open, deep: str) -> None:
    page = open_page(deep)
    click(page, "deep")
    assert "20,000 nodes" in page.inner_text("#notice")
    assert visible_boxes(page) < 10
    page.fill("#search", "tanh_7777")
    page.keyboard.press("Enter")
    assert title(page) == "tanh_7777"
    page.keyboard.press("f")
    assert 3 < visible_boxes(page) < 20


def test_a_flat_graph_of_thousands_is_refused_as_a_whole(open_page: Open) -> None:
    value = gg.input("x", 3)
    for _ in range(4_000):
        value = gg.tanh(value)
    page = open_page(build_page(Graph({"y": value})))
    assert "outside all scopes" in page.inner_text("#notice")
    assert visible_boxes(page) == 0
    page.evaluate("location.hash = '#node=tanh_1234&radius=2'")
    page.wait_for_selector("#focus-bar:not([hidden])")
    assert visible_boxes(page) == 5


# ---------------------------------------------------------------- opening, closing, folding


def test_scopes_open_and_close_by_click_and_by_key(open_page: Open, small: str) -> None:
    page = open_page(small, "#scope=encoder.0.feed_forward")
    assert "×2" in page.text_content("#canvas")
    before = visible_boxes(page)
    click(page, "encoder.0.feed_forward")
    assert visible_boxes(page) > before
    assert page.inner_text("#details .kicker") == "scope" and title(page) == "feed_forward"
    page.keyboard.press("Enter")
    assert visible_boxes(page) == before
    page.keyboard.press("e")
    assert visible_boxes(page) > 2 * before
    page.keyboard.press("r")
    assert visible_boxes(page) < before


def test_a_run_of_equal_scopes_shows_any_member_and_all(open_page: Open, large: str) -> None:
    page = open_page(large, "#node=encoder.3.attention.scores")
    assert title(page) == "scores"
    page.click("#details .crumb >> text=3")
    assert page.locator(".member[aria-pressed=true]").inner_text() == "3"
    page.click(".member >> text=5")
    assert "encoder › " in page.inner_text("#details .crumbs").replace("\n", " ") + " "
    assert title(page) == "5"
    page.click("text=draw all of them")
    assert (
        page.locator("#canvas .scope-title, #canvas .scope-box .label")
        .filter(has_text=re.compile(r"encoder\.[0-5]\b"))
        .count()
        >= 6
    )
    page.keyboard.press("u")
    page.keyboard.press("u")
    page.keyboard.press("e")
    assert "×6" in page.text_content("#canvas")


def test_views(open_page: Open, training: str) -> None:
    page = open_page(training, "#scope=decoder.0.attention")
    mirror = page.locator("#canvas .box.kind-delta").count()
    assert mirror > 5 and page.locator(".wire-saved").count() > 5
    heights = page.evaluate(
        "[...document.querySelectorAll('.box[data-key$=\"δ\"]')].map((other) => ["
        "  other.transform.baseVal[0].matrix.f, document.querySelector("
        '    `.box[data-key="${other.dataset.key.slice(0, -1)}"]`).transform.baseVal[0].matrix.f])'
    )
    assert heights and all(one == other for one, other in heights)
    gap = page.evaluate(
        "() => { const ends = { value: -Infinity, delta: Infinity };"
        "  for (const box of document.querySelectorAll('.box')) {"
        "    const { left, right } = box.querySelector('.body').getBoundingClientRect();"
        "    const side = box.dataset.side;"
        "    if (side === 'delta') ends.delta = Math.min(ends.delta, left);"
        "    else ends.value = Math.max(ends.value, right);"
        "  }"
        "  return (ends.delta - ends.value) / document.querySelector('.world').getScreenCTM().a; }"
    )
    assert 100 < gap < 300, "the deltas begin beside the last value"
    page.click("[data-view=forward]")
    assert page.locator("#canvas .kind-delta").count() == 0
    page.click("[data-view=backward]")
    assert page.locator("#canvas .box.kind-operation").count() == 0
    assert page.locator("#canvas .box.kind-delta").count() > 5
    page.keyboard.press("v")
    assert page.locator("[data-view=updates]").get_attribute("aria-pressed") == "true"
    assert "view=updates" in page.evaluate("location.hash")


# ---------------------------------------------------------------- pan, zoom, colours, printing


def transform(page: Any) -> str:
    page.wait_for_timeout(40)
    return page.get_attribute("#canvas .world", "transform")


def test_pan_zoom_and_fit(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.keyboard.press("0")
    fitted = transform(page)
    page.mouse.move(500, 400)
    page.mouse.wheel(0, -400)
    zoomed = transform(page)
    assert zoomed != fitted
    assert page.locator("#minimap:not(.idle)").count() == 1
    page.mouse.down()
    page.mouse.move(560, 460, steps=3)
    page.mouse.up()
    assert transform(page) != zoomed
    assert title(page) == "transformer"  # a drag selects nothing
    page.keyboard.press("0")
    assert transform(page) == fitted
    assert page.locator("#minimap.idle").count() == 1
    page.click("#zoom [aria-label=closer]")
    assert transform(page) != fitted


def test_light_and_dark(open_page: Open, network: str) -> None:
    def paper(page: Any) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = open_page(network), open_page(network, dark=True)
    assert paper(light) != paper(dark)
    before = paper(light)
    light.click("#theme-button")
    light.click("#theme-button")
    assert paper(light) == paper(dark) != before


def test_colour_by_a_number(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.select_option("#colour-by", "flops")
    assert "FLOPs" in page.inner_text("#legend")
    filled = page.locator("#canvas .body[style*=fill]")
    assert filled.count() > 3
    page.select_option("#colour-by", "")
    assert filled.count() == 0 and page.locator("#legend").is_hidden()


def test_printing_shows_the_whole_picture_and_the_details(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.h1.z", dark=True)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".tools").is_hidden() and page.locator(".search").is_hidden()
    assert page.locator("#canvas").get_attribute("viewBox") == "0 0 1000 700"
    assert page.locator("#details .formula").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 5000
