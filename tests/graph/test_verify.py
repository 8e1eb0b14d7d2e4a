"""What `verify` promises of a graph, broken one by one."""

from __future__ import annotations

import pytest

import graphgrad as gg
from graphgrad import Graph, Node, verify
from graphgrad.errors import PassError
from graphgrad.graph import TensorType
from graphgrad.graph.types import FLOAT32, FLOAT64


def forged(node: Node, **changed: object) -> Node:
    """A copy of the node with something changed that no declaration would allow."""
    copy = Node.__new__(Node)
    for field in (
        "operation",
        "heads",
        "attributes",
        "attribute_key",
        "type",
        "names",
        "origin",
        "serial",
    ):
        setattr(copy, field, changed.get(field, getattr(node, field)))
    return copy


X = gg.input("x", 3)
Y = gg.tanh(X, name="y")


def test_a_good_graph_passes():
    w = gg.parameter("w", 3)
    verify(gg.derive(Graph({"loss": gg.sum(Y * w)}, {w: w * 0.5}), "loss"))


def test_the_order_is_checked():
    graph = Graph(Y)
    graph.nodes = graph.nodes[::-1]
    with pytest.raises(PassError, match="does not come before it") as caught:
        verify(graph, "the graph after pass 'mine'")
    assert "after pass 'mine'" in str(caught.value) and __file__ in caught.value.where


def test_the_arity_is_checked():
    with pytest.raises(PassError, match=r"'y' \(tanh\): 2 heads instead of 1"):
        verify(Graph(forged(Y, heads=(X, X))))


@pytest.mark.parametrize("wrong", [TensorType((4,), FLOAT32), TensorType((3,), FLOAT64)], ids=str)
def test_types_are_inferred_anew(wrong):
    with pytest.raises(PassError, match=r"its type is .*, inferred is float32"):
        verify(Graph(forged(Y, type=wrong)))


def test_what_a_shape_rule_refuses_is_named():
    n = gg.input("n", 3, "int32")
    with pytest.raises(PassError, match="needs floats, not int32"):
        verify(Graph(forged(Y, heads=(n,), serial=n.serial + 1)))


def test_updates_are_of_states_and_of_their_type():
    w = gg.parameter("w", 3)
    graph = Graph({"y": Y, "total": gg.sum(Y), "w": w})
    graph.updates = {X: Y}
    with pytest.raises(PassError, match="is not a parameter or state"):
        verify(graph)
    graph.updates = {w: graph["total"]}
    with pytest.raises(PassError, match=r"another type, float32\[\]"):
        verify(graph)
