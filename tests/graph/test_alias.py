"""A further name for a value: both names answer everywhere, before and after every pass."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.errors import DeclarationError
from graphgrad.figures.recording import figure_table
from graphgrad.graph import Graph, Node, initial_state
from graphgrad.models import transformer
from graphgrad.passes import simplify
from graphgrad.passes.surgery import scale

FEEDS = {"x": np.array([[0.1, -0.2]]), "truth": np.array([[1.0, 0.0]])}
OLD, NEW = "head.a", "logits"


def small() -> Graph:
    """x w + b in the scope `head`, which is called `logits` as well."""
    x, truth = gg.input("x", (1, 2), "float64"), gg.input("truth", (1, 2), "float64")
    w = gg.parameter("w", (2, 2), gg.full(0.5), "float64")
    with gg.scope("head"):
        a = gg.tanh(x @ w, name="a")
    assert gg.alias(a, NEW) is a
    return Graph({"loss": gg.half_squared_error(a, truth, name="loss")})


def test_an_alias_is_no_node() -> None:
    graph = small()
    operations = [node.operation.name for node in graph if node.heads]
    assert operations == ["matmul", "tanh", "half_squared_error"]
    assert graph[OLD] is graph[NEW]
    assert graph.names_of(graph[OLD]) == (NEW, OLD)
    assert graph.name_of(graph[OLD]) == NEW, "the name that was chosen for it is shown"
    assert f"# {NEW}, {OLD}\n" in str(graph)


def test_both_names_answer_for_deltas_contributions_and_patterns() -> None:
    graph = gg.derive(small(), "loss")
    assert graph.delta(OLD) is graph.delta(NEW) is graph[f"{OLD}.delta"] is graph[f"{NEW}.delta"]
    assert graph.contributions(OLD) == graph.contributions(NEW) != {}
    assert list(graph.contributions("head.matmul")) == [NEW]
    for name in (OLD, NEW, "head.?", "log*"):
        assert graph[NEW] in matching(graph, [name], graph.nodes)
    assert set(parts_of(graph).values()) == {"forward", "delta"}


@pytest.mark.parametrize("fuse", [False, True])
def test_both_names_can_be_fetched_after_every_pass(fuse: bool) -> None:
    graph = gg.derive(small(), "loss")
    asked = [OLD, NEW, f"{OLD}.delta", f"{NEW}.delta"]
    found = gg.compile(graph, asked, fuse=fuse)(initial_state(graph, 0), **FEEDS)
    z = np.tanh(FEEDS["x"] @ np.full((2, 2), 0.5))
    for name in (OLD, NEW):
        np.testing.assert_allclose(found[name], z, 1e-12)
        np.testing.assert_allclose(found[f"{name}.delta"], z - FEEDS["truth"], 1e-12)


def test_passes_that_merge_nodes_keep_all_their_names() -> None:
    """x · 1 - 0 becomes x itself, which then answers to every name on the way."""
    x = gg.input("x", (1, 2), "float64")
    product = gg.multiply(x, 1.0, name="product")
    same = gg.alias(gg.subtract(product, 0.0, name="minus"), "difference")
    graph = simplify(Graph({"y": gg.tanh(same, name="y")}))
    for name in ("product", "minus", "difference"):
        assert graph[name] is graph["x"]
    asked = ["minus", "difference"]
    found = gg.compile(Graph({"y": graph["y"]}, names=graph.names), asked)({}, x=FEEDS["x"])
    for name in asked:
        np.testing.assert_array_equal(found[name], FEEDS["x"])


@pytest.mark.parametrize("name", [OLD, NEW])
def test_surgery_takes_either_name(name: str) -> None:
    graph = gg.derive(small(), "loss")
    cut = gg.surgery(graph, [scale(name, 0.5)])
    assert cut.delta(OLD) is cut.delta(NEW) is not graph.delta(NEW)


def test_recording_shows_the_chosen_name() -> None:
    graph = gg.derive(small(), "loss")
    names, *_ = figure_table(graph, FEEDS, initial_state(graph, 0))
    assert NEW in names and f"{NEW}.delta" in names and OLD not in names


def test_which_name_is_shown() -> None:
    x = gg.input("x", (2,))
    y = gg.tanh(x)
    assert y.names == ("tanh",)
    gg.alias(y, "first")
    assert y.names == ("first",), "a default name gives way"
    assert gg.tanh(x, name="declared").names == ("first", "declared")
    with gg.scope("outer"):
        gg.alias(y, "second")
    assert y.names == ("outer.second", "first", "declared")
    gg.alias(y, "declared")
    assert y.names == ("declared", "outer.second", "first")
    gg.alias(x, "features")
    graph = Graph({"y": y})
    assert graph["features"] is graph["x"] is x and graph.name_of(x) == "x"
    assert list(graph.inputs) == ["x"], "an input is fed under its own name"


def test_a_graph_that_exists_does_not_change() -> None:
    x = gg.input("x", (2,))
    y = gg.tanh(x, name="y")
    graph = Graph({"y": y})
    gg.alias(y, "later")
    assert "later" not in graph.names and "later" in Graph({"y": y}).names


@pytest.mark.parametrize("given", [(3.0, "x"), (None, "x"), ("x", "")])
def test_what_is_no_node_or_no_name_is_refused(given: tuple[object, str]) -> None:
    with pytest.raises(DeclarationError, match="alias takes a node and a name"):
        gg.alias(*given)
    with pytest.raises(DeclarationError):
        gg.alias(gg.input("x"), "")


@pytest.mark.parametrize("tie", [False, True])
def test_the_logits_of_the_transformer_are_no_addition_of_zero(tie: bool) -> None:
    settings = transformer.Settings(layers=1, tie=tie)
    for training in (True, False):
        graph = transformer.training_graph(settings, 11, 9, training)
        _no_idle_operations(graph)
        assert graph.name_of(graph["decoder.output.logits"]) == "decoder.output.logits"
        if not tie:
            assert graph["decoder.output.logits"] is graph["decoder.output.dense.a"]


def _no_idle_operations(graph: Graph) -> None:
    idle = {"add": 0.0, "subtract": 0.0, "multiply": 1.0, "divide": 1.0}
    for node in graph:
        for head in node.heads:
            assert _number(head) is None or _number(head) != idle.get(node.operation.name), node


def _number(node: Node) -> float | None:
    value = node.attributes.get("value")
    return float(value.array) if value is not None and value.array.size == 1 else None
