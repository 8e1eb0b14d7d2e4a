"""The reference evaluator: every value of a graph, and clear words where it cannot give them."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.ops.evaluate import evaluate, evaluate_node


def test_every_node_has_its_value():
    x, w = gg.input("x", 2), gg.parameter("w", 2)
    y = gg.exp(x) * w
    values = evaluate(Graph(y), {"x": [0.0, 1.0]}, {"w": np.array([2.0, 3.0])})
    assert set(values) == {x, w, y.heads[0], y}
    np.testing.assert_allclose(values[y], [2, 3 * np.e], 1e-6)
    assert values[y].dtype == "float32"


def test_values_that_are_missing_or_do_not_fit_are_named():
    x = gg.input("x", (2, 3))
    with pytest.raises(UnknownNameError, match="no value is given for 'x'"):
        evaluate(Graph(gg.exp(x)), {})
    with pytest.raises(DeclarationError, match=r"'x' has shape \[3\], declared is float32\[2, 3\]"):
        evaluate(Graph(gg.exp(x)), {"x": np.zeros(3)})
    thought = gg.Operation("thought", lambda x: x, "x")
    with pytest.raises(UnknownNameError, match="thought has no computation"):
        evaluate(Graph(thought(x)), {"x": np.zeros((2, 3))})


def test_one_node_from_its_heads():
    x = gg.input("x", 3)
    assert evaluate_node(gg.sum(x), [np.array([1.0, 2, 3], "f4")]) == 6


def test_what_is_not_finite_gives_no_warning():
    x = gg.input("x", 2)
    assert np.isnan(evaluate(Graph(gg.log(x)), {"x": [-1.0, 0.0]})[gg.log(x)][0])
