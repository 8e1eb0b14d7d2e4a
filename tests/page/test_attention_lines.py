"""Lines from word to word on the page, for sentences that a user types: by heads, words, keys."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from page_driver import Open, close
from page_runs import HOSTILE_WORDS, Trained

from graphgrad.backprop import derive
from graphgrad.errors import ConfigurationError
from graphgrad.graph import Graph, input
from graphgrad.ops import sum
from graphgrad.ops.evaluate import evaluate
from graphgrad.page import build_page
from graphgrad.page.encoding import packed
from graphgrad.page.run_sections import Shown, run_sections
from graphgrad.page.sentences import MOST, with_sentences
from graphgrad.passes import sizes_of, specialise

TEXTS = (" ".join(HOSTILE_WORDS[:4]), " ".join(HOSTILE_WORDS[2:9]))
ANSWER = " ".join(HOSTILE_WORDS[5:9])
LAYERS = ("encoder.1.attention", "decoder.1.attention", "decoder.1.cross_attention")


@pytest.fixture(scope="module")
def section(trained: Trained) -> dict[str, Any]:
    return with_sentences(trained.sections["attention"], trained.run, TEXTS, ANSWER)


@pytest.fixture(scope="module")
def html(section: dict[str, Any]) -> str:
    graph = Graph({"loss": sum(input("x", ("batch", 2)), name="loss")})
    return build_page(graph, sections={"attention": section})


@pytest.fixture(scope="module")
def values(trained: Trained) -> dict[str, np.ndarray]:
    """Values and deltas for the first sentence, by the reference."""
    prompts = trained.run.task.prompts
    assert prompts is not None
    feeds = prompts.feeds([TEXTS[0]], ANSWER)
    graph = derive(prompts.graph, "loss")
    sized = specialise(graph, sizes_of(graph, feeds))
    computed = evaluate(sized, feeds, trained.run.state)
    return {name: computed[node] for name, node in sized.names.items()}


def drawn(page: Any, kind: str) -> set[tuple[int, int, int]]:
    """The lines of a picture as (head, query, key)."""
    return {
        tuple(found)
        for found in page.eval_on_selector_all(
            f'[data-lines="{kind}"] line',
            "lines => lines.map(({dataset: d}) => [d.head, d.query, d.key].map(Number))",
        )
    }


def test_lines_are_the_weights_and_deltas_of_the_typed_sentence(
    html: str, values: dict[str, np.ndarray], open_page: Open
) -> None:
    page = open_page(html, "#tab=attention")
    assert page.locator('button[aria-label^="example “"]').count() == len(TEXTS)
    for layer in LAYERS:
        page.select_option('select[aria-label="layer"]', label=layer)
        weights, deltas = values[f"{layer}.weights"][0], values[f"{layer}.scores.delta"][0]
        assert drawn(page, "weights") == set(zip(*np.nonzero(weights >= 0.05), strict=True))
        sizes = np.abs(deltas) / np.abs(deltas).max()
        assert drawn(page, "deltas") == set(zip(*np.nonzero(sizes >= 0.05), strict=True))
    assert page.locator('[data-lines="deltas"] line.dashed').count() == len(drawn(page, "deltas"))
    page.select_option('select[aria-label="layer"]', label="decoder.1.attention")
    assert all(key <= query for _, query, key in drawn(page, "weights")), "causal"
    assert page.evaluate("window.hacked") is None
    words = page.locator('[data-lines="weights"] .word title').evaluate_all(
        "titles => titles.map((title) => title.textContent)"
    )
    assert set(words) == {
        "<bos>",
        *(word[:24].replace("\u202e", "\\u202e") for word in HOSTILE_WORDS[5:9]),
    }


def test_words_and_heads_are_chosen_by_click_and_by_keys(
    html: str, values: dict[str, np.ndarray], open_page: Open
) -> None:
    page = open_page(html, "#tab=attention", width=390, height=844)
    weights = values["encoder.1.attention.weights"][0]
    for caption in ("head", "example"):  # beside its buttons, not on a line of its own
        place, first = page.evaluate(
            "(name) => { const host = [...document.querySelectorAll('.captioned')]"
            ".find((one) => one.textContent.startsWith(name)); const text = document.createRange();"
            "text.selectNode(host.firstChild); return [text, host.querySelector('button')]"
            ".map((one) => one.getBoundingClientRect())"
            ".map((box) => [box.right, box.bottom, box.top, box.left]); }",
            caption,
        )
        assert place[0] <= first[3] and place[1] > first[2] and place[2] < first[1]
    page.click('button[aria-label="encoder.1.attention, head 1"]')
    assert {head for head, _, _ in drawn(page, "weights")} == {1}
    page.click('.choices button[aria-label="head 0"]')
    assert {head for head, _, _ in drawn(page, "weights")} == {0, 1}
    page.locator(".map-area").focus()
    page.keyboard.press("PageDown")
    assert {head for head, _, _ in drawn(page, "weights")} == {0}
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    seen = {(0, 2, int(key)) for key in np.flatnonzero(weights[0, 2] >= 0.005)}
    assert drawn(page, "weights") == seen
    assert close(page.locator(".readout b.of-value").first.inner_text(), weights[0, 2].max(), 3)
    page.keyboard.press("ArrowRight")
    assert {key for _, _, key in drawn(page, "weights")} == {2}
    page.keyboard.press("Escape")
    assert page.get_attribute(".map-area", "data-picked") == "" and len(drawn(page, "weights")) > 2
    word = page.locator('[data-lines="weights"] .word').nth(1)
    word.click()
    assert page.get_attribute(".map-area", "data-picked") == "query 1"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click('button[aria-label="maps"]')
    assert page.locator('[data-map="weights"]').count() == 1


def test_sixty_four_tokens_stay_readable(open_page: Open) -> None:
    count = 64
    weights = np.full((8, count, count), 1 / count, np.float32)
    tokens = [f"word{number}" for number in range(count)]
    example = {"queries": count, "keys": count, "weights": packed(weights), "deltas": None}
    section = {
        "side": count,
        "texts": [" ".join(tokens)],
        "examples": [{"ids": tokens}],
        "maps": [
            {
                "name": "attention",
                "weights": "attention.weights",
                "scores": "attention.scores",
                "query": "ids",
                "key": "ids",
                "heads": 8,
                "examples": [{**example, "mask": None}],
            }
        ],
    }
    graph = Graph({"loss": sum(input("x", ("batch", 2)), name="loss")})
    page = open_page(
        build_page(graph, sections={"attention": section}), "#tab=attention", width=390
    )
    boxes = page.eval_on_selector_all(
        ".word",
        "all => all.map((e) => e.getBoundingClientRect()).map((b) => [b.x, b.y, b.bottom])",
    )
    assert len(boxes) == 2 * count
    for side in (boxes[:count], boxes[count:]):
        assert all(one[2] <= other[1] + 1 for one, other in pairwise(side))
        assert min(box[0] for box in side) >= 0
    sizes = page.eval_on_selector_all(".word", "all => all.map((e) => e.getAttribute('font-size'))")
    assert min(map(float, sizes)) >= 11


def test_what_cannot_be_shown_is_refused(trained: Trained) -> None:
    section = trained.sections["attention"]
    for texts, problem in (([" "], "empty text"), (["a"] * (MOST + 1), "more than a page shows")):
        with pytest.raises(ConfigurationError, match=problem):
            with_sentences(section, trained.run, texts)


def test_one_example_has_its_own_figures(trained: Trained) -> None:
    whole = trained.sections
    found = run_sections(trained.run, Shown(example=1))
    assert found["run"]["example"] == found["attention"]["example"] == 1
    assert found["run"]["sizes"]["batch"] == 1 < whole["run"]["sizes"]["batch"]
    assert len(found["attention"]["examples"]) == 1
    assert found["attention"]["examples"][0] == whole["attention"]["examples"][1]
