"""Specialising: integers in the place of names, in shapes and attributes alike."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.node import extent
from graphgrad.ops.evaluate import evaluate
from graphgrad.passes import fold_constants, free_dimensions, specialise

BEFORE = """\
%0 = input() : float32[batch, 2]    # x
%1 = reshape(%0, shape=(2*batch,)) : float32[2*batch]    # flat
%2 = mean(%1, axes=(0,), keepdims=False) : float32[]    # mean
%3 = extent(size=2*batch) : float32[]    # n
%4 = multiply(%2, %3) : float32[]    # y
output y = %4"""

AFTER = """\
%0 = input() : float32[3, 2]    # x
%1 = reshape(%0, shape=(6,)) : float32[6]    # flat
%2 = mean(%1, axes=(0,), keepdims=False) : float32[]    # mean
%3 = extent(size=6) : float32[]    # n
%4 = multiply(%2, %3) : float32[]    # y
output y = %4"""


def test_before_and_after_to_the_letter():
    x = gg.input("x", ("batch", 2))
    flat = gg.reshape(x, -1, name="flat")
    y = gg.multiply(gg.mean(flat), extent(flat.shape[0], name="n"), name="y")
    graph = Graph({"y": y})
    assert str(graph) == BEFORE
    assert str(specialise(graph, {"batch": 3})) == AFTER


def sized() -> Graph:
    x = gg.input("x", ("batch", "length", 2), "float64")
    w = gg.parameter("w", (2, 4), dtype="float64")
    y = gg.reshape(x, (-1, 2)) @ w
    tail = gg.slice(x, (slice(None), -1), name="tail")
    loss = gg.add(gg.mean(y), gg.sum(tail), name="loss")
    return gg.derive(Graph({"loss": loss}), "loss")


def test_specialise_puts_integers_everywhere():
    graph = specialise(sized(), {"batch": 3, "length": 5})
    assert free_dimensions(graph) == ()
    text = str(graph)
    assert "batch" not in text and "length" not in text
    assert graph["x"].shape == (3, 5, 2) and graph["tail"].shape == (3, 2)
    assert graph.delta("x").shape == (3, 5, 2)
    assert list(graph.outputs) == ["loss"] and graph.name_of(graph["loss"]) == "loss"


@pytest.mark.parametrize("sizes", [{"batch": 1, "length": 1}, {"batch": 2, "length": 3}], ids=str)
def test_the_specialised_graph_is_the_one_declared_with_integers(sizes):
    x = gg.input("x", (*sizes.values(), 2), "float64")
    value = np.random.default_rng(0).normal(size=x.shape)
    w = np.random.default_rng(1).normal(size=(2, 4))
    graph = specialise(sized(), sizes)
    found = evaluate(graph, {"x": value}, {"w": w})
    loss = (value.reshape(-1, 2) @ w).mean() + value[:, -1].sum()
    np.testing.assert_allclose(found[graph["loss"]], loss)
    delta = np.zeros_like(value) + w.sum(1) / (value.size * 2)
    delta[:, -1] += 1
    np.testing.assert_allclose(found[graph.delta("x")], delta)


def test_sizes_that_are_missing_or_do_not_fit_are_named():
    graph = sized()
    assert free_dimensions(graph) == ("batch", "length")
    with pytest.raises(UnknownNameError, match=r"dimension\(s\) length") as caught:
        specialise(graph, {"batch": 3})
    assert "batch=" in caught.value.fix and "length=" in caught.value.fix
    halves = Graph(gg.input("x", "n")[2:])
    with pytest.raises(DeclarationError, match="slice"):
        specialise(halves, {"n": 1})


def test_a_graph_of_integers_stays_as_it_is():
    graph = Graph(gg.tanh(gg.input("x", 3)))
    assert specialise(graph, {}) is graph and specialise(graph, {"n": 3}) is graph


def test_a_dimension_that_only_an_attribute_holds_is_free():
    """extent(n) is a scalar: its shape alone does not tell that it waits for n."""
    graph = Graph({"n": extent("n", "int32")})
    assert free_dimensions(graph) == ("n",)
    known = fold_constants(specialise(graph, {"n": 7}))
    assert known.outputs["n"] is gg.constant(7)
