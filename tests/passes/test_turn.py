"""Composites along other axes become ones along rows, with the same values."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.ops.composite import log_softmax, softmax
from graphgrad.ops.evaluate import evaluate
from graphgrad.ops.reduction import logsumexp, mean, variance
from graphgrad.passes import turn

X = gg.input("x", (3, 4, 5), "float64")
MADE = {
    **{f"softmax {axis}": gg.softmax(X, axis) for axis in range(3)},
    **{f"log_softmax {axis}": gg.log_softmax(X, axis) for axis in range(3)},
    **{
        f"{operation.name} {axes} {kept}": operation(X, axes, keepdims=kept)
        for operation in (mean, variance, logsumexp)
        for axes in (None, 0, 1, 2, (0, 2), (1, 2))
        for kept in (False, True)
    },
}


@pytest.mark.parametrize("name", MADE)
def test_a_composite_along_rows_has_the_values_of_that_along_an_axis(name: str) -> None:
    graph = Graph({"y": MADE[name]})
    turned, values = turn(graph), np.random.default_rng(0).normal(size=(3, 4, 5)) * 9
    for x in (values, np.where(values > 20, np.inf, np.where(values < 0, -np.inf, values))):
        with np.errstate(all="ignore"):
            found = evaluate(turned, {"x": x})[turned["y"]]
            wanted = evaluate(graph, {"x": x})[graph["y"]]
        np.testing.assert_allclose(found, wanted, 1e-12, 1e-12)
    for node in turned.nodes:
        if node.operation in (softmax, log_softmax):
            assert node.attributes["axis"] == node.rank - 1
        assert node.operation not in (logsumexp,)
        if node.operation in (mean, variance):
            assert node.attributes["axes"] == (node.heads[0].rank - 1,)
