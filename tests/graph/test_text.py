"""The stable text of a graph, to the letter."""

from __future__ import annotations

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.graph.text import value_text
from graphgrad.text import printable

NEURON = """\
%0 = input() : float64[batch, 3]    # x
%1 = parameter(initial=uniform(0.5)) : float64[3, 2]    # layer.w
%2 = matmul(%0, %1, transpose_a=False, transpose_b=False) : float64[batch, 2]    # layer.a
%3 = tanh(%2) : float64[batch, 2]    # layer.z
%4 = constant(0.7310585786300049) : float64[]    # layer.rate
%5 = multiply(%3, %4) : float64[batch, 2]    # layer.multiply
%6 = sum(%5, axes=(0, 1), keepdims=False) : float64[]    # loss
%7 = reshape(%3, shape=(2*batch,)) : float64[2*batch]    # reshape
%8 = subtract(%1, %1) : float64[3, 2]    # subtract
output loss = %6
output flat = %7
update layer.w <- %8"""


def neuron() -> Graph:
    x = gg.input("x", ("batch", 3), "float64")
    with gg.scope("layer"):
        w = gg.parameter("w", (3, 2), gg.uniform(0.5), "float64")
        a = gg.matmul(x, w, name="a")
        z = gg.tanh(a, name="z")
        rate = gg.constant(0.7310585786300049, "float64", name="rate")
        y = z * rate
    loss = gg.sum(y, name="loss")
    return Graph({"loss": loss, "flat": gg.reshape(z, -1)}, {w: w - w})


def test_the_text_of_a_neuron():
    assert str(neuron()) == NEURON


def test_the_same_graph_declared_again_has_the_same_text():
    first = neuron()
    noise = [gg.input("noise", n) for n in range(100)]
    assert str(neuron()) == str(first) and noise


def test_what_other_models_declared_changes_no_name():
    """Numbers are shared by all models; where nobody chose a name, the graph's scopes give one."""
    with gg.scope("another.model"):
        others = gg.input("other", 2) * 0.625, gg.broadcast_to(gg.constant(0.375), (2, 2))
    x = gg.input("x", (2, 2))
    with gg.scope("mine"):
        y = gg.add(x * 0.625, gg.broadcast_to(gg.constant(0.375), (2, 2)), name="y")
    assert (
        others
        and str(Graph(gg.exp(y, name="z")))
        == """\
%0 = input() : float32[2, 2]    # x
%1 = constant(0.625) : float32[]    # mine.constant
%2 = multiply(%0, %1) : float32[2, 2]    # mine.multiply
%3 = constant(0.375) : float32[]    # mine.constant_1
%4 = broadcast_to(%3, shape=(2, 2)) : float32[2, 2]    # mine.broadcast_to
%5 = add(%2, %4) : float32[2, 2]    # mine.y
%6 = exp(%5) : float32[2, 2]    # z
output z = %6"""
    )


def test_attributes():
    assert value_text((1,)) == "(1,)" and value_text(()) == "()"
    assert value_text((1, gg.dimension("n"))) == "(1, n)"
    assert value_text(np.dtype("int32")) == "int32" and value_text(0.1) == "0.1"
    assert value_text("a\nb") == "a\\nb"
    x = gg.input("x", 3)
    assert "cast(%0) : float64[3]" in str(Graph(gg.cast(x, "float64")))
    big = gg.constant(np.arange(5.0))
    assert "constant(<5 numbers>)" in str(Graph(big))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain λ μ", "plain λ μ"),
        ("two\nlines\r\x00", "two\\nlines\\r\\x00"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("next\u2028line", "next\\u2028line"),
        ("\ud800", "\\ud800"),
        ("long" * 100, "long" * 49 + "lon…"),
    ],
)
def test_a_users_text_stays_on_its_line(text, shown):
    assert printable(text) == shown


def test_a_hostile_name_stays_in_its_comment():
    graph = Graph(gg.input("x\n%0 = evil()", 3))
    assert len(str(graph).splitlines()) == 2
