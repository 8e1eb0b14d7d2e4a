"""Hostile names in a browser: text and nothing else, in the picture and in every panel."""

import numpy as np
from hostile_names import HOSTILE, hostile_graph
from page_driver import Open, follow, title
from page_runs import HOSTILE_WORDS

from graphgrad.backprop import derive
from graphgrad.graph import Graph, input, parameter, scope
from graphgrad.ops import matmul, sum, tanh
from graphgrad.page import build_page
from graphgrad.page.section_effects import effects_section
from graphgrad.page.section_history import history_section
from graphgrad.page.section_passes import pass_section
from graphgrad.page.section_run import run_section
from graphgrad.page.section_training import training_section
from graphgrad.reports.history import History


def test_hostile_names_show_as_text(open_page: Open) -> None:
    page = open_page(build_page(hostile_graph(), title="</title><b>x</b>"))
    page.keyboard.press("e")
    assert page.locator("#canvas .box").count() > 2 * len(HOSTILE)
    expected = {"HTML", "HEAD", "BODY"}
    assert "<script>alert(1)</script>" in page.text_content("#canvas")
    page.keyboard.press("r")
    page.keyboard.press("o")
    page.evaluate("for (const row of document.querySelectorAll('.scope-row')) row.click()")
    page.keyboard.press("r")
    single = HOSTILE.index("\ud800")  # half a character has no place in an address
    page.fill("#search", f"x{100 + single}")
    page.keyboard.press("Enter")
    assert f"x{100 + single}" in page.inner_text("#details .node-head")
    linked = [(number, name) for number, name in enumerate(HOSTILE) if number != single]
    heads = page.evaluate(
        "async (names) => { const heads = []; for (const name of names) {"
        "  location.hash = '#node=' + encodeURIComponent(name);"
        "  await new Promise((done) => addEventListener('hashchange', () => setTimeout(done)));"
        "  heads.push(document.querySelector('#details .node-head').textContent);"
        "} return heads; }",
        [f"{name}.x{100 + number} {name}" for number, name in linked],
    )
    for (number, name), head in zip(linked, heads, strict=True):
        assert f"x{100 + number}" in head, name[:80]
        assert not set(head) & set("\u202e\u2066\u200f\u2028\x00"), name
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.evaluate("document.querySelectorAll('img, iframe, b, object').length") == 0
    assert page.evaluate("document.querySelectorAll('a[href], [onerror], [onclick]').length") == 0
    tags = set(page.evaluate("[...document.querySelectorAll('*')].map((one) => one.nodeName)"))
    assert expected <= tags and "IMG" not in tags
    assert page.evaluate("({}).polluted === undefined && Object.keys(Object.prototype).length") == 0


def test_marks_of_direction_are_written_out_and_long_names_are_cut(open_page: Open) -> None:
    page = open_page(build_page(hostile_graph()))
    page.keyboard.press("/")
    page.keyboard.type("gnp.exe x")
    page.keyboard.press("Enter")
    assert "\u202e" not in page.inner_text("body")
    assert "\\u202egnp" in page.inner_text("#details")
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("xxxxxxxx tanh")
    page.keyboard.press("Enter")
    assert len(title(page)) <= 90
    page.click("#details .whole-name summary")
    assert "x" * 10_000 in page.inner_text("#details .whole-name code")


def test_a_link_to_a_hostile_name_works(open_page: Open) -> None:
    page = open_page(build_page(hostile_graph()))
    for name in ("<script>alert(1)</script>", "__proto__", "#node=x&view=y", "%s%n"):
        follow(page, f"{name}.{name}")
        page.locator("#details h2", has_text=name).wait_for()


# ---------------------------------------------------------------- every panel


def test_hostile_names_are_text_in_every_panel(open_page: Open) -> None:
    x = input("x", ("batch", 3), "float32")
    value = x
    for place, name in enumerate(HOSTILE_WORDS):
        with scope(f"s{place}"):
            weight = parameter(name, (3, 3), dtype="float32")
            value = tanh(matmul(value, weight, name=f"a{name}"), name=name)
    graph = derive(Graph({"loss": sum(value + x, name="loss")}), "loss")
    state = {name: np.eye(3, dtype=np.float32) for name in graph.parameters}
    feeds = {"x": np.ones((2, 3), np.float32)}
    names = tuple(graph.name_of(node) for node in graph.nodes)
    numbers = np.random.default_rng(0).random((3, len(names), 2))
    recorded = History((1, 2, 3), names, ("norm", "update_ratio"), numbers)
    records = [{"step": 1, "loss": 1.0, f"held_out_{HOSTILE_WORDS[0]}": 2.0}]
    sections = {
        "run": run_section(graph, feeds, state, HOSTILE_WORDS[0]),
        "passes": pass_section(graph, {"batch": 2}),
        "history": history_section(recorded, graph),
        "training": training_section([(name, records) for name in HOSTILE_WORDS]),
        "effects": effects_section(dict.fromkeys(names, 1.0), HOSTILE_WORDS),
    }
    page = open_page(build_page(graph, sections=sections, title=HOSTILE_WORDS[0]))
    for tab in ("figures", "effects", "passes", "program", "history", "training"):
        page.click(f'[data-tab="{tab}"]')
        assert page.locator("#tab-view .problem").count() == 0
        assert page.locator("#tab-view :is(script, img, b:has(b), style)").count() == 0
        if tab == "figures":
            assert HOSTILE_WORDS[0] in page.inner_text("#tab-view")
        if tab == "program":
            assert page.locator('.line .label[title*="<script>window"]').count()
    page.set_viewport_size({"width": 390, "height": 844})
    page.click('[data-tab="passes"]')
    chosen = page.locator('.tab[aria-selected="true"]').bounding_box()
    assert chosen["x"] >= 0 and chosen["x"] + chosen["width"] <= 390, "the chosen tab is seen"
    hint = "getComputedStyle(document.querySelector('.wide-table')).backgroundAttachment"
    assert "local" in page.evaluate(hint) and "scroll" in page.evaluate(hint)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.click('[data-tab=""]')
    page.keyboard.press("s")
    assert page.locator(".saved-values tbody tr").count() and not page.locator("#details b").count()
    for place in (0, 1, 5):
        follow(page, f"s{place}.{HOSTILE_WORDS[place]}")
        page.locator(".panel-figures-node").wait_for()
        assert page.locator("#details .problem").count() == 0
    assert page.evaluate("window.hacked") is None
