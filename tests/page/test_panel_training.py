"""The tab of metrics of several runs in a browser: lines, cursor, log axis, histograms, a phone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from page_driver import Open, close

import graphgrad as gg
from graphgrad.page import build_page
from graphgrad.page.section_history import history_section
from graphgrad.page.section_training import training_section
from graphgrad.reports.history import History

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


HEADS = [f"scores{kind}[head={n}]" for kind in ("", ".delta") for n in range(2)]
WHOLE = ["scores", "scores.delta", "</script><b>"]
NUMBERS = np.random.default_rng(1).random((3, 4, 2)).astype(np.float32)


def recorded(
    names: list[str], numbers: np.ndarray, graph: gg.Graph | None = None
) -> dict[str, Any] | None:
    deltas = {name: name.replace(".delta", "") for name in names if ".delta" in name}
    found = History((1, 50, 130), tuple(names), ("norm", "std"), numbers, deltas)
    return history_section(found, graph)


@pytest.fixture(scope="module")
def html() -> str:
    x = gg.input("x", ("batch", 3))
    graph = gg.Graph({"loss": gg.sum(gg.tanh(x), name="loss")})
    sections = {
        "training": training_section(RUNS),
        "history": recorded(HEADS, NUMBERS, graph),
        "history_others": [recorded(WHOLE, 2 * NUMBERS[:, :3]), None],
    }
    return build_page(graph, sections=sections)


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


def test_recorded_figures_of_heads_and_of_runs_over_the_steps(html: str, open_page: Open) -> None:
    page = open_page(html, "#tab=training")
    scores = chart(page, "scores")
    assert page.locator(".recorded .run-chart").count() == 1, "that which was recorded by head"
    scores.locator(".run-area").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    for head in (0, 1):
        assert close(
            scores.locator(f'[data-value="0-{head}"]').inner_text(), NUMBERS[1, 2 + head, 0]
        )
    assert close(scores.locator('[data-value="1"]').inner_text(), 2 * NUMBERS[1, 1, 0])
    assert "first, head 1" in scores.inner_text() and NAMES[1] in scores.inner_text()
    page.select_option('[aria-label="recorded of"]', "value")
    page.select_option('[aria-label="recorded figure"]', "std")
    assert close(scores.locator('[data-value="0-1"]').inner_text(), NUMBERS[1, 1, 1])
    page.fill(".recorded input", "*</script>*")
    assert page.locator(".recorded h3").all_inner_texts()[1:] == ["</script><b>"]
    page.fill(".recorded input", "nothing")
    assert page.inner_text(".recorded [role=status]") == "nothing of this was recorded"
    page.locator(".run-legend button").nth(0).click()
    page.fill(".recorded input", "")
    assert scores.locator("path.run-line[data-run]").count() == 1
    page.click('[data-tab="history"]')
    assert "the tab Training draws them over the steps" in page.inner_text("#tab-view")


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
