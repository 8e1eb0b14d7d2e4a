"""A graph: order, names, tails, outputs and updates over nodes that do not know it."""

from __future__ import annotations

import time

import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import extent


@pytest.fixture
def model():
    """w · x, its tanh and a sum, derived."""
    x, w = gg.input("x", ("batch", 3)), gg.parameter("w", (3, 2))
    a = gg.matmul(x, w, name="a")
    z = gg.tanh(a, name="z")
    loss = gg.sum(z * z, name="loss")
    return gg.derive(Graph({"loss": loss}), "loss")


def test_heads_come_before_tails_and_nothing_is_missing(model):
    for node in model:
        assert all(model.position(head) < model.position(node) for head in node.heads)
    assert len(model) == len(set(model.nodes)) == len(model.nodes)
    assert all(model.nodes[model.position(node)] is node for node in model)


def test_every_node_has_a_name_of_its_own(model):
    shown = [model.name_of(node) for node in model]
    assert len(set(shown)) == len(shown)
    for name, node in model.names.items():
        assert model[name] is node and name in model.names_of(node)


def test_nodes_of_one_name_are_numbered_in_order():
    x = gg.input("x", 3)
    nodes = [x]
    for _ in range(4):
        nodes.append(gg.tanh(nodes[-1]))
    graph = Graph(nodes[-1])
    assert [graph.name_of(node) for node in nodes[1:]] == ["tanh", "tanh_1", "tanh_2", "tanh_3"]
    assert list(graph.outputs) == ["tanh_3"]


def test_a_numbered_name_never_takes_a_given_one():
    x = gg.input("x", 3)
    taken = gg.exp(x, name="tanh_1")
    first = gg.tanh(taken)
    graph = Graph(gg.tanh(first))
    assert graph["tanh_1"] is taken and graph["tanh"] is first
    assert graph.name_of(graph.nodes[-1]) == "tanh_2"


def test_both_names_of_a_node_are_answered():
    x = gg.input("x", 3)
    y = gg.sin(x, name="first")
    gg.sin(x, name="second")
    graph = gg.derive(Graph({"loss": gg.sum(y)}), "loss")
    assert graph["first"] is graph["second"] is y
    assert graph.names_of(y) == ("first", "second") and graph.name_of(y) == "first"
    assert graph.delta("first") is graph.delta("second") is graph.delta(y)
    assert graph.contributions("first") == graph.contributions("second") != {}


def test_an_unknown_name_suggests_the_nearest(model):
    with pytest.raises(UnknownNameError, match="no node is called 'los'") as caught:
        model["los"]
    assert "'loss'" in caught.value.fix
    with pytest.raises(UnknownNameError, match="qqqqqq") as caught:
        model["qqqqqq"]
    assert "print the graph" in caught.value.fix


def test_foreign_nodes_are_refused(model):
    other = gg.input("other", 3)
    assert other not in model and "x" not in model
    for ask in (
        model.__getitem__,
        model.delta,
        model.contributions,
        model.name_of,
        model.names_of,
        model.tails,
        model.position,
    ):
        with pytest.raises(UnknownNameError, match="other"):
            ask(other)


def test_tails_belong_to_the_graph():
    x = gg.input("x", 3)
    y, z = x * x, gg.tanh(x)
    whole, part = Graph([y, z]), Graph(y)
    assert whole.tails(x) == (y, z) and part.tails(x) == (y,)
    assert whole.tails(y) == ()


def test_ancestors_and_descendants(model):
    w, z, loss = model["w"], model["z"], model["loss"]
    assert model.ancestors([z]) == {model["x"], w, model["a"], z}
    below = model.descendants([w])
    assert {w, model["a"], z, loss} <= below and model["x"] not in below
    assert model.ancestors([]) == model.descendants([]) == set()


def test_deltas_and_contributions_by_name(model):
    z = model["z"]
    assert model.delta("z") is model.delta(z) is model["z.delta"]
    assert list(model.contributions("z")) == ["multiply", "multiply#2"]
    assert model.contributions("loss") == {}
    with pytest.raises(UnknownNameError, match="has no delta"):
        Graph(z).delta("z")
    with pytest.raises(UnknownNameError, match="no node is called"):
        model.delta("zz")


def test_leaves_by_name(model):
    assert list(model.inputs) == ["x"] and list(model.parameters) == ["w"]
    step, w = gg.state("step", (), dtype="int32"), model["w"]
    graph = Graph({"loss": model["loss"]}, {w: w * 0.9, step: step + 1})
    assert list(graph.states) == ["w", "step"]
    assert graph.updates[w] is w * 0.9 and step in graph


def test_two_leaves_of_one_name_are_refused_with_both_lines():
    first, second = gg.input("x", 3), gg.input("x", 3)
    with pytest.raises(DeclarationError, match="two leaves of one graph are called 'x'") as caught:
        Graph(first + second)
    for leaf in (first, second):
        assert str(leaf.origin) in caught.value.where
    with gg.scope("other"):
        Graph(first + gg.input("x", 3))  # another scope, another name


def test_outputs_by_mapping_sequence_or_node():
    x = gg.input("x", 3)
    y, z = gg.exp(x, name="y"), gg.tanh(x, name="z")
    assert list(Graph(y).outputs) == ["y"]
    assert list(Graph([z, y]).outputs) == ["z", "y"]
    assert Graph({"a": y, "b": y}).outputs == {"a": y, "b": y}
    assert list(Graph([]).nodes) == []


def test_with_outputs_keeps_nodes_and_names(model):
    small = model.with_outputs({"delta": model.delta("w")})
    assert small.nodes == model.nodes and small.names == model.names
    assert list(small.outputs) == ["delta"]


def test_replaced_carries_the_names_along(model):
    z = model["z"]
    y = gg.sin(model["a"])
    graph = Graph({"z": z}).replaced({z: y})
    assert graph["z"] is y and graph.outputs["z"] is y and z not in graph


def test_the_order_is_that_of_declaration():
    x = gg.input("x", 3)
    b, a = gg.exp(x, name="b"), gg.tanh(x, name="a")
    assert Graph([a, b]).nodes == (x, b, a)
    assert Graph([a, b], order=[a, b]).nodes == (x, a, b)


def test_sizes_by_name_live_in_the_nodes():
    x = gg.input("x", ("batch", 3))
    graph = gg.derive(Graph({"loss": gg.mean(x)}), "loss")
    assert any(node.operation is extent for node in graph)


def test_a_constant_that_another_model_declared_before_changes_no_order():
    other = gg.sum(gg.input("other", 3) * 0.123)
    x = gg.input("x", 3)
    graph = Graph(gg.exp(x) * 0.123)
    assert [node.operation.name for node in graph] == ["input", "exp", "constant", "multiply"]
    assert other.heads[0].heads[1] in graph


def test_thousands_of_names_alike_are_numbered_in_linear_time():
    x = gg.input("x")
    nodes = [gg.exp(x * float(n)) for n in range(2, 5_000)]
    started = time.perf_counter()
    graph = Graph(nodes)
    assert time.perf_counter() - started < 2
    assert len(graph.names) == len(graph)
