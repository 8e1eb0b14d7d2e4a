"""Prune keeps what was asked for, and nothing else."""

from __future__ import annotations

import graphgrad as gg
from graphgrad import Graph
from graphgrad.passes import prune

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
