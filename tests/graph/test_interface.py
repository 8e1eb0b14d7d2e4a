"""What a graph is made of: refused where it is said, not when a pass meets it."""

from __future__ import annotations

import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError

X, W = gg.input("x", 3), gg.parameter("w", 3)
S = gg.state("s", (), dtype="int32")


@pytest.mark.parametrize(
    "outputs", [5, None, "x", [5], [X, 2.0], {"a": 5}, {"a": X, "b": None}, {"a": [X]}], ids=repr
)
def test_an_output_is_a_node(outputs):
    with pytest.raises(DeclarationError, match=r"output .* is \w+, not a node") as caught:
        Graph(outputs)
    assert __file__ in caught.value.where


def test_an_output_has_a_text_for_a_name():
    with pytest.raises(DeclarationError, match="not 1"):
        Graph({1: X})


@pytest.mark.parametrize(
    ("updates", "reason"),
    [
        ({W: gg.sum(W)}, r"the update of 'w' is float32\[\]; it must be float32\[3\]"),
        ({W: gg.cast(W, "float64")}, r"float64\[3\]; it must be float32\[3\]"),
        ({S: W}, r"it must be int32\[\]"),
        ({X: X * 2.0}, "'x' cannot be updated: it is input"),
        ({W * 2.0: W}, "cannot be updated: it is multiply"),
        ({W: 0.0}, "is float, not a node"),
        ({"w": W}, "what is updated is str"),
    ],
)
def test_an_update_fits_what_it_updates(updates, reason):
    with pytest.raises(DeclarationError, match=reason):
        Graph({"y": gg.sum(W)}, updates)
    with pytest.raises(DeclarationError, match=reason):
        Graph({"y": gg.sum(W)}).with_outputs({"y": gg.sum(W)}, updates)


def test_a_node_is_asked_for_by_name():
    graph = Graph({"y": gg.tanh(X)})
    for wrong in (5, None, ("y",), 1.0):
        with pytest.raises(UnknownNameError, match="by its name"):
            graph[wrong]


def test_a_node_shows_the_name_that_it_was_asked_for():
    a = gg.tanh(X)
    assert repr(a) == "<tanh = tanh : float32[3]>"
    b = gg.tanh(X, name="hidden")
    with gg.scope("copy"):
        gg.tanh(X, name="z")
    assert a is b and repr(b) == "<hidden, copy.z = tanh : float32[3]>"
    graph = gg.derive(Graph({"loss": gg.sum(b * W)}), "loss")
    for name in ("loss", "copy.z", "w.delta", "hidden.delta<-multiply", "x"):
        assert repr(graph[name]).startswith(f"<{name} = ")
    assert repr(graph.delta("w")).startswith("<w.delta = ")


@pytest.mark.parametrize("function", [gg.compile, gg.initial_state, gg.derive])
def test_a_node_is_no_graph(function):
    with pytest.raises(DeclarationError, match=f"{function.__name__} takes a graph, not Node"):
        function(*([X, "x"] if function is gg.derive else [X]))


def test_what_another_model_named_is_not_in_a_message():
    with gg.scope("stranger"):
        gg.constant(41.0, name="theirs")
        gg.cast(gg.iota(3), "float32")
    with pytest.raises(DeclarationError) as caught:
        gg.matmul(gg.cast(gg.iota(3), "float32") + X, gg.constant(41.0) * gg.parameter("v", (2, 3)))
    assert "stranger" not in str(caught.value) and "theirs" not in repr(gg.constant(41.0))
    with pytest.raises(DeclarationError, match=r"where\(41\.0: float32\[\], x: float32\[3\], "):
        gg.where(gg.constant(41.0), X, 0.0)
