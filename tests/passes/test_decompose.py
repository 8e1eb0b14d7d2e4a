"""Decomposing: composites written out, so that an engine can fuse them."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import decompose, prune

AFTER = """\
%0 = input() : float64[2, 3]    # x
%1 = max(%0, axes=(1,), keepdims=True) : float64[2, 1]    # p.max
%2 = constant(-1.7976931348623157e+308) : float64[]    # p.constant
%3 = maximum(%1, %2) : float64[2, 1]    # p.maximum
%4 = subtract(%0, %3) : float64[2, 3]    # p.subtract
%5 = exp(%4) : float64[2, 3]    # p.exp
%6 = sum(%5, axes=(1,), keepdims=True) : float64[2, 1]    # p.sum
%7 = constant(2.2250738585072014e-308) : float64[]    # p.constant_1
%8 = maximum(%6, %7) : float64[2, 1]    # p.maximum_1
%9 = reciprocal(%8) : float64[2, 1]    # p.reciprocal
%10 = multiply(%5, %9) : float64[2, 3]    # p
output p = %10"""


def test_a_softmax_written_out_to_the_letter():
    x = gg.input("x", (2, 3), "float64")
    graph = Graph({"p": gg.softmax(x, name="p")})
    assert str(prune(decompose(graph))) == AFTER


def test_forward_and_delta_share_the_parts_of_a_row():
    """The row maximum and the row sum of a softmax and its log exist once."""
    x = gg.input("x", (2, 3), "float64")
    both = Graph({"p": gg.softmax(x), "log_p": gg.log_softmax(x)})
    names = [node.operation.name for node in prune(decompose(both))]
    assert names.count("max") == names.count("exp") == names.count("sum") == 1


X = gg.input("x", (2, 3), "float64")
TARGETS = gg.input("targets", 2, "int32")
COMPOSITES = {
    "softmax": lambda: gg.softmax(X),
    "log-softmax": lambda: gg.log_softmax(X),
    "standardise": lambda: gg.standardise(X, 0.1),
    "variance": lambda: gg.variance(X, 1),
    "variance, kept": lambda: gg.variance(X, 1, keepdims=True),
    "mean": lambda: gg.mean(X, 1),
    "cross-entropy": lambda: gg.cross_entropy(X, TARGETS),
    "squared error": lambda: gg.half_squared_error(X, gg.tanh(X)),
    "cross-entropy, smoothed": lambda: gg.cross_entropy(X, TARGETS, 0.1, ignored=0),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_what_is_written_out_has_the_same_value(name):
    graph = Graph({"y": COMPOSITES[name]()})
    after = decompose(graph)
    operation = graph.outputs["y"].operation
    assert operation not in {node.operation for node in after if node.name != "x"}
    feeds = {
        "x": np.random.default_rng(0).normal(size=(2, 3)) * 4,
        "targets": np.array([0, 2], "int32"),
    }
    old, new = (evaluate(g, feeds)[g.outputs["y"]] for g in (graph, after))
    np.testing.assert_allclose(new, old, 1e-12, 1e-14)
    assert decompose(after).nodes == after.nodes


@pytest.mark.parametrize("declare", [gg.softmax, gg.log_softmax], ids=["softmax", "log_softmax"])
def test_masked_rows_written_out_have_no_nan(declare):
    infinite = np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3])
    graph = Graph({"y": declare(X)})
    after = decompose(graph)
    with np.errstate(all="ignore"):
        old, new = (evaluate(g, {"x": infinite})[g.outputs["y"]] for g in (graph, after))
    np.testing.assert_allclose(new, old)
    assert not np.isnan(new).any()


def test_other_axes_stay_whole():
    def stays(node: Node) -> bool:
        return decompose(Graph({"y": node})).outputs["y"] is node

    assert stays(gg.softmax(X, 0)) and stays(gg.mean(X, 0)) and stays(gg.variance(X, (0, 1)))
