"""The wave in a browser: its order is that of the graph, and keys play, stop and step it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pytest
from hostile_names import hostile_graph
from page_driver import Open, follow

import graphgrad as gg
from graphgrad.graph import Graph, Node
from graphgrad.models import BUILTIN
from graphgrad.page import build_page
from graphgrad.training.task import load_model

Front = tuple[str, str, str]
"""Phase, name of the lit box, and the text of the live region."""
WALK = """() => {
    const key = (name) => document.body.dispatchEvent(
        new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
    key('Home');
    const range = document.getElementById('wave-place');
    return Array.from({ length: Number(range.max) + 1 }, () => {
        const lit = [...document.querySelectorAll('#canvas .wave-now')];
        const found = [document.getElementById('wave-phase').className.slice(5),
            lit.map((one) => one.dataset.name).join('|'),
            document.getElementById('live').textContent];
        key('ArrowRight');
        return found;
    });
}"""


def walk(page: Any) -> list[Front]:
    """All fronts, gone through by keys."""
    return [(phase, name, said) for phase, name, said in page.evaluate(WALK)]


@pytest.fixture(scope="module")
def graph() -> Graph:
    model = load_model("feedforward", BUILTIN)
    return gg.derive(model.task(model.settings, {}).graph, "loss")


def places(fronts: list[Front], phase: str) -> Mapping[str, int]:
    return {name: place for place, (kind, name, _) in enumerate(fronts) if kind == phase}


def tails_of(graph: Graph, node: Node) -> list[Node]:
    if graph.delta_or_none(node) is None:
        return []
    return [item.tail for item in graph.sent_back(node)]


def drawn(
    graph: Graph, node: Node, shown: Collection[str], ways: Callable[[Node], Iterable[Node]]
) -> list[str]:
    """The names of the nearest nodes that are shown, on the ways from a node."""
    found, queue = [], list(ways(node))
    for other in queue:
        if graph.name_of(other) in shown:
            found.append(graph.name_of(other))
        else:
            queue += ways(other)
    return found


@pytest.mark.parametrize("view", ["mirror", "forward"])
def test_every_node_is_lit_after_those_that_it_needs(
    graph: Graph, network: str, view: str, open_page: Open
) -> None:
    page = open_page(network, f"#view={view}")
    page.keyboard.press("e")
    page.keyboard.press("w")
    fronts = walk(page)
    values, deltas = places(fronts, "values"), places(fronts, "deltas")
    assert max(values.values()) < min(deltas.values()), "values, then deltas"
    checked = 0
    for name in values:
        node = graph.names[name]
        for head in drawn(graph, node, values, lambda one: one.heads):
            assert values[head] < values[name]
            checked += 1
        for tail in drawn(graph, node, deltas, lambda one: tails_of(graph, one)):
            assert name not in deltas or deltas[tail] < deltas[name]
            checked += 1
    assert checked > 40 and next(iter(deltas)) == "loss"
    assert fronts[deltas["loss"]][2].endswith("δ loss; = 1")
    said = fronts[values["hidden.h1.a"]][2]
    assert said.startswith("values ") and "hidden.h1.a; a = " in said
    assert "δ hidden.h1.a; δ[a] = " in fronts[deltas["hidden.h1.a"]][2]


def test_a_closed_scope_is_lit_as_one_and_opens_in_place(small: str, open_page: Open) -> None:
    page = open_page(small, "#view=mirror")
    page.keyboard.press("r")
    page.keyboard.press("w")
    fronts = walk(page)
    values, deltas = places(fronts, "values"), places(fronts, "deltas")
    assert len(fronts) == len(values) + len(deltas)
    assert values["source"] < values["encoder"] < values["decoder"] < values["loss"]
    assert deltas["loss"] < deltas["decoder"] < deltas["encoder"]
    assert "scope, 117 nodes" in fronts[values["encoder"]][2]
    page.keyboard.press("Home")
    for _ in range(values["encoder"]):
        page.keyboard.press("ArrowRight")
    assert page.locator("#canvas .wire.wave-in").count() == 1
    page.locator('#canvas .box[data-name="encoder"] .body').first.evaluate(
        "body => body.dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    lit = page.locator("#canvas .wave-now").get_attribute("data-name")
    assert lit is not None and lit.startswith("encoder.")
    assert page.inner_text("#wave-phase").startswith("values")


def test_keys_play_stop_and_end_it(network: str, open_page: Open) -> None:
    page = open_page(network)
    place = "Number(document.getElementById('wave-place').value)"
    page.keyboard.press("w")
    assert page.is_disabled("#wave-play"), "where reduced motion is asked for"
    page.keyboard.press("Space")
    assert "reduced motion" in page.text_content("#live")
    page.wait_for_timeout(250)
    assert page.evaluate(place) == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(place) == 1
    page.keyboard.press("w")
    assert page.locator("#wave-bar").is_hidden()
    assert page.locator("#canvas :is(.wave-now, .wave-done, .wave-back, .wave-in)").count() == 0
    page.emulate_media(reduced_motion="no-preference")
    page.keyboard.press("w")
    page.locator("#canvas .wave-done").nth(1).wait_for()
    assert page.evaluate("document.documentElement.dataset.playing") == "wave"
    page.keyboard.press("Space")
    stopped = page.evaluate(place)
    page.wait_for_timeout(400)
    assert page.evaluate(place) == stopped > 0
    page.click("#wave-play")
    page.keyboard.press("End")
    assert page.evaluate(place) == int(page.get_attribute("#wave-place", "max"))
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    page.wait_for_selector("#wave-bar:not([hidden])")
    assert page.evaluate(place) == int(page.get_attribute("#wave-place", "max")), "kept"
    page.keyboard.press("Escape")
    assert page.locator("#wave-bar").is_hidden()


@pytest.mark.parametrize("view", ["backward", "updates"])
def test_other_views_have_a_wave_of_their_own(training: str, view: str, open_page: Open) -> None:
    page = open_page(training, f"#view={view}")
    page.keyboard.press("w")
    fronts = walk(page)
    assert {phase for phase, _, _ in fronts} == {{"backward": "deltas"}.get(view, view)}
    assert all(name and "|" not in name for _, name, _ in fronts)


def test_a_neighbourhood_and_hostile_names_have_a_wave(open_page: Open) -> None:
    page = open_page(build_page(hostile_graph()))
    page.keyboard.press("e")
    page.keyboard.press("w")
    fronts = walk(page)
    assert len(fronts) > 20 and any("<script>" in said for _, _, said in fronts)
    follow(page, "<script>alert(1)</script>.x100 <script>alert(1)</script>")
    page.keyboard.press("f")
    assert page.locator("#canvas .wave-now").count() == 1
    assert page.locator("#wave-bar :is(script, img)").count() == 0


def test_a_step_of_the_wave_is_quick(large: str, open_page: Open) -> None:
    page = open_page(large)
    page.keyboard.press("u")
    page.keyboard.press("e")
    page.keyboard.press("w")
    taken = page.evaluate(
        "() => Array.from({ length: 5 }, () => { const start = performance.now();"
        " for (const key of ['End', 'Home'])"
        "  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));"
        " document.body.getBoundingClientRect(); return (performance.now() - start) / 2; })"
    )
    assert page.locator("#canvas .box").count() > 500
    assert min(taken) < 90, taken
