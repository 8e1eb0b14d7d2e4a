"""Operators between nodes, arrays and numbers: what they declare, and what they do not mean."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph, Node
from graphgrad.errors import DeclarationError
from graphgrad.graph.infix import Sameness

X, Y, T = gg.input("x", 3), gg.input("y", 3), gg.input("t", 3, "int32")
M = gg.input("m", (3, 3))
B, C = gg.input("b", 3, "bool"), gg.input("c", 3, "bool")
A = np.array([1.0, -2.0, 3.0], "f4")
SQUARE = np.arange(9, dtype="f4").reshape(3, 3)
FEEDS = {
    "x": np.array([2.0, -0.5, 3.0], "f4"),
    "y": np.array([4.0, 0.25, -1.0], "f4"),
    "m": SQUARE[::-1].copy(),
    "t": np.array([5, 0, 2], "i4"),
    "b": np.array([True, False, True]),
    "c": np.array([True, True, False]),
}


def value(node: Node) -> np.ndarray:
    graph = Graph({"y": node})
    return gg.compile(graph)(**{name: FEEDS[name] for name in graph.inputs})["y"]


# ---------------------------------------------------------------- operators are NumPy's


BINARY = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
)


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "other",
    [A, A.astype("f8"), np.float32(2), np.float64(2), np.int64(2), 2.5],
    ids=["f4", "f8", "float32", "float64", "int64", "float"],
)
def test_an_array_or_number_on_either_side_means_the_operation(function, other):
    for node, expected in (
        (function(X, other), function(FEEDS["x"], other)),
        (function(other, X), function(other, FEEDS["x"])),
    ):
        assert isinstance(node, Node) and node.shape == (3,)
        np.testing.assert_allclose(value(node), expected, 1e-6)


@pytest.mark.parametrize("array", [SQUARE, SQUARE.astype("f8"), A], ids=["f4", "f8", "vector"])
def test_products_and_powers_with_arrays(array):
    np.testing.assert_allclose(value(array @ M), array @ FEEDS["m"], 1e-6)
    np.testing.assert_allclose(value(M @ array), FEEDS["m"] @ array, 1e-6)
    base = np.abs(A)
    np.testing.assert_allclose(value(base**X), base ** FEEDS["x"], 1e-6)


def test_truth_values_are_joined_by_and_or_not():
    b, c = FEEDS["b"], FEEDS["c"]
    for node, expected in (
        (B & C, b & c),
        (B | C, b | c),
        (~B, ~b),
        (c & B, c & b),
        (c | B, c | b),
        (B & True, b),
        (False | B, b),
        ((X > 0) & (X < 3), (FEEDS["x"] > 0) & (FEEDS["x"] < 3)),
    ):
        assert node.dtype == "bool"
        np.testing.assert_array_equal(value(node), expected)
    np.testing.assert_array_equal(value(abs(X)), np.abs(FEEDS["x"]))
    assert +X is X


@pytest.mark.parametrize("wrong", [lambda: X & Y, lambda: ~X, lambda: X < 1 & X, lambda: B | 1])
def test_only_truth_values_are_joined(wrong):
    with pytest.raises(DeclarationError, match="needs bool") as caught:
        wrong()
    assert "(x > 0) & (x < 1)" in caught.value.fix


# ---------------------------------------------------------------- == and !=


@pytest.mark.parametrize(
    "other",
    [0, 1.5, True, A, np.int64(0), np.float32(1), gg.dimension("n")],
    ids=repr,
)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_node_and_a_value_are_not_compared_by_equality(other, swapped):
    for compare, named in ((operator.eq, "equal("), (operator.ne, "not_equal(")):
        arguments = (other, T) if swapped else (T, other)
        if swapped and isinstance(other, gg.Dimension):
            continue  # a dataclass answers first, and leaves it to the node
        with pytest.raises(DeclarationError) as caught:
            compare(*arguments)
        assert named.removesuffix("(") in caught.value.fix and __file__ in caught.value.where


def test_equal_is_the_mask_that_was_meant():
    losses = gg.input("x", 3)
    total = gg.sum(losses * gg.cast(gg.not_equal(T, 0), "float32"))
    assert value(total) == 2.0 + 3.0


def test_two_nodes_are_the_same_node_or_not():
    """Identity, as dictionaries, lists and hash-consing need it."""
    same, other = operator.eq, operator.ne
    assert same(X, X) and other(X, Y)
    assert not same(X, Y) and not other(X, X)
    assert X in [Y, X] and X not in [Y, T] and [Y, X].index(X) == 1 and [X, Y, X].count(X) == 2
    assert {X: 1, Y: 2}[Y] == 2 and len({X, Y, X}) == 2 and (X, Y) == (X, Y) != (Y, X)
    assert X + Y is X + Y and hash(X) != hash(Y)
    for stranger in (None, "x", object(), (), ("x", 0), [X], [1.0, 2.0]):
        assert not same(X, stranger) and not same(stranger, X)
        assert other(X, stranger) and other(stranger, X)
    assert isinstance(X == Y, Sameness) and "same node" in repr(X == Y)


MASKS = {
    "multiply": lambda mask: X * mask,
    "multiply on the right": lambda mask: mask * X,
    "a number": lambda mask: mask * 1.0,
    "where": lambda mask: gg.where(mask, X, 0.0),
    "sum": lambda mask: gg.sum(mask),
    "cast": lambda mask: gg.cast(mask, "float32"),
    "and": lambda mask: B & mask,
    "and on the right": lambda mask: mask & B,
    "not": lambda mask: ~mask,
    "an array": lambda mask: np.ones(3) * mask,
    "one array": lambda mask: np.asarray(mask),
    "a constant": lambda mask: gg.constant(mask),
    "concatenate": lambda mask: gg.concatenate([B, mask]),
    "matmul": lambda mask: gg.matmul(mask, M),
}


@pytest.mark.parametrize("use", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize(
    "mask",
    [X == Y, X != Y, X == X, X == [0, 1, 2], operator.ne((0, 1), X)],
    ids=["==", "!=", "same", "a list", "a tuple"],
)
def test_the_answer_is_never_taken_for_a_mask(use, mask):
    with pytest.raises(DeclarationError, match="same node") as caught:
        use(mask)
    assert "equal(a, b)" in caught.value.fix


@pytest.mark.parametrize("truth", [True, np.bool_(False), np.array([True, False, True])], ids=repr)
@pytest.mark.parametrize("function", BINARY[:4], ids=lambda f: f.__name__)
def test_a_truth_value_is_no_number(function, truth):
    for arguments in ((X, truth), (truth, X), (T, truth)):
        with pytest.raises(DeclarationError, match=r"bool"):
            function(*arguments)


# ---------------------------------------------------------------- what a node has not


ASKED = {
    "if": lambda: 1 if X else 2,
    "and": lambda: (X > 0) and (X < 1),
    "or": lambda: X or Y,
    "not": lambda: not X,
    "a chain": lambda: 0 < X < 1,
    "any": lambda: any([X]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_node_has_no_truth(ask):
    with pytest.raises(DeclarationError, match="no truth value") as caught:
        ask()
    assert "where(" in caught.value.fix and "(0 < x) & (x < 1)" in caught.value.fix


@pytest.mark.parametrize(
    "ask",
    [
        float,
        int,
        complex,
        math.exp,
        np.asarray,
        np.float32,
        lambda x: np.array([x, x]),
        lambda x: np.full(3, x),
    ],
)
def test_a_node_has_no_value_yet(ask):
    with pytest.raises(DeclarationError, match="no value while the graph is declared"):
        ask(X)


@pytest.mark.parametrize(
    ("call", "fix"),
    [
        (lambda: np.exp(X), "gg.exp("),
        (lambda: np.maximum(X, A), "gg.maximum("),
        (lambda: np.sum(X), "gg.sum("),
        (lambda: np.mean(M, 0), "gg.mean("),
        (lambda: np.where(A > 0, X, 0), "gg.where("),
        (lambda: np.stack([X, A]), "gg.stack("),
        (lambda: np.abs(X), "gg.absolute("),
        (lambda: np.amax(X), "gg.max("),
        (lambda: np.cbrt(X), "operations"),
        (lambda: np.add.reduce(X), "operations"),
        (lambda: np.multiply(A, X, out=A.copy()), "not memory"),
    ],
)
def test_numpys_functions_are_refused_by_name(call, fix):
    with pytest.raises(DeclarationError, match="numpy") as caught:
        call()
    assert fix in caught.value.fix and __file__ in caught.value.where
