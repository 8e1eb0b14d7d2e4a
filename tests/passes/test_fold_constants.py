"""Folding: what depends on no input, parameter or state is computed once."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.errors import DataError
from graphgrad.graph import constant
from graphgrad.passes import fold_constants, prune


def test_fold_constants_to_the_letter():
    x = gg.input("x", 3, "float64")
    half = gg.multiply(gg.constant(0.75, "float64"), 0.5, name="half")
    places = gg.cast(gg.iota(3), "float64", name="places")
    y = gg.add(x * half, gg.sin(places), name="y")
    assert (
        str(prune(fold_constants(Graph({"y": y}))))
        == """\
%0 = input() : float64[3]    # x
%1 = constant(0.375) : float64[]    # half
%2 = multiply(%0, %1) : float64[3]    # multiply
%3 = constant(<3 numbers>) : float64[3]    # sin
%4 = add(%2, %3) : float64[3]    # y
output y = %4"""
    )


def test_folding_keeps_what_it_cannot_or_need_not_compute():
    n = gg.dimension("n")
    x = gg.input("x", ("n", 2))
    for node in (
        gg.tanh(x),
        gg.iota(n),
        gg.broadcast_to(gg.constant(1.0), (1000, 1000)),
        gg.mean(x),
        gg.parameter("w", 2),
        gg.broadcast_to(gg.constant(1.0), (n,)),
    ):
        graph = Graph({"y": node})
        assert fold_constants(graph).outputs["y"] is node
    big = gg.iota(3_000_000) + gg.iota(3_000_000)
    assert fold_constants(Graph({"y": big * 1})).outputs["y"].operation is constant
    bigger = gg.expand_dims(gg.iota(3_000), 1) + gg.iota(3_000)
    assert fold_constants(Graph({"y": bigger})).outputs["y"].operation is not constant


def test_a_causal_mask_becomes_one_constant():
    places = gg.iota(4)
    mask = gg.less_equal(places, gg.expand_dims(places, 1))
    folded = fold_constants(Graph({"mask": mask})).outputs["mask"]
    np.testing.assert_array_equal(folded.attributes["value"].array, np.tril(np.ones((4, 4))) == 1)


def test_folding_that_fails_says_why():
    wrong = gg.gather(gg.constant(np.ones(3)), gg.constant(np.array([3], "int32")))
    with pytest.raises(DataError, match=r"outside \[0, 3\)"):
        fold_constants(Graph(wrong))
