"""A user's arrays as values: what is converted, and what is refused, wherever one can be given."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError
from graphgrad.graph.arrays import Literal, given_array

X, N = gg.input("x", 3), gg.input("n", 3, "int32")
W = gg.parameter("w", 3)
MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[True, False, False])
RAGGED = [[1.0, 2.0], [3.0]]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8"])
def test_an_array_takes_the_dtype_of_the_nodes_beside_it(dtype):
    array = np.array([1, 2, 3], dtype)
    chosen = gg.where(X > 0, array, X)
    for node in (
        X * array,
        array * X,
        X * array[0],
        gg.maximum(array, X),
        chosen,
        gg.concatenate([X, array]),
        gg.stack([array, X]),
    ):
        assert node.dtype == "float32"
    wide = gg.input("wide", 3, "float64")
    assert (wide * array).dtype == "float64" and (wide * np.float32(2)).dtype == "float64"
    found = gg.compile(Graph({"y": X * array}))(x=np.ones(3))["y"]
    np.testing.assert_array_equal(found, [1, 2, 3], strict=False)


def test_integers_stay_integers():
    assert (N * np.arange(3)).dtype == "int32" and (N + np.int64(2)).dtype == "int32"
    for wrong in (np.ones(3), np.float64(1.5), 1.5, np.ones(3, "f4")):
        with pytest.raises(DeclarationError, match="meets a node of dtype int32") as caught:
            N * wrong
        assert "cast" in caught.value.fix
    with pytest.raises(DeclarationError, match="too large for int32"):
        N + np.array([2**40, 1, 1])
    with pytest.raises(DeclarationError, match="too large for float32"):
        X + np.array([1e300, 1, 1])


def test_indices_beside_floats_stay_integers():
    table = gg.input("table", (5, 3))
    assert gg.gather(table, 1).shape == (3,) and gg.gather(table, np.array([0, 4])).shape == (2, 3)
    assert gg.take_along_axis(table, np.zeros((5, 1), "i8")).dtype == "float32"
    losses = gg.cross_entropy(table, np.array([0, 1, 2, 0, 1]))
    feeds = np.arange(15.0).reshape(5, 3)
    found = gg.compile(Graph({"y": losses, "row": gg.gather(table, 1)}))(table=feeds)
    rows = feeds - np.log(np.exp(feeds).sum(1, keepdims=True))
    np.testing.assert_allclose(found["y"], -rows[range(5), [0, 1, 2, 0, 1]], 1e-5)
    np.testing.assert_array_equal(found["row"], feeds[1])


def test_two_declared_dtypes_still_do_not_mix():
    floats, integers = (X, gg.constant(np.ones(3))), (N, gg.iota(3, "int64"))
    for (a, b), named in ((floats, "'float32'"), (integers, "'int32'")):
        with pytest.raises(DeclarationError, match="do not mix") as caught:
            gg.equal(a, b)
        assert f"cast(x, {named})" in caught.value.fix


def test_a_literal_condition_is_a_truth_value():
    feeds = np.array([2.0, -1.0, 3.0], "f4")
    for condition in (True, False, np.bool_(True), np.array([True, False, True])):
        y = gg.where(condition, X, 0.0)
        found = gg.compile(Graph({"y": y}))(x=feeds)["y"]
        np.testing.assert_array_equal(found, np.where(condition, feeds, 0), strict=False)


GIVEN = {
    "a constant": lambda array: gg.constant(array),
    "an operand": lambda array: X * array,
    "an operand on the left": lambda array: gg.add(array, X),
    "a front": lambda array: gg.sum(array),
    "a list": lambda array: gg.concatenate([X, array]),
    "an input": lambda array: gg.compile(Graph({"y": X * 2.0}))(x=array),
    "an open input": lambda array: gg.compile(Graph({"y": gg.input("x", "n") * 2.0}))(x=array),
    "a state": lambda array: gg.initial_state(Graph({"y": W * 2.0}), given={"w": array}),
}


@pytest.mark.parametrize("give", GIVEN.values(), ids=GIVEN)
def test_a_masked_array_is_refused(give):
    with pytest.raises(DeclarationError, match="masked array has no values") as caught:
        give(MASKED)
    assert "filled" in caught.value.fix and __file__ in caught.value.where


@pytest.mark.parametrize("place", ["a constant", "an input", "an open input", "a state"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (RAGGED, "rows have different lengths"),
        (None, "NoneType is not an array|dtype object"),
        (["a", "b", "c"], "dtype <U1"),
        (X, "no value while"),
        ([X, X, X], "no value while"),
        (np.array([1, "a", None], object), "not an array of numbers"),
        (1j * np.ones(3), "complex128"),
        (object(), "object is not an array"),
    ],
    ids=["ragged", "None", "text", "node", "nodes", "objects", "complex", "object"],
)
def test_what_is_no_array_of_numbers_is_refused(place, value, reason):
    with pytest.raises(DeclarationError, match=reason):
        GIVEN[place](value)


def test_what_is_given_keeps_its_numbers():
    assert given_array("a", [1, 2]).tolist() == [1, 2]
    array = np.ones(3, "f4")
    assert given_array("a", array) is array and given_array("a", array, np.dtype("f4")) is array
    assert given_array("a", [1, 2], np.dtype("f4")).dtype == "float32"
    assert repr(Literal(np.float32(2))) == "2.0" and repr(Literal(np.zeros(3))) == "<3 numbers>"
