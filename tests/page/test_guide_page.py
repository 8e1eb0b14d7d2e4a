"""The guide's HTML page in a browser: one topic at a time, search, phone, dark, offline."""

from __future__ import annotations

import pytest

from graphgrad.guide import TOPICS, build_guide


@pytest.fixture(scope="session")
def guide() -> str:
    return build_guide()


SHOWN = "[...document.querySelectorAll('#article section:not([hidden])')].map((s) => s.id)"


def shown(page) -> list[str]:
    """The topics that can be seen."""
    return page.evaluate(SHOWN)


def wait_for_topic(page, name):
    """Waits until the page shows this topic alone: it follows its address a moment later."""
    page.wait_for_function(f"{SHOWN}.join() === {name!r}")
    assert shown(page) == [name]


def test_one_topic_is_shown_and_the_list_leads_to_the_others(open_page, guide):
    page = open_page(guide)
    assert shown(page) == ["neuron"]
    page.click("#list >> text=The life of one training step")
    wait_for_topic(page, "step")
    assert page.title().startswith("The life of one training step")
    assert page.locator("#list [aria-current=page]").inner_text() == "The life of one training step"
    names = [topic.name for topic in TOPICS]
    page.click("#next a >> nth=1")
    wait_for_topic(page, names[names.index("step") + 1])
    page.go_back()
    wait_for_topic(page, "step")


@pytest.mark.parametrize(
    "address, topic", [("#passes.simplify", "passes"), ("#own", "arrays"), ("#no-such", "neuron")]
)
def test_an_address_opens_its_topic(open_page, guide, address, topic):
    page = open_page(guide, address)
    assert shown(page) == [topic]
    if "." in address:
        top = page.evaluate(f"document.getElementById('{address[1:]}').getBoundingClientRect().top")
        assert 0 <= top < 200


def test_search_finds_words_and_goes_there(open_page, guide):
    page = open_page(guide)
    page.keyboard.press("/")
    page.keyboard.type("teacher forcing")
    assert page.locator(".hit").first.inner_text().startswith("Teacher forcing")
    page.keyboard.press("Enter")
    page.locator("#found").wait_for(state="hidden")
    assert shown(page) == ["transformer"]
    page.fill("#search", "log_softmax")
    page.keyboard.press("ArrowDown")
    assert page.locator(".hit[aria-selected=true]").count() == 1
    page.fill("#search", "<img src=x onerror=alert(1)>")
    assert page.locator("#found").inner_text() == "nothing is called so"
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden()


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1440, False), (390, True)])
def test_no_topic_is_wider_than_its_window(open_page, guide, width, dark):
    page = open_page(guide, width=width, height=844, dark=dark)
    for topic in TOPICS:
        page.evaluate(f"location.hash = '{topic.name}'")
        page.wait_for_timeout(5)
        assert shown(page) == [topic.name]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, topic.name
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 200) is dark


def test_on_a_phone_the_list_opens_and_closes(open_page, guide):
    page = open_page(guide, width=390, height=844)
    assert page.locator("#list").is_hidden()
    page.click("#list-button")
    page.click("#list >> text=Coming from JAX")
    assert page.locator("#list").is_hidden() and shown(page) == ["jax"]


def test_the_bar_stays_while_the_text_moves(open_page, guide):
    page = open_page(guide, "#operations.matmul")
    assert page.evaluate("scrollY") > 1000
    assert page.evaluate("document.getElementById('bar').getBoundingClientRect().top") == 0


def test_pictures_are_there_and_colours_can_be_chosen(open_page, guide):
    page = open_page(guide, "#network")
    images = "[...document.images].map((image) => image.complete && image.naturalWidth > 100)"
    assert page.evaluate(images) and all(page.evaluate(images))
    page.click("#theme-button")
    page.click("#theme-button")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
