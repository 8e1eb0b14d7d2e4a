"""The panels of attention of a trained run in a browser: exact numbers, tokens as text."""

from __future__ import annotations

from typing import Any

from page_driver import Open, close
from page_runs import HOSTILE_WORDS, Trained


def attention_numbers(page: Any) -> tuple[str, str]:
    return tuple(page.inner_text(f'.readout [data-value="{name}"]') for name in ("weight", "delta"))


def test_attention_shows_exact_numbers_by_keys_and_pointer(
    trained: Trained, open_page: Open
) -> None:
    page = open_page(trained.html, "#tab=attention")
    names = [item["name"] for item in trained.sections["attention"]["maps"]]
    page.select_option('select[aria-label="layer"]', label="decoder.1.attention")
    weights = trained.values["decoder.1.attention.weights"]
    deltas = trained.values["decoder.1.attention.scores.delta"]
    page.locator(".map-area").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    shown = attention_numbers(page)
    assert close(shown[0], weights[0, 0, 2, 1]) and close(shown[1], deltas[0, 0, 2, 1], 3)
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert attention_numbers(page) == ("0", "0") and "masked" in page.inner_text(".readout")
    assert weights[0, 0, 2, 3] == deltas[0, 0, 2, 3] == 0
    for key in ("Home", "PageDown"):
        page.keyboard.press(key)
    assert page.get_attribute(".map-area", "data-head") == "1"
    assert close(attention_numbers(page)[0], weights[0, 1, 2, 0])
    page.click('button[aria-label="example 1"]')
    assert close(attention_numbers(page)[0], weights[1, 1, 2, 0])
    box = page.locator('[data-map="deltas"] canvas.cells').bounding_box()
    keys = trained.sections["attention"]["maps"][names.index("decoder.1.attention")]["examples"][1]
    size = box["width"] / keys["keys"]
    page.mouse.move(box["x"] + 1.5 * size, box["y"] + 3.5 * size)
    assert close(attention_numbers(page)[1], deltas[1, 1, 3, 1], 3)
    page.mouse.click(box["x"] + 0.5 * size, box["y"] + 3.5 * size)
    page.mouse.move(box["x"] + 1.5 * size, box["y"] + 1.5 * size)
    assert close(attention_numbers(page)[0], weights[1, 1, 3, 0])
    page.click('button[aria-label="encoder.0.attention, head 1"]')
    assert page.input_value('select[aria-label="layer"]') == str(names.index("encoder.0.attention"))


def test_tokens_show_as_text_at_the_layer_of_the_selected_node(
    trained: Trained, open_page: Open
) -> None:
    page = open_page(trained.html, "#node=encoder.1.attention.scores", True)
    page.locator(".panel-attention-node .thumb").nth(1).click()
    assert page.get_attribute(".map-area", "data-head") == "1"
    chosen = page.locator('select[aria-label="layer"] option:checked')
    assert chosen.inner_text() == "encoder.1.attention"
    assert page.locator('.thumb[aria-pressed="true"]').count() == 1
    shown = set(page.locator('[data-map="weights"] .row-tokens .token').all_inner_texts())
    for number in range(1, len(trained.sections["attention"]["examples"])):
        page.click(f'button[aria-label="example {number}"]')
        shown |= set(page.locator('[data-map="weights"] .row-tokens .token').all_inner_texts())
    expected = {token[:6].replace("\u202e", "\\u202e") for token in HOSTILE_WORDS}
    assert len({text[:6] for text in shown} & expected) > 5
    script = page.locator('[data-map="weights"] .token[title="<script>window.hacked=1<"]').first
    assert script.inner_text() == "<script>…ed=1<"
    assert page.evaluate("window.hacked") is None
    assert page.locator("#tab-view img, #tab-view script").count() == 0
