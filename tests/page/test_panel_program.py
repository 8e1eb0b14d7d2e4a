"""The panels of passes and of the program in a browser: what changed, and three linked texts."""

from __future__ import annotations

import pytest
from page_driver import Open, chosen_lines
from page_runs import WORDS, Trained

from graphgrad.graph import Graph, input
from graphgrad.ops import relu, sum, tanh
from graphgrad.page import build_page
from graphgrad.page.section_passes import pass_section


def test_passes_are_walked_by_keys(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#tab=passes")
    section = trained.sections["passes"]
    rows = page.locator("table.passes tbody tr")
    assert rows.count() == len(section["steps"])
    place = next(k for k, step in enumerate(section["steps"]) if step["name"] == "simplify")
    rows.nth(place).click()
    step = section["steps"][place]
    for kind, count in step["counts"].items():
        chip = rows.nth(place).locator(f'[data-kind="{kind}"]')
        assert chip.count() == bool(count)
        if count and kind != "rebuilt":
            listed = page.locator(f'.change-list[data-kind="{kind}"] li')
            assert listed.count() == len(step["lists"][kind])
            item = listed.first
            name, was, now = step["lists"][kind][0]
            assert item.locator(".node-link, span").first.inner_text() == name
            assert item.locator("code.before").inner_text() == was
            assert item.locator("code.after").inner_text() == now
    rows.nth(place).locator("button").focus()
    page.keyboard.press("ArrowDown")
    assert page.inner_text(".pass-details h3") == section["steps"][place + 1]["name"]
    page.keyboard.press("k")
    assert page.inner_text(".pass-details h3") == "simplify"


def test_three_texts_are_linked(trained: Trained, open_page: Open) -> None:
    """A run is fused: softmax became elementwise nodes, and one kernel computes them and more."""
    pytest.importorskip("llvmlite")
    page = open_page(trained.html, "#node=encoder.0.attention.weights&tab=program")
    shown = chosen_lines(page)
    assert [len(lines) for lines in shown.values()] == [1, 1, 1]
    assert shown["source"][0].startswith("softmax(%") and "batch" in shown["source"][0]
    assert shown["optimised"][0].startswith("multiply(%") and "[6, 2, " in shown["optimised"][0]
    call = shown["program"][0].strip()
    assert call.startswith("op.kernel_") and trained.sections["run"]["step"] == WORDS["steps"]
    kernel = page.inner_text(".kernel-text")
    assert kernel.startswith(call.removeprefix("op.").partition("(")[0])
    assert " nodes in one loop here" in kernel and "def kernel(" in kernel
    page.locator('[data-pane="source"] .lines').focus()
    page.keyboard.press("ArrowDown")
    assert chosen_lines(page)["program"][0].strip().startswith("op.matmul(v")
    assert page.locator(".kernel-text").is_hidden()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "optimised graph"
    target = page.locator('[data-pane="program"] .line', has_text=call.partition("(")[0]).first
    target.hover()
    together = page.locator('[data-pane="source"] .line.lit .code').all_inner_texts()
    assert len(together) > 1 and any(line.startswith("softmax(") for line in together)
    target.click()
    assert any(line.startswith("softmax(") for line in chosen_lines(page)["source"])
    page.fill('input[aria-label="find a line"]', "cross_entropy(")
    assert page.locator('[data-pane="source"] .line.found').count() == 1
    page.keyboard.press("Enter")
    assert "cross_entropy" in "".join(chosen_lines(page)["source"])
    page.locator('[data-pane="source"] .line.chosen').dblclick()
    assert page.locator("#tab-view").is_hidden()
    assert "node=losses" in page.evaluate("location.hash")


def test_the_side_panel_leads_to_the_program(trained: Trained, open_page: Open) -> None:
    page = open_page(trained.html, "#node=decoder.0.attention.matches")
    panel = page.locator(".panel-program-node")
    here = panel.locator(".line.here .code").inner_text()
    assert here.startswith("op.matmul(v") and "arena" in panel.inner_text()
    panel.locator('[data-open="program"]').click()
    assert chosen_lines(page)["program"][0].strip().startswith(here)


def test_what_was_removed_says_so(open_page: Open) -> None:
    x = input("x", ("batch", 2), "float32")
    graph = Graph({"y": tanh(x, name="y")}, names={"unused": relu(x, name="unused")})
    section = pass_section(graph, {"batch": 3})
    page = open_page(build_page(graph, sections={"passes": section}), "#node=unused")
    assert "Not in the program" in page.inner_text(".panel-program-node")
    assert "prune removed" in page.inner_text(".panel-program-node")


@pytest.mark.usefixtures("small_kernels")
def test_kernels_are_shown_where_the_program_has_them(open_page: Open) -> None:
    pytest.importorskip("llvmlite")
    x = input("x", ("batch", 4), "float32")
    graph = Graph({"y": sum(tanh(x, name="z") * 2.0, -1, name="y")})
    section = pass_section(graph, {"batch": 3}, fuse=True)
    page = open_page(build_page(graph, sections={"passes": section}), "#node=z")
    summary = page.locator(".panel-program-node details.kernel summary")
    assert summary.inner_text() == "kernel_0 computes it with 2 other nodes in one loop"
    summary.click()
    assert "def kernel" in page.inner_text(".panel-program-node details.kernel pre")
    page.click('[data-open="program"]')
    assert "3 nodes in one loop here" in page.inner_text(".kernel-text")
