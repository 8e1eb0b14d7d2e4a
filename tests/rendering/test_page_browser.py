"""The page in a browser: every feature by clicks and keys, time limits, hostile names as text."""

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
from test_page_build import HOSTILE, hostile_graph

import graphgrad as gg
from graphgrad.graph import Graph
from graphgrad.models import BUILTIN
from graphgrad.models import transformer as transformer_model
from graphgrad.rendering.page import build_page
from graphgrad.training.optimisers import training_step
from graphgrad.training.task import load_model

Open = Callable[..., Any]


SIZES = {"batch": 8, "source": 10, "target": 6}


@pytest.fixture(scope="module")
def pages() -> Callable[[str], str]:
    """The pages of Transformers by name, each built once: 2+2 layers and 6+6 layers with deltas,
    and the whole training step of 2+2 layers; `test_page_acceptance` has that of 6+6."""

    @functools.cache
    def page(name: str) -> str:
        settings = transformer_model.Settings(layers=6 if name == "large" else 2)
        graph = transformer_model.training_graph(settings, 114, 15)
        whole = training_step(graph, settings) if name == "step" else gg.derive(graph, "loss")
        return build_page(whole, title="transformer", sizes=SIZES)

    return page


@pytest.fixture
def small(pages: Callable[[str], str]) -> str:
    return pages("small")


@pytest.fixture
def transformer(pages: Callable[[str], str]) -> str:
    return pages("large")


@pytest.fixture
def training(pages: Callable[[str], str]) -> str:
    return pages("step")


@pytest.fixture(scope="module")
def network() -> str:
    model = load_model("feedforward", BUILTIN)
    graph = model.task(model.settings, {}).graph
    return build_page(gg.derive(graph, "loss"), title="network")


def title(page: Any) -> str:
    return page.inner_text("#details h2")


def visible_boxes(page: Any) -> int:
    return page.locator("#canvas .box").count()


def fact(page: Any, name: str) -> str:
    return page.inner_text(f"#details [data-fact={name}]")


def box(page: Any, name: str) -> Any:
    """The box of the values of a node or of a closed scope."""
    return page.locator(f'#canvas .box[data-name="{name}"][data-side=value] .body')


def click(page: Any, name: str) -> None:
    """A click on a box wherever the camera is."""
    box(page, name).dispatch_event("click")


# ---------------------------------------------------------------- too much to draw


def test_more_than_the_page_can_draw_is_refused_and_searchable(open_page: Open) -> None:
    x = value = gg.input("x", ("batch", 3))
    with gg.scope("deep"):
        for _ in range(10_000):
            value = gg.tanh(value + x)
    page = open_page(build_page(Graph({"loss": gg.sum(value, name="loss")})))
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
    page = open_page(small)
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


def test_a_run_of_equal_scopes_shows_any_member_and_all(open_page: Open, transformer: str) -> None:
    page = open_page(transformer, "#node=encoder.3.attention.scores")
    assert title(page) == "scores"
    page.click("#details .crumb >> text=3")
    assert page.locator(".member[aria-pressed=true]").inner_text() == "3"
    page.click(".member >> text=5")
    assert "encoder › " in page.inner_text("#details .crumbs").replace("\n", " ") + " "
    assert title(page) == "5"
    page.click("text=draw all of them")
    assert page.locator("#canvas .scope-title, #canvas .scope-box .label").filter(
        has_text=re.compile(r"encoder\.[0-5]\b")
    ).count() >= 6  # fmt: skip
    page.keyboard.press("u")
    page.keyboard.press("u")
    assert "×6" in page.text_content("#canvas")


def test_views(open_page: Open, training: str) -> None:
    page = open_page(training)
    mirror = page.locator("#canvas .box.kind-delta").count()
    assert mirror > 5 and page.locator(".wire-saved").count() > 5
    heights = page.evaluate(
        "[...document.querySelectorAll('.box[data-key$=\"δ\"]')].map((other) => ["
        "  other.transform.baseVal[0].matrix.f, document.querySelector("
        '    `.box[data-key="${other.dataset.key.slice(0, -1)}"]`).transform.baseVal[0].matrix.f])'
    )
    assert heights and all(one == other for one, other in heights)
    page.click("[data-view=forward]")
    assert page.locator("#canvas .kind-delta").count() == 0
    page.click("[data-view=backward]")
    assert page.locator("#canvas .box.kind-operation").count() == 0
    assert page.locator("#canvas .box.kind-delta").count() > 5
    page.keyboard.press("v")
    assert page.locator("[data-view=updates]").get_attribute("aria-pressed") == "true"
    assert "view=updates" in page.evaluate("location.hash")


# ---------------------------------------------------------------- details


