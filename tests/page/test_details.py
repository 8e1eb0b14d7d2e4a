"""The side panel in a browser: shape, cost, neighbours, mathematics and delta of a node."""

from typing import Any

from page_driver import Open, title


def fact(page: Any, name: str) -> str:
    return page.inner_text(f"#details [data-fact={name}]")


def test_the_details_of_a_node(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.matches")
    details = page.inner_text("#details")
    assert page.inner_text("#details .kicker code") == "matmul"
    assert fact(page, "bytes").startswith("12.5 KiB")  # 8 · 4 · 10 · 10 float32
    assert fact(page, "flops") == "153,600"  # 2 · 8 · 4 · 10 · 10 · 24
    assert fact(page, "shape").split() == ["batch8", "4", "source10", "source10"]
    assert "transformer.py:" in details and "float32" in details
    heads = page.locator("#details .part-heads .node-link").all_inner_texts()
    assert heads == ["Q", "K"]
    assert page.locator("#details .part-tails .node-link").all_inner_texts() == ["scores"]
    page.click("#details .part-tails .node-link")
    assert title(page) == "scores"
    formula = page.locator("#details .formula math")
    assert formula.nth(0).get_attribute("alttext") == "scores = matches · 1 / (√(D_k))"
    assert formula.nth(1).get_attribute("alttext").startswith("δ[scores] = δ[masked_scores] where")
    page.click("#details .formula .name.node >> nth=0")
    assert title(page) == "matches"


def test_heads_and_tails_are_those_of_the_lecture_for_neurons(
    open_page: Open, network: str, small: str
) -> None:
    wanted = [["heads(h2)", "{x1, x2, x3}"], ["tails(h2)", "{y1, y2, y3}"]]
    for address in ("#node=hidden.h2.z", "#node=hidden.h2.a", "#scope=hidden.h2"):
        page = open_page(network, address)
        rows = page.locator("#details dl.facts").first.inner_text().split("\n")
        for name, names in wanted:
            assert rows[rows.index(name) + 1] == names
    page = open_page(network, "#node=output.y1.a")
    assert "{h1, h2, h3}" in page.inner_text("#details") and "∅" in page.inner_text("#details")
    assert "tails(" not in open_page(small, "#node=loss").inner_text("#details dl.facts")


def test_a_weight_is_shown_with_its_arrow(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.h1.z")
    formulas = page.locator("#details .formula math")
    assert formulas.nth(0).get_attribute("alttext") == "z = 1 / (1 + e^(−a))"
    assert formulas.nth(1).get_attribute("alttext").endswith("· w[h1→y1]")
    assert formulas.count() == 4
    assert page.locator("#canvas .line-label.weight").count() == 18


def test_softmax_is_mathematics(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.weights")
    assert page.locator("#details .formula mfrac msup").count() == 2
    alttext = page.locator("#details .formula math").first.get_attribute("alttext")
    assert alttext == "weights = (e^masked_scores) / (∑e^masked_scores)"
    size = page.locator("#details .formula mfrac").bounding_box()
    assert size["height"] > 20  # it is drawn as a fraction, not as one line


def test_the_missing_1_over_n_of_the_slide_is_said(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention_norm.standard")
    assert "the lecture's slide leaves out the 1/n" in page.inner_text("#details")
    page = open_page(small, "#node=encoder.0.attention_norm.scaled")
    assert "leaves out" not in page.inner_text("#details")


def test_a_delta_came_by_contributions(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.with_positions")
    rows = page.locator("#details .part-delta > .contributions > .tree > li")
    assert rows.count() == 4
    first = rows.nth(0)
    assert "0.attention.query.product" in first.inner_text()
    first.locator("summary").first.click()
    first.locator(".tree .contribution").first.wait_for()
    assert first.locator("> details > .tree").inner_text().startswith("from a\n")
    page.keyboard.press("d")
    assert page.inner_text("#details .kicker").startswith("delta")
    page.keyboard.press("d")
    assert title(page) == "with_positions"


def test_sizes_change_bytes_and_operations(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.fill(".sizes label:has-text('source') input", "20")
    page.keyboard.press("Tab")
    page.evaluate("location.hash = '#node=encoder.0.attention.matches'")
    page.wait_for_selector("#details [data-fact=flops]")
    assert fact(page, "flops") == "614,400"
