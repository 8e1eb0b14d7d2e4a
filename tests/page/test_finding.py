"""Finding a node in a browser: search, arrows, paths, neighbourhood, links, outline, labels."""

import pytest
from page_driver import Open, title, visible_boxes

import graphgrad as gg
from graphgrad.page import build_page


def test_search_finds_nodes_operations_and_scopes(open_page: Open, large: str) -> None:
    page = open_page(large)
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


@pytest.mark.parametrize(
    "query", ["encoder.with_positions", "decoder.output.dense.a", "loss.delta"]
)
def test_an_exact_name_is_that_node(open_page: Open, training: str, query: str) -> None:
    """Also where a scope is called so, where it is a second name, or that of a delta."""
    page = open_page(training)
    page.fill("#search", query)
    page.keyboard.press("Enter")
    assert page.inner_text("#details .kicker") != "scope"
    names = page.evaluate("JSON.parse(document.getElementById('page-data').textContent).nodes")
    (wanted,) = [n for n in names if query in (n.get("names") or [n["name"]])]
    assert page.evaluate("decodeURIComponent(location.hash)").startswith(f"#node={wanted['name']}")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("positional", "positions"),
        ("concat", "concat"),
        ("W_O", "w"),
        ("layernorm", "_norm"),
        ("softmax(masked_scores)", "weights"),
        ("scores", "scores"),
    ],
)
def test_search_knows_the_words_of_the_lecture(
    open_page: Open, small: str, text: str, name: str
) -> None:
    page = open_page(small)
    page.keyboard.press("/")
    page.keyboard.type(text)
    assert name in page.locator("#found [role=option]").first.inner_text()


def test_search_lists_values_then_parameters_then_deltas_then_steps(
    open_page: Open, training: str
) -> None:
    page = open_page(training)
    page.keyboard.press("/")
    page.keyboard.type("decoder.1 outpu")
    rows = page.locator("#found [role=option]").all()
    kinds = [(row.get_attribute("class") or "").rpartition("-")[2] for row in rows]
    order = {"parameter": 1, "state": 1, "delta": 2, "known": 3, "step": 4, "update": 4}
    ranks = [order.get(kind, 0) for kind in kinds if kind != "scope"]
    assert ranks == sorted(ranks) and {0, 1, 2} <= set(ranks)


def test_a_node_is_found_before_a_scope_of_the_same_name(open_page: Open) -> None:
    x = gg.tanh(gg.input("x", (2,)), name="same")
    with gg.scope("same"):
        y = gg.exp(gg.sin(x, name="same"), name="inner")
    page = open_page(build_page(gg.Graph({"y": y})))
    page.keyboard.press("/")
    page.keyboard.type("same")
    found = page.locator("#found [role=option]")
    assert "tanh" in found.first.inner_text() and "2 nodes" in found.nth(1).inner_text()
    page.keyboard.press("Enter")
    assert title(page) == "same" and page.inner_text("#details .kicker code") == "tanh"


def test_a_scope_of_updates_opens_where_it_is_drawn(open_page: Open, training: str) -> None:
    page = open_page(training)
    page.keyboard.press("/")
    page.keyboard.type("optimiser")
    page.keyboard.press("Enter")
    assert page.inner_text("#details .kicker") == "scope" and title(page) == "optimiser"
    assert page.locator("[data-view=updates]").get_attribute("aria-pressed") == "true"
    assert page.locator("#canvas .box.selected, #canvas .open-scope").count() > 0


def test_arrows_go_along_the_graph(open_page: Open, small: str) -> None:
    page = open_page(small, "#node=encoder.0.attention.matches")
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    assert title(page) == "scores"
    page.keyboard.press("ArrowUp")
    assert title(page) == "matches"
    page.keyboard.press("ArrowUp")
    assert title(page) == "Q"
    here = title(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert title(page) == here
    assert "transpose" in page.inner_text("#live")
    page.keyboard.press("Escape")
    assert title(page) == "transformer"


def test_ways_to_the_loss(open_page: Open, network: str) -> None:
    page = open_page(network, "#node=hidden.h1.z")
    page.keyboard.press("a")
    assert page.inner_text("#details .part-way h3").startswith("3 ways to the loss")
    page.keyboard.press("p")
    way = page.locator("#details .way .node-link").all_inner_texts()
    assert way[0] == "hidden.h1.z" and way[-1] == "loss"
    assert page.locator(".wire.lit-way").count() >= 4
    page.keyboard.press("Escape")
    assert page.locator(".wire.lit-way").count() == 0


def test_the_neighbourhood_of_a_node(open_page: Open, large: str) -> None:
    page = open_page(large, "#node=decoder.1.cross_attention.scores")
    page.keyboard.press("f")
    near = visible_boxes(page)
    page.click("[aria-label='larger radius']")
    assert visible_boxes(page) > near
    assert "radius=3" in page.evaluate("location.hash")
    page.click("#focus-bar >> text=deltas")
    assert page.locator("#canvas .box.kind-delta").count() > 0
    page.keyboard.press("Escape")
    assert page.locator("#focus-bar").is_hidden() and title(page) == "scores"
    page.keyboard.press("f")
    assert page.locator("#focus-bar").is_visible() and page.locator(".views").is_hidden()
    page.keyboard.press("v")  # another view is not that of a neighbourhood
    assert page.locator("#focus-bar").is_hidden() and page.locator(".views").is_visible()


def test_links_lead_to_a_node_in_its_view(open_page: Open, large: str) -> None:
    page = open_page(large, "#node=decoder.5.feed_forward.z&view=forward&colour=bytes")
    assert title(page) == "z"
    assert page.locator("[data-view=forward]").get_attribute("aria-pressed") == "true"
    assert page.locator("#legend").is_visible()
    assert page.locator("#canvas .box.selected").count() == 1
    page.evaluate("location.hash = '#node=no.such.node'")
    page.wait_for_selector("#notice:not([hidden])")
    assert "no node called no.such.node" in page.inner_text("#notice")


# ---------------------------------------------------------------- help, outline, labels


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