def test_the_details_of_a_node(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.matches")
    details = page.inner_text("#details")
    assert page.inner_text("#details .kicker code") == "matmul"
    assert fact(page, "bytes").startswith("12.5 KiB")  # 8 · 4 · 10 · 10 float32
    assert fact(page, "flops") == "153,600"  # 2 · 8 · 4 · 10 · 10 · 24
    assert fact(page, "shape").split() == ["batch8", "4", "source10", "source10"]
    assert "transformer.py:" in details and "float32" in details
    heads = page.locator("#details .part-heads .node-link").all_inner_texts()
    assert heads == ["transpose", "transpose_1"]
    assert page.locator("#details .part-tails .node-link").all_inner_texts() == ["scores"]
    page.click("#details .part-tails .node-link")
    assert title(page) == "scores"
    formula = page.locator("#details .formula math")
    assert formula.nth(0).get_attribute("alttext") == "scores = matches · 0.204124"
    assert formula.nth(1).get_attribute("alttext").startswith("δ[scores] = δ[masked_scores] where")
    page.click("#details .formula .name.node >> nth=0")
    assert title(page) == "matches"


def test_a_weight_stands_with_its_arrow(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.1.z")
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


# ---------------------------------------------------------------- search, keys, ways


def test_search_finds_nodes_operations_and_scopes(open_page: Open, transformer: str) -> None:
    page = open_page(transformer)
    page.keyboard.press("/")
    page.keyboard.type("softmax decoder.2")
    found = page.locator("#found [role=option]")
    assert "weights" in found.first.inner_text() and "decoder.2" in found.first.inner_text()
    page.keyboard.press("ArrowDown")
    assert found.nth(1).get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    assert title(page) == "weights" and page.locator("#canvas .box.selected").count() >= 1
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("decoder.output")
    page.keyboard.press("Enter")
    assert page.inner_text("#details .kicker") == "scope" and title(page) == "output"
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("no such thing at all")
    assert "nothing has this" in page.inner_text("#found")
    page.keyboard.press("Escape")
    assert page.locator("#found").is_hidden()


def test_arrows_go_along_the_graph(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.matches")
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    assert title(page) == "scores"
    page.keyboard.press("ArrowUp")
    assert title(page) == "matches"
    page.keyboard.press("ArrowUp")
    assert title(page).startswith("transpose")
    here = title(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert title(page) == here
    assert "transpose" in page.inner_text("#live")
    page.keyboard.press("Escape")
    assert title(page) == "transformer"


def test_ways_to_the_loss(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.1.z")
    page.keyboard.press("a")
    assert page.inner_text("#details .part-way h3").startswith("6 ways to the loss")
    page.keyboard.press("p")
    way = page.locator("#details .way .node-link").all_inner_texts()
    assert way[0] == "hidden.1.z" and way[-1] == "loss"
    assert page.locator(".wire.lit-way").count() >= 4
    page.keyboard.press("Escape")
    assert page.locator(".wire.lit-way").count() == 0


def test_the_neighbourhood_of_a_node(open_page: Open, transformer: str) -> None:
    page = open_page(transformer, "#node=decoder.1.cross_attention.scores")
    page.keyboard.press("f")
    near = visible_boxes(page)
    page.click("[aria-label='larger radius']")
    assert visible_boxes(page) > near
    assert "radius=3" in page.evaluate("location.hash")
    page.click("#focus-bar >> text=deltas")
    assert page.locator("#canvas .box.kind-delta").count() > 0
    page.keyboard.press("Escape")
    assert page.locator("#focus-bar").is_hidden() and title(page) == "scores"


def test_links_lead_to_a_node_in_its_view(open_page: Open, transformer: str) -> None:
    page = open_page(transformer, "#node=decoder.5.feed_forward.z&view=forward&colour=bytes")
    assert title(page) == "z"
    assert page.locator("[data-view=forward]").get_attribute("aria-pressed") == "true"
    assert page.locator("#legend").is_visible()
    assert page.locator("#canvas .box.selected").count() == 1
    page.evaluate("location.hash = '#node=no.such.node'")
    page.wait_for_selector("#notice:not([hidden])")
    assert "no node called no.such.node" in page.inner_text("#notice")


# ---------------------------------------------------------------- pan, zoom, colours, help, outline


def transform(page: Any) -> str:
    page.wait_for_timeout(40)
    return page.get_attribute("#canvas .world", "transform")


def test_pan_zoom_and_fit(open_page: Open, small: str) -> None:
    page = open_page(small)
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


def test_help_and_outline(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.keyboard.press("?")
    assert "shortest way to the loss" in page.inner_text("#help")
    page.keyboard.press("Escape")
    page.wait_for_selector("#help", state="detached")  # a dialog tells of its end a little later
    page.keyboard.press("o")
    tree = page.locator("#outline [role=treeitem]")
    tree.first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    for _ in range(20):
        if page.evaluate("document.activeElement.dataset.outline[0]") == "s":
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#outline [aria-selected=true]").count() == 1
    assert page.locator("#outline [role=treeitem][aria-expanded=true]").count() >= 1


def test_roles_and_labels_for_a_screen_reader(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.scores")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, [role=img], nav, aside')].filter("
        "  (one) => !(one.getAttribute('aria-label') || one.textContent.trim()"
        "    || one.labels?.length)"
        ").map((one) => one.outerHTML)"
    )
    assert unnamed == []
    described = page.get_attribute("#canvas", "aria-activedescendant")
    label = page.locator(f"[id='{described}']").get_attribute("aria-label")
    assert label.startswith("encoder.0.attention.scores: multiply, shape batch by 4 by source")


def test_printing_shows_the_whole_picture_and_the_details(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.1.z", dark=True)
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".tools").is_hidden() and page.locator(".search").is_hidden()
    assert page.locator("#canvas").get_attribute("viewBox") == "0 0 1000 700"
    assert page.locator("#details .formula").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf()) > 5000


# ---------------------------------------------------------------- hostile names


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
        page.evaluate(
            "name => { location.hash = '#node=' + encodeURIComponent(`${name}.${name}`); }", name
        )
        page.locator("#details h2", has_text=name).wait_for()


# ---------------------------------------------------------------- layout


def places(page: Any) -> list[list[float]]:
    """x, y, width and height of every closed box, in the coordinates of the picture."""
    return page.evaluate(
        "[...document.querySelectorAll('#canvas .box')].map((box) => {"
        "  const at = box.transform.baseVal[0].matrix, body = box.querySelector('.body');"
        "  return [at.e, at.f, body.width.baseVal.value, body.height.baseVal.value]; })"
    )


def overlapping(boxes: list[list[float]]) -> int:
    found = 0
    for number, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:number]:
            apart = left + wide <= x or x + width <= left or top + high <= y or y + height <= top
            found += not apart
    return found


@pytest.mark.parametrize("view", ["mirror", "backward"])
def test_no_box_lies_on_another(open_page: Open, transformer: str, view: str) -> None:
    page = open_page(transformer, f"#view={view}")
    page.keyboard.press("e")
    boxes = places(page)
    assert len(boxes) > 100 and overlapping(boxes) == 0


def test_values_flow_down_and_deltas_up(open_page: Open, small: str) -> None:
    page = open_page(small)
    page.keyboard.press("e")
    for kind, sign in (("value", 1), ("delta", -1)):
        ends = page.evaluate(
            "kind => [...document.querySelectorAll(`.wire-${kind}`)].map((wire) => {"
            "  const last = wire.getPointAtLength(wire.getTotalLength());"
            "  return last.y - wire.getPointAtLength(0).y; })", kind,
        )  # fmt: skip
        assert len(ends) > 20 and all(sign * end >= 0 for end in ends)


def crossing_scopes() -> Graph:
    """Two scopes each of which uses what the other computes."""
    x = gg.input("x", ("batch", 3))
    with gg.scope("a"):
        first = gg.tanh(x, name="first")
    with gg.scope("b"):
        second = gg.tanh(first, name="second")
    with gg.scope("a"):
        third = gg.tanh(second, name="third")
    return Graph({"y": third + first})


def deep_scopes() -> Graph:
    value = gg.input(".".join(f"s{depth}" for depth in range(20)) + ".x", 3)
    return Graph({"y": gg.tanh(value)})


def wide_concatenation() -> Graph:
    heads = [gg.input(f"x{number}", ("batch", 2)) for number in range(120)]
    return gg.derive(Graph({"loss": gg.sum(gg.concatenate(heads, axis=1))}), "loss")


def long_ways() -> Graph:
    """Every value is used at once and at the very end."""
    value = gg.input("x", 3)
    values = [value]
    for _ in range(120):
        value = gg.tanh(value)
        values.append(value)
    for other in values:
        value = value + other
    return Graph({"y": value})


@pytest.mark.parametrize(
    "make",
    [lambda: Graph({"y": gg.input("x", 3)}), lambda: Graph({"y": gg.constant(2.0)}),
     crossing_scopes, deep_scopes, wide_concatenation, long_ways],
    ids=["input", "constant", "crossing", "deep", "wide", "long"],
)  # fmt: skip
def test_odd_graphs_are_drawn(open_page: Open, make: Callable[[], Graph]) -> None:
    page = open_page(build_page(make()))
    page.keyboard.press("e")
    boxes = places(page)
    assert len(boxes) >= 1 and overlapping(boxes) == 0
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    page.keyboard.press("Escape")
    assert title(page) != ""
