"""Prune keeps what was asked for, and nothing else."""

from __future__ import annotations

import graphgrad as gg
from graphgrad import Graph
from graphgrad.passes import decompose, prune

BEFORE = """\
%0 = input() : float32[3]    # x
%1 = input() : float32[3]    # unused
%2 = parameter(initial=constant(0)) : float32[3]    # w
%3 = parameter(initial=constant(0)) : float32[3]    # idle
%4 = exp(%0) : float32[3]    # kept
%5 = multiply(%0, %3) : float32[3]    # multiply
%6 = sin(%5) : float32[3]    # lost
%7 = tanh(%2) : float32[3]    # next
output y = %4
update w <- %7"""

AFTER = """\
%0 = input() : float32[3]    # x
%1 = input() : float32[3]    # unused
%2 = parameter(initial=constant(0)) : float32[3]    # w
%3 = exp(%0) : float32[3]    # kept
%4 = tanh(%2) : float32[3]    # next
output y = %3
update w <- %4"""


def test_before_and_after_to_the_letter():
    """Inputs stay, so that a program is fed what it was declared with."""
    x, unused = gg.input("x", 3), gg.input("unused", 3)
    w, idle = gg.parameter("w", 3), gg.parameter("idle", 3)
    kept = gg.exp(x, name="kept")
    extra = {"lost": gg.sin(x * idle, name="lost"), "unused": unused}
    graph = Graph({"y": kept}, {w: gg.tanh(w, name="next")}, extra)
    assert str(graph) == BEFORE
    after = prune(graph)
    assert str(after) == AFTER
    assert "lost" not in after.names and "idle" not in after.names
    assert prune(after).nodes == after.nodes


def test_the_order_and_the_names_stay():
    x = gg.input("x", 3)
    b, a = gg.exp(x, name="b"), gg.tanh(x, name="a")
    graph = Graph({"a": a, "b": b}, names={"alias": a}, order=[a, b])
    assert prune(graph).nodes == (x, a, b) and prune(graph)["alias"] is a


def test_deltas_that_nobody_asked_for_go():
    x = gg.input("x", 3)
    graph = gg.derive(Graph({"loss": gg.sum(gg.exp(x, name="e"))}), "loss")
    asked = graph.with_outputs({**graph.outputs, "x.delta": graph.delta("x")})
    assert "x.delta" in prune(asked).names
    assert not [name for name in prune(graph).names if "delta" in name]


def test_the_name_of_what_was_removed_is_given_to_nothing_else():
    """Also by passes that come later, and in what is derived from their graph."""
    x = gg.input("x", (2, 3))
    y = gg.standardise(x, name="y")
    with gg.scope("y"):
        other = gg.add(x, 1.0, name="add")
    graph = Graph({"y": y}, names={"y.add": other})
    after = decompose(prune(graph))
    assert "y.add" not in after.names and "y.add" in after.retired
    added = [node for node in after if node.operation is gg.add]
    assert [after.name_of(node) for node in added] == ["y.add_1"]
    total = gg.sum(after.outputs["y"])
    derived = gg.derive(Graph({"l": total}, names=after.names, retired=after.retired), "l")
    assert "y.add" not in derived.names
