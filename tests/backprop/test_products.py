"""Products with Jacobians and Hessians against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from delta_check import numerical_gradient

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DeclarationError
from graphgrad.ops.evaluate import evaluate

FUNCTIONS = {
    "tanh of a product": lambda x: gg.tanh(x @ gg.transpose(x)),
    "softmax": lambda x: gg.softmax(x * 2.0),
    "layer norm": lambda x: gg.standardise(x, 0.1),
    "log-softmax": lambda x: gg.log_softmax(x),
    "gelu": lambda x: gg.gelu(x) / (1.0 + x * x),
    "scalar": lambda x: gg.logsumexp(gg.sin(x)),
    "max": lambda x: gg.max(x * x, 1),
    "slices": lambda x: x[:, 1:] * x[:, :-1] - gg.mean(x),
}
SMOOTH = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def value(node: Node, **feeds: np.ndarray) -> np.ndarray:
    return evaluate(Graph({"y": node}), feeds)[node]


@pytest.fixture
def point() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 4))


@SMOOTH
def test_jacobian_vector(function, point):
    """∂y/∂x · tangent is the slope of y along the tangent."""
    x, tangent = gg.input("x", (3, 4), "float64"), gg.input("tangent", (3, 4), "float64")
    y = function(x)
    direction = np.random.default_rng(1).normal(size=(3, 4))
    product = gg.jacobian_vector(y, x, tangent)
    assert product.type == y.type
    found = value(product, x=point, tangent=direction)
    h = 1e-4
    around = [value(y, x=point + steps * h * direction) for steps in (1, -1, 2, -2)]
    slope = (8 * (around[0] - around[1]) - (around[2] - around[3])) / (12 * h)
    np.testing.assert_allclose(found, slope, 1e-7, 1e-9)


@SMOOTH
def test_vector_jacobian(function, point):
    x = gg.input("x", (3, 4), "float64")
    y = function(x)
    vector = gg.input("vector", y.shape, y.dtype)
    v = np.random.default_rng(2).normal(size=y.shape)
    product = gg.vector_jacobian(y, x, vector)
    assert product.type == x.type
    expected = numerical_gradient(lambda p: float(np.sum(v * value(y, x=p))), point)
    np.testing.assert_allclose(value(product, x=point, vector=v), expected, 1e-7, 1e-9)


@SMOOTH
def test_both_products_are_one_bilinear_form(function, point):
    """v · (J t) = (vᵀ J) · t."""
    x, tangent = gg.input("x", (3, 4), "float64"), gg.input("tangent", (3, 4), "float64")
    y = function(x)
    vector = gg.input("vector", y.shape, y.dtype)
    generator = np.random.default_rng(3)
    feeds = {
        "x": point,
        "tangent": generator.normal(size=(3, 4)),
        "vector": generator.normal(size=y.shape),
    }
    forward = gg.sum(gg.jacobian_vector(y, x, tangent) * vector)
    backward = gg.sum(gg.vector_jacobian(y, x, vector) * tangent)
    program = gg.compile(Graph({"forward": forward, "backward": backward}))
    found = program(**feeds)
    np.testing.assert_allclose(found["forward"], found["backward"], 1e-10)


@SMOOTH
def test_hessian_vector(function, point):
    """∂²L/∂x² · v is the slope of the delta along v."""
    x, vector = gg.input("x", (3, 4), "float64"), gg.input("vector", (3, 4), "float64")
    loss = gg.sum(gg.sin(function(x)))
    graph = gg.derive(Graph({"loss": loss}), "loss")
    direction = np.random.default_rng(4).normal(size=(3, 4))
    found = value(gg.hessian_vector(loss, x, vector), x=point, vector=direction)
    h = 1e-4
    around = [
        evaluate(graph, {"x": point + steps * h * direction})[graph.delta("x")]
        for steps in (1, -1, 2, -2)
    ]
    slope = (8 * (around[0] - around[1]) - (around[2] - around[3])) / (12 * h)
    np.testing.assert_allclose(found, slope, 1e-6, 1e-8)


def test_products_with_an_inner_node():
    """x need not be a leaf: what lies below it stays as it is."""
    leaf = gg.input("leaf", 3, "float64")
    x = gg.exp(leaf, name="x")
    y = x * x
    tangent = gg.input("tangent", 3, "float64")
    found = value(gg.jacobian_vector(y, x, tangent), leaf=np.log([1.0, 2, 3]), tangent=np.ones(3))
    np.testing.assert_allclose(found, [2, 4, 6])


def test_what_does_not_depend_has_products_of_zeros():
    x, y = gg.input("x", 3, "float64"), gg.input("y", 2, "float64")
    t, v = gg.input("t", 3, "float64"), gg.input("v", 2, "float64")
    z = gg.exp(y)
    feeds = {"x": np.ones(3), "y": np.ones(2), "t": np.ones(3), "v": np.ones(2)}
    assert value(gg.jacobian_vector(z, x, t), **feeds).tolist() == [0, 0]
    assert value(gg.vector_jacobian(z, x, v), **feeds).tolist() == [0, 0, 0]


def test_a_node_with_respect_to_itself():
    x, t = gg.input("x", 3, "float64"), gg.input("t", 3, "float64")
    assert gg.vector_jacobian(x, x, t) is t


def test_products_of_products():
    """The third derivative of x³ along three ones, each product derived from the one before."""
    x, one = gg.input("x", 2, "float64"), gg.constant(np.ones(2))
    y = x**3.0
    for expected in ([12.0, 27.0], [12.0, 18.0], [6.0, 6.0]):
        y = gg.jacobian_vector(y, x, one)
        np.testing.assert_allclose(value(y, x=np.array([2.0, 3.0])), expected)


@pytest.mark.parametrize("name", ["cotangent", "cotangent_", "of", "wrt", "seed", "of.delta"])
def test_a_leaf_may_have_any_name(name):
    """∂(x³ · p)/∂x · t = 3 x² p t, whatever x, p and t are called."""
    x = gg.input(name, 2, "float64")
    with gg.scope("deep"):
        p = gg.parameter(name, 2, dtype="float64")
    t = gg.state("cotangent__", 2, dtype="float64")
    y = x * x * x * p
    feeds, state = (
        {name: np.array([2.0, -1.0])},
        {f"deep.{name}": np.array([5.0, 7.0]), "cotangent__": np.array([1.0, 3.0])},
    )
    for product in (gg.jacobian_vector(y, x, t), gg.vector_jacobian(y, x, t)):
        graph = Graph({"y": product})
        found = evaluate(graph, feeds, state)[product]
        assert set(graph.inputs) == {name}
        np.testing.assert_allclose(found, [3 * 4 * 5 * 1, 3 * 1 * 7 * 3])


def test_a_wrong_tangent_or_vector_is_refused():
    x = gg.input("x", 3, "float64")
    with pytest.raises(DeclarationError, match=r"the tangent is float64\[2\]"):
        gg.jacobian_vector(gg.exp(x), x, gg.input("t", 2, "float64"))
    with pytest.raises(DeclarationError, match=r"the seed is float64\[2\]"):
        gg.vector_jacobian(gg.exp(x), x, gg.input("v", 2, "float64"))
    with pytest.raises(DeclarationError, match="only a scalar"):
        gg.hessian_vector(gg.exp(x), x, x)
