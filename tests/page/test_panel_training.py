"""The tab of metrics of several runs in a browser: lines, cursor, log axis, histograms, a phone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from page_driver import Open, close

import graphgrad as gg
from graphgrad.page import build_page
from graphgrad.page.section_training import training_section

COUNT = 130
NAMES = ["first", "second</script><b>", "third"]


def records(run: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"step": step, "loss": 3 / step + run, "gradient_norm": 10.0 ** (run - step / 50)}
        for step in range(1, COUNT + 1)
    ]
    for record in made[9::10]:
        record["held_out_loss"] = record["loss"] + 0.5
    made[60]["loss"] = math.nan
    return made


RUNS = [(name, records(run)) for run, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def html() -> str:
    x = gg.input("x", ("batch", 3))
    graph = gg.Graph({"loss": gg.sum(gg.tanh(x), name="loss")})
    return build_page(graph, sections={"training": training_section(RUNS)})


def chart(page: Any, name: str) -> Any:
    return page.locator(f'[data-figure="{name}"]')


def test_lines_and_the_numbers_at_the_cursor(html: str, open_page: Open) -> None:
    page = open_page(html, "#tab=training")
    loss = chart(page, "loss")
    assert loss.locator("path.run-line[data-run]").count() == 6, "of each run, and its held-out"
    assert chart(page, "held_out_loss").count() == 0
    assert page.locator(".run-legend button").all_inner_texts() == NAMES
    loss.locator(".run-area").focus()
    page.keyboard.press("Home")
    for _ in range(24):
        page.keyboard.press("ArrowRight")
    for run, (_, made) in enumerate(RUNS):
        assert close(loss.locator(f'[data-value="{run}"]').inner_text(), made[24]["loss"])
        assert close(
            loss.locator(f'[data-value="{run}-held"]').inner_text(), made[19]["loss"] + 0.5
        )
        norm = chart(page, "gradient_norm").locator(f'[data-value="{run}"]')
        assert close(norm.inner_text(), made[24]["gradient_norm"]), "one cursor for all charts"
    box = loss.locator("svg.run-lines").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 60)
    assert close(loss.locator('[data-value="1"]').inner_text(), RUNS[1][1][-1]["loss"])
    assert loss.locator("path.run-lost").count() == 3
    page.locator(".run-legend button").nth(1).click()
    assert loss.locator("path.run-line[data-run]").count() == 4
    assert loss.locator('[data-value="1"]').count() == 0
    assert page.locator(".run-legend b").count() == 0


def test_the_log_axis_makes_powers_straight(html: str, open_page: Open) -> None:
    page = open_page(html, "#tab=training")
    heights = (
        "(name) => { const d = document.querySelector("
        "  `[data-figure=${name}] path.run-line[data-run='0']`).getAttribute('d');"
        "  return d.slice(1).split('L').map((point) => Number(point.split(' ')[1])); }"
    )
    bends = []
    for _ in range(2):
        ys = page.evaluate(heights, "gradient_norm")
        half = ys[len(ys) // 2] - ys[0]
        bends.append(abs(half / (ys[-1] - ys[0]) - 0.5))
        page.click('[data-choice="log"]')
    assert bends[0] > 0.2 and bends[1] < 0.02


def test_histograms_count_what_is_under_the_pointer(html: str, open_page: Open) -> None:
    page = open_page(html, "#tab=training")
    page.click('[data-choice="spread"]')
    norm = chart(page, "gradient_norm")
    assert norm.locator("canvas").count() == len(RUNS)
    canvas = norm.locator("canvas").nth(2)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    said = norm.locator(".run-readout").inner_text()
    assert said.startswith("third steps 1–") and "of 2 between" in said
    assert "most between" in canvas.get_attribute("aria-label")


def test_a_phone_shows_all_of_it(html: str, open_page: Open) -> None:
    page = open_page(html, "#tab=training", width=390, height=844)
    for spread in (False, True):
        wide = page.evaluate(
            "() => { const tab = document.getElementById('tab-view');"
            " return [tab.scrollWidth, tab.clientWidth,"
            "  Math.max(...[...document.querySelectorAll('.run-chart *')]"
            "   .map((one) => one.getBoundingClientRect().right)),"
            "  Math.min(...[...document.querySelectorAll('.run-lines text, .run-chart p')]"
            "   .map((one) => parseFloat(getComputedStyle(one).fontSize)))]; }"
        )
        assert wide[0] <= wide[1] == 390 and wide[2] <= 390 and wide[3] >= 11, (spread, wide)
        page.click('[data-choice="spread"]')
