"""The labels of edges of deltas: every contribution's factor, also of a node that is used twice.

The formulas are compared with what the deltas are: for each operation that is given one node in
several places, the labels of its edge are as many terms as the graph has contributions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.formats import render
from graphgrad.graph import Graph, Node
from graphgrad.models import feedforward
from graphgrad.ops import ALL_OPERATIONS
from graphgrad.ops.evaluate import evaluate
from graphgrad.ops.frames import unslice_all
from graphgrad.page import build_page
from graphgrad.rendering.paint import picture
from graphgrad.rendering.picture import Edge, Label, Picture
from graphgrad.rendering.view import View
from graphgrad.training.optimisers import derived_graph

C = gg.input("c", (2, 2), "bool")

TWICE: dict[str, tuple[Callable[[Node], Node], str]] = {
    "add": (lambda x: gg.add(x, x, name="y"), "2 · δ"),
    "subtract": (lambda x: gg.subtract(x, x, name="y"), "δ\n- δ"),
    "multiply": (lambda x: gg.multiply(x, x, name="y"), "2 · δ · x"),
    "divide": (lambda x: gg.divide(x, x, name="y"), "δ / x\n- δ · y / x"),
    "power": (lambda x: gg.power(x, x, name="y"), "δ · x · x^(x - 1)\n+ δ · y · log x"),
    "matmul": (lambda x: gg.matmul(x, x, name="y"), "δ xᵀ\n+ xᵀ δ"),
    "where": (lambda x: gg.where(C, x, x, name="y"), "δ where c\n+ 0 where c, else δ"),
    "maximum": (lambda x: gg.maximum(x, x, name="y"), "2 · (δ where x is the larger)"),
    "minimum": (lambda x: gg.minimum(x, x, name="y"), "2 · (δ where x is the smaller)"),
    "concatenate": (
        lambda x: gg.concatenate([x, x], 0, name="y"),
        "the part of δ where x lies (as head 1)\n+ the part of δ where x lies (as head 2)",
    ),
    "clip": (lambda x: gg.clip(x, x, 9.0, name="y"), "δ where x < x < 9\n+ δ where y is x"),
    "unslice_all": (
        lambda x: unslice_all(
            x, x, shape=(4, 2), starts=((0, 0), (2, 0)), steps=((1, 1), (1, 1)), name="y"
        ),
        "the window of δ where x lies (as head 1)\n+ the window of δ where x lies (as head 2)",
    ),
    "half_squared_error": (
        lambda x: gg.half_squared_error(x, x, name="y"),
        "δ · (x - x)\n- δ · (x - x)",
    ),
}


def derived(name: str) -> Graph:
    """x goes into y in two places; what comes after gives δ_y elements that differ."""
    x = gg.tanh(gg.input("given", (2, 2), "float64"), name="x")
    y = TWICE[name][0](x)
    weights = np.arange(1.0, 1.0 + np.prod(y.type.sizes or (1,))).reshape(y.type.sizes)
    return gg.derive(Graph({"loss": gg.sum(y * weights, name="loss")}), "loss")


def edge_of(found: Picture) -> Edge:
    """The one edge from δ_y to δ_x."""
    boxes = {box.label.index: box.id for box in found.boxes if box.kind == "delta"}
    ends = boxes["x"], boxes["y"], "delta"
    (edge,) = [edge for edge in found.edges if (edge.head, edge.tail, edge.kind) == ends]
    return edge


def test_every_operation_with_several_float_heads_is_tried() -> None:
    several = {
        operation.name
        for operation in ALL_OPERATIONS
        if operation.delta is not None
        and any(
            sum(head.kind != "integer" and head.kind != "boolean" for head in s.heads) > 1
            for s in operation.samples
        )
    }
    # what is written into a value has fewer rows than it, so no value is both; attention's delta
    # is an operation with several results, whose edges have the name of the operation
    # a collective's further heads are others before it, which get no delta; share reads values that
    # have a size each
    apart = {"write_rows", "dot_product_attention", "attention_delta", "attention_statistics"}
    apart |= {"share", "all_gather_start", "reduce_scatter_start"}
    # the values of a share are different parameters; the collective before a start is not read
    apart |= {"share", "reduce_scatter_start", "all_gather_start"}
    assert several - apart == set(TWICE)


@pytest.mark.parametrize("name", TWICE)
def test_the_edge_bears_the_sum_of_both_contributions(name: str) -> None:
    graph = derived(name)
    assert len(graph.contributions("x")) == 2
    assert edge_of(picture(graph)).label.text == TWICE[name][1]
    values = evaluate(graph, {"given": np.full((2, 2), 0.3), "c": np.array([[True, False]] * 2)})
    sent = [values[node] for node in graph.contributions("x").values()]
    np.testing.assert_array_equal(sent[0] + sent[1], values[graph.delta("x")])
    if np.any(sent[0]):
        assert TWICE[name][1].startswith("2 · ") == np.array_equal(*sent)


@pytest.mark.parametrize("name", TWICE)
def test_every_format_shows_both(name: str) -> None:
    graph, lines = derived(name), TWICE[name][1].split("\n")
    dot = render(graph, "dot").decode()
    assert "<BR/>&#160;".join(map(escape, lines)) in dot.replace("&#39;", "'")
    mermaid = re.sub(r"#(\d+);", lambda m: chr(int(m[1])), render(graph, "mermaid").decode())
    assert "<br/>".join(lines) in mermaid
    found = json.loads(render(graph, "json"))
    (x,) = [node for node in found["nodes"] if node["name"] == "x"]
    assert [item["place"] for item in x["contributions"]] == ([1, 2] if name == "where" else [0, 1])
    text = render(graph, "txt").decode()
    terms = re.search(r"δ = (.*)\n +\+ (.*)\n", text)
    assert terms and (terms[1] == terms[2]) == TWICE[name][1].startswith("2 · ")
    assert f'"{TWICE[name][1]}"' in json.dumps(_page(graph)["factors"], ensure_ascii=False).replace(
        "\\n", "\n"
    )


def _page(graph: Graph) -> dict:
    html = build_page(graph)
    return json.loads(re.search(r'id="page-data"[^>]*>(.*?)</script>', html, re.S)[1])


def test_sums_of_sums_and_folded_layers_count_what_they_are() -> None:
    """x + v x + x is one Σ to which x goes twice; of folded layers, one is counted."""
    x, v = gg.tanh(gg.input("given"), name="x"), gg.parameter("v")
    loss = gg.multiply(gg.add((x + v * x), x, name="y"), 1.0, name="loss")
    found = picture(gg.derive(Graph({"loss": loss}), "loss"))
    boxes = {box.label.index: box.id for box in found.boxes if box.kind == "delta"}
    labels = [e.label for e in found.edges if (e.head, e.tail) == (boxes["x"], boxes["y"])]
    assert sorted((label.text, label.index) for label in labels) == [("2 · δ", ""), ("δ · v", "")]
    h = gg.input("h", (2, 2))
    for number in range(3):
        with gg.scope(str(number)):
            h = gg.tanh(gg.multiply(h, h, name="square"), name="z")
    found = picture(gg.derive(Graph({"loss": gg.sum(h, name="loss")}), "loss"), View(fold=True))
    assert found.titles[("0",)] == "0 … 2  ×3"
    texts = [edge.label.text for edge in found.edges if edge.kind == "delta"]
    assert texts.count("δ · (1 - z²)") == 1 and not [t for t in texts if t.startswith(("4", "6"))]


# ---------------------------------------------------------------- the lecture's network


@pytest.fixture(scope="module")
def lecture() -> Graph:
    settings = feedforward.Settings()
    return derived_graph(feedforward.network(settings), settings)


def named(label: Label) -> str:
    return f"{label.text}[{label.index}]"


def test_every_red_arrow_of_the_lectures_network_shows_its_factor(lecture: Graph) -> None:
    """δ_h = φ'(a_h) Σ_t δ_t w_{h→t}, and δ_z = z - ŷ at the loss."""
    found = picture(lecture)
    boxes = {box.id: box for box in found.boxes}
    factors = {}
    for edge in found.edges:
        if edge.kind == "delta":
            head, tail = boxes[edge.head], boxes[edge.tail]
            way = (named(head.label), named(tail.label))
            index = f"[{edge.label.index}]" if edge.label.index else ""
            factors[way] = edge.label.text + index
    expected = {}
    for t in (1, 2, 3):
        for h in (1, 2, 3):
            expected[f"∂L/∂z[h{h}]", f"δ[y{t}]"] = f"δ · w[h{h}→y{t}]"
        for letter in "hy":
            expected[f"δ[{letter}{t}]", f"∂L/∂z[{letter}{t}]"] = "δ · z · (1 - z)"
        expected[f"∂L/∂z[y{t}]", "δ[loss]"] = f"δ · (z - truth.y{t})"
    assert factors == expected


def test_the_loss_of_the_lecture_is_one_node(lecture: Graph) -> None:
    losses = [box for box in picture(lecture).boxes if box.label.text == "loss"]
    assert [(box.detail, box.scope) for box in losses] == [("½ Σ (z - ŷ)²", ())]
    assert {node.operation.name for node in lecture.ancestors([lecture["loss"]])} == {
        "input",
        "parameter",
        "multiply",
        "add",
        "sigmoid",
        "half_squared_error",
    }
