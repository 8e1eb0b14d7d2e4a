"""graphgrad in 150 lines: short, and right."""

from __future__ import annotations

import math

import pytest
from guide_examples import FOLDER

import graphgrad as gg
from graphgrad.guide.small import TANH, constant, derive, leaf, node, ordered, run


def network():
    """tanh(v · tanh(w x) + w), squared: w is used twice."""
    x, w, v = leaf("x"), leaf("w"), leaf("v")
    z = node(TANH, v * node(TANH, w * x) + w)
    return x, w, v, z * z - z


def test_it_has_no_more_lines_than_it_says():
    assert len((FOLDER / "small.py").read_text(encoding="utf-8").splitlines()) <= 150


def test_deltas_are_those_of_finite_differences():
    x, w, v, loss = network()
    values = {x: 0.7, w: -0.4, v: 1.3}
    deltas = derive(loss)
    found = run([deltas.of[each] for each in values], values)
    for each in values:
        high, low = (
            run([loss], {**values, each: values[each] + step})[loss] for step in (1e-5, -1e-5)
        )
        assert found[deltas.of[each]] == pytest.approx((high - low) / 2e-5, rel=1e-6)


def test_it_agrees_with_the_real_one():
    x, w, v, loss = network()
    deltas = derive(loss)
    found = run([loss, deltas.of[w]], {x: 0.7, w: -0.4, v: 1.3})
    a, b, c = (gg.input(name, (), "float64") for name in ("x", "w", "v"))
    z = gg.tanh(c * gg.tanh(b * a) + b, name="z")
    graph = gg.derive(gg.Graph({"loss": gg.subtract(z * z, z, name="loss")}), "loss")
    real = gg.compile(graph, fetch=["w.delta"])(x=0.7, w=-0.4, v=1.3)
    assert found[loss] == pytest.approx(float(real["loss"]), rel=1e-12)
    assert found[deltas.of[w]] == pytest.approx(float(real["w.delta"]), rel=1e-12)


def test_equal_nodes_are_one_and_numbers_are_constants():
    x, w = leaf("x"), leaf("w")
    assert x * w is x * w and x + 1.0 is x + constant(1.0) and leaf("x") is not x
    assert str(node(TANH, x * w)) == "tanh(multiply(x, w))"


def test_contributions_are_kept_apart():
    x = leaf("x")
    loss = x * x + x
    parts = derive(loss).contributions[x]
    values = run([part for _, part in parts], {x: 3.0})
    assert sorted(values[part] for _, part in parts) == [1.0, 3.0, 3.0]


def test_second_derivatives_come_of_the_same_rules():
    x = leaf("x")
    second = derive(derive(node(TANH, x)).of[x]).of[x]
    t = math.tanh(0.3)
    assert run([second], {x: 0.3})[second] == pytest.approx(-2 * t * (1 - t * t), rel=1e-12)


def test_heads_come_before_tails():
    *_, loss = network()
    order = ordered(loss)
    assert all(order.index(head) < order.index(each) for each in order for head in each.heads)
