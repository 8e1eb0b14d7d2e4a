"""Attention, history, passes and program on the page of a run on the built-in dates.

What the page shows is read from the texts of its cells and compared with an evaluation of the graph
by `graphgrad.ops.evaluate` and plain NumPy.
"""

from __future__ import annotations

import re

import pytest
from page_driver import Open, chosen_lines, number, title
from page_runs import DATES, Trained

STEPS, EVERY = DATES["steps"], DATES["inspect_every"]
ROW = """(count) => Array.from({ length: count }, () => {
    const shown = ['.readout', '.readout [data-value=weight]', '.readout [data-value=delta]'].map(
        (one) => document.querySelector(one).innerText);
    document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true, cancelable: true }));
    return shown;
})"""
"""The texts of the readout for each cell of a row, which a key moves along."""


def test_masked_cells_show_exactly_zero(dates: Trained, open_page: Open) -> None:
    page = open_page(dates.html, "#tab=attention")
    layers = page.locator('select[aria-label="layer"] option').all_inner_texts()
    assert len(layers) == 6
    masked = 0
    for place, layer in enumerate(layers):
        weights = dates.values[f"{layer}.weights"]
        deltas = dates.values[f"{layer}.scores.delta"]
        page.select_option('select[aria-label="layer"]', label=layer)
        item = dates.sections["attention"]["maps"][place]
        assert item["name"] == layer
        page.locator(".map-area").focus()
        page.keyboard.press("Home")
        for column, (said, *shown) in enumerate(page.evaluate(ROW, item["examples"][0]["keys"])):
            wanted = [weights[0, 0, 0, column], deltas[0, 0, 0, column]]
            if "masked" in said:
                assert shown == ["0", "0"] and wanted == [0, 0]
                masked += 1
            for text, value in zip(shown, wanted, strict=True):
                assert number(text) == pytest.approx(float(value), rel=2e-3, abs=1e-30)
    assert masked >= 2 * 8  # the causal masks at least


def test_history_follows_the_slider(dates: Trained, open_page: Open) -> None:
    page = open_page(dates.html, "#tab=history")
    history = dates.history
    assert list(history.steps) == [1, EVERY, 2 * EVERY, STEPS]
    slider = page.locator("#tab-view input[type=range]")
    ratio = page.locator('[data-flow="ratio"] .readout [data-value]')
    flow = page.locator('[data-flow="depth"] .readout [data-value]')
    for place in (3, 2, 1, 0):
        assert page.inner_text(".step-label") == f"step {history.steps[place]}"
        for readout, kind, statistic in ((flow, ".delta", "norm"), (ratio, "", "update_ratio")):
            wanted = history.of(readout.get_attribute("data-value") + kind, statistic)[place]
            assert number(readout.inner_text()) == pytest.approx(float(wanted), rel=1e-3)
        slider.focus()
        page.keyboard.press("ArrowLeft")
    page.click(".step-slider .play")
    page.locator(".step-label", has_text=f"step {history.steps[-1]}").wait_for()


def test_passes_list_what_changed_and_nodes_are_selected(dates: Trained, open_page: Open) -> None:
    page = open_page(dates.html, "#tab=passes")
    steps = dates.sections["passes"]["steps"]
    seen = set()
    for place, step in enumerate(steps):
        row = page.locator("table.passes tbody tr").nth(place)
        row.click()
        assert page.inner_text(".pass-details h3") == step["name"]
        assert (
            len(step["purpose"]) > 20
            and page.inner_text(".pass-details .purpose") == step["purpose"]
        )
        for kind, items in step["lists"].items():
            shown = page.locator(f'.change-list[data-kind="{kind}"] li')
            assert shown.count() == len(items)
            seen |= {kind} if items else set()
    assert {"added", "removed", "rewritten"} <= seen
    names = [step["name"] for step in steps]
    page.locator("table.passes tbody tr").nth(names.index("decompose")).click()
    item = page.locator('.change-list[data-kind="rewritten"] li', has_text="softmax(").first
    assert item.locator("code.after").inner_text().startswith("multiply(")
    name = item.locator(".node-link").inner_text()
    item.locator(".node-link").click()
    assert page.locator("#tab-view").is_hidden() and name.endswith(title(page))
    assert "decompose rewritten" in page.inner_text(".panel-program-node")


def test_the_program_is_that_of_the_run(dates: Trained, open_page: Open) -> None:
    pytest.importorskip("llvmlite")
    page = open_page(dates.html, "#node=encoder.0.attention.query.a")
    kernel = page.locator(".panel-program-node details.kernel")
    assert re.match(r"kernel_\d+ computes it with \d+ other nodes?\b", kernel.inner_text())
    kernel.locator("summary").click()
    assert "def kernel(" in kernel.inner_text()
    page.click('[data-open="program"]')
    chosen = chosen_lines(page)
    assert [len(lines) for lines in chosen.values()] == [1, 1, 1]
    assert chosen["source"][0].startswith("add(") and "kernel_" in chosen["program"][0]
    page.locator('[data-pane="optimised"] .line.chosen').hover()
    assert page.locator('[data-pane="program"] .line.lit').count() == 1
