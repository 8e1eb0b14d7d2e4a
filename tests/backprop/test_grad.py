"""`grad(y, x)`: gradients as nodes, of one node or several, to go on calculating with."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad.errors import DeclarationError
from graphgrad.ops.evaluate import evaluate

VALUE = np.array([0.5, -1.0, 2.0])


def value(node, **inputs):
    return evaluate(gg.Graph({"y": node}), inputs)[node]


def test_of_one_node_and_of_several():
    x, w = gg.input("x", 3, "float64"), gg.input("w", (), "float64")
    y = (w * x * x).sum()
    np.testing.assert_allclose(value(gg.grad(y, x), x=VALUE, w=3.0), 6 * VALUE)
    both = gg.grad(y, [x, w])
    assert isinstance(both, tuple) and both[0] is gg.grad(y, x)
    np.testing.assert_allclose(value(both[1], x=VALUE), (VALUE**2).sum())
    assert gg.grad(y, ()) == ()


def test_it_can_stand_in_a_loss_and_be_derived_again():
    """The penalty (|∂y/∂x| - 1)², as of Wasserstein critics, in the parameters' deltas."""
    x, w = gg.input("x", 3, "float64"), gg.parameter("w", 3, dtype="float64")
    slope = gg.grad(gg.tanh((w * x).sum()), x)
    loss = gg.alias(((slope * slope).sum() - 1.0) ** 2.0, "loss")
    graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    weights = np.array([0.3, 0.2, -0.1])

    def penalty(w):
        return (((1 - np.tanh(w @ VALUE) ** 2) ** 2 * (w @ w)) - 1) ** 2

    found = gg.compile(graph, ["w.delta"])({"w": weights}, x=VALUE)["w.delta"]
    steps = 1e-6 * np.eye(3)
    expected = [(penalty(weights + step) - penalty(weights - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(found, expected, 1e-6)


def test_of_a_node_in_between_and_of_one_that_has_no_part():
    x, other = gg.input("x", 3, "float64"), gg.input("other", 2)
    inner = gg.exp(x)
    np.testing.assert_allclose(
        value(gg.grad((inner * inner).sum(), inner), x=VALUE), 2 * np.exp(VALUE)
    )
    np.testing.assert_array_equal(value(gg.grad(inner.sum(), other)), [0, 0])


def test_what_has_no_gradient_is_one_clear_error():
    x = gg.input("x", 3)
    with pytest.raises(DeclarationError, match="only a scalar has deltas"):
        gg.grad(x * 2.0, x)
    with pytest.raises(DeclarationError, match="takes nodes"):
        gg.grad(x.sum(), "x")
