"""Formulas that overflow or lose digits become operations that do not: forward and delta alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphgrad as gg
from graphgrad import Graph
from graphgrad.passes import optimise, prune, stabilise

BEFORE = """\
%0 = input() : float64[2, 3]    # x
%1 = softmax(%0, axis=1) : float64[2, 3]    # p
%2 = log(%1) : float64[2, 3]    # log_p
%3 = sum(%2, axes=(0, 1), keepdims=False) : float64[]    # loss
%4 = constant(1.0) : float64[]    # loss.delta
%5 = reshape(%4, shape=(1, 1)) : float64[1, 1]    # log_p.reshape
%6 = broadcast_to(%5, shape=(2, 3)) : float64[2, 3]    # log_p.delta, log_p.delta<-loss
%7 = divide(%6, %1) : float64[2, 3]    # p.delta, p.delta<-log_p
%8 = multiply(%7, %1) : float64[2, 3]    # p.rule.multiply
%9 = sum(%8, axes=(1,), keepdims=True) : float64[2, 1]    # p.rule.sum
%10 = subtract(%7, %9) : float64[2, 3]    # p.rule.subtract
%11 = multiply(%1, %10) : float64[2, 3]    # x.delta, x.delta<-p
output loss = %3
output x.delta = %11"""

AFTER = """\
%0 = input() : float64[2, 3]    # x
%1 = softmax(%0, axis=1) : float64[2, 3]    # p
%2 = log_softmax(%0, axis=1) : float64[2, 3]    # log_p
%3 = sum(%2, axes=(0, 1), keepdims=False) : float64[]    # loss
%4 = constant(1.0) : float64[]    # loss.delta
%5 = reshape(%4, shape=(1, 1)) : float64[1, 1]    # log_p.reshape
%6 = broadcast_to(%5, shape=(2, 3)) : float64[2, 3]    # log_p.delta, log_p.delta<-loss, \
p.rule.multiply
%7 = sum(%6, axes=(1,), keepdims=True) : float64[2, 1]    # p.rule.sum
%8 = multiply(%1, %7) : float64[2, 3]    # x.delta.multiply
%9 = subtract(%6, %8) : float64[2, 3]    # x.delta, x.delta<-p
output loss = %3
output x.delta = %9"""


def test_log_softmax_and_its_delta_to_the_letter():
    x = gg.input("x", (2, 3), "float64")
    log_p = gg.log(gg.softmax(x, name="p"), name="log_p")
    graph = gg.derive(Graph({"loss": gg.sum(log_p, name="loss")}), "loss")
    graph = graph.with_outputs({"loss": graph["loss"], "x.delta": graph.delta("x")})
    assert str(graph) == BEFORE
    assert str(prune(stabilise(graph))) == AFTER


X = gg.input("x", (2, 3), "float64")
RULES = {
    "log softmax": (lambda: gg.log(gg.softmax(X)), "log_softmax"),
    "log softmax, other axis": (lambda: gg.log(gg.softmax(X, 0)), "log_softmax"),
    "softmax by hand": (lambda: gg.exp(X) / gg.sum(gg.exp(X), 1, keepdims=True), "softmax"),
    "log of a sum of exponentials": (lambda: gg.log(gg.sum(gg.exp(X), 1)), "logsumexp"),
    "of all": (lambda: gg.log(gg.sum(gg.exp(X))), "logsumexp"),
    "log-softmax by hand": (lambda: X - gg.log(gg.sum(gg.exp(X), 1, True)), "log_softmax"),
    "softplus": (lambda: gg.log(1.0 + gg.exp(X)), "softplus"),
    "softplus, turned": (lambda: gg.log(gg.exp(X) + 1.0), "softplus"),
    "softplus by log1p": (lambda: gg.log1p(gg.exp(X)), "softplus"),
    "log1p": (lambda: gg.log(1.0 + X * X), "log1p"),
    "expm1": (lambda: gg.exp(X) - 1.0, "expm1"),
    "log sigmoid": (lambda: gg.log(gg.sigmoid(X)), "negative"),
    "log of 1 - sigmoid": (lambda: gg.log(1.0 - gg.sigmoid(X)), "negative"),
    "rsqrt": (lambda: 1.0 / gg.sqrt(X * X), "rsqrt"),
    "reciprocal": (lambda: gg.reciprocal(gg.sqrt(X * X)), "rsqrt"),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_fires_and_keeps_the_value(name):
    declare, operation = RULES[name]
    graph = Graph({"y": declare()})
    after = stabilise(graph)
    assert after.outputs["y"].operation.name == operation != graph.outputs["y"].operation.name
    values = np.random.default_rng(0).normal(size=(2, 3))
    old, new = (gg.compile(g, passes=())(x=values)["y"] for g in (graph, after))
    np.testing.assert_allclose(new, old, 1e-12)
    assert stabilise(after).nodes == after.nodes


LOOKALIKES = {
    "softmax of another": lambda: gg.exp(X) / gg.sum(gg.exp(X * 2.0), 1, keepdims=True),
    "sum without keepdims": lambda: gg.exp(X[:, :2]) / gg.sum(gg.exp(gg.transpose(X)[:2]), 1),
    "sum over two axes": lambda: gg.exp(X) / gg.sum(gg.exp(X), keepdims=True),
    "another number": lambda: gg.log(2.0 + gg.exp(X)),
    "log of another sum": lambda: gg.log(gg.sum(X * X, 1)),
    "empty axis": lambda: gg.log(gg.sum(gg.exp(X[:, :0]), 1)),
    "softmax of an empty axis": lambda: gg.exp(X[:, :0]) / gg.sum(gg.exp(X[:, :0]), 1, True),
    "another numerator": lambda: 2.0 / gg.sqrt(X * X),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_alike_is_left_alone(name):
    graph = Graph({"y": LOOKALIKES[name]()})
    assert stabilise(graph).nodes == graph.nodes


EXTREMES = {
    "log softmax": (lambda x: gg.log(gg.softmax(x)), gg.log_softmax),
    "log softmax by hand": (lambda x: x - gg.log(row_sum(gg.exp(x))), gg.log_softmax),
    "log of softmax by hand": (lambda x: gg.log(gg.exp(x) / row_sum(gg.exp(x))), gg.log_softmax),
    "softmax by hand": (lambda x: gg.exp(x) / row_sum(gg.exp(x)), gg.softmax),
    "softmax by a reciprocal": (lambda x: gg.exp(x) * (1.0 / row_sum(gg.exp(x))), gg.softmax),
    "softmax by another": (lambda x: gg.exp(x) * gg.reciprocal(row_sum(gg.exp(x))), gg.softmax),
    "log of a sum": (lambda x: gg.log(gg.sum(gg.exp(x), 1)), lambda x: gg.logsumexp(x, 1)),
    "log of a sum, kept": (
        lambda x: gg.log(row_sum(gg.exp(x))),
        lambda x: gg.logsumexp(x, 1, keepdims=True),
    ),
    "log of the whole sum": (lambda x: gg.log(gg.sum(gg.exp(x))), gg.logsumexp),
    "softplus": (lambda x: gg.log(1.0 + gg.exp(x)), gg.softplus),
    "softplus by log1p": (lambda x: gg.log1p(gg.exp(x)), gg.softplus),
    "log sigmoid": (lambda x: gg.log(gg.sigmoid(x)), lambda x: -gg.softplus(-x)),
    "log of 1 - sigmoid": (lambda x: gg.log(1.0 - gg.sigmoid(x)), lambda x: -gg.softplus(x)),
    "sigmoid by hand": (lambda x: 1.0 / (1.0 + gg.exp(-x)), gg.sigmoid),
    "sigmoid by a reciprocal": (lambda x: gg.reciprocal(gg.exp(-x) + 1.0), gg.sigmoid),
    "a mean of losses": (
        lambda x: gg.mean(-gg.log(gg.exp(x) / row_sum(gg.exp(x)))[:, 1]),
        lambda x: gg.mean(-gg.log_softmax(x)[:, 1]),
    ),
    "a product of both": (
        lambda x: gg.exp(x) / row_sum(gg.exp(x)) * gg.tanh(x),
        lambda x: gg.softmax(x) * gg.tanh(x),
    ),
    "an entropy": (
        lambda x: row_sum(gg.softmax(x) * (x - gg.log(row_sum(gg.exp(x))))),
        lambda x: row_sum(gg.softmax(x) * gg.log_softmax(x)),
    ),
}
"""What a person writes, and the same by operations that are stable by construction."""


def row_sum(x: gg.Node) -> gg.Node:
    return gg.sum(x, 1, keepdims=True)


LOGITS = np.array([[1000.0, 0.0, -1000.0], [-500.0, -1000.0, -400.0], [3.0, 1.0, -2.0]])


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_values_and_deltas_at_extreme_logits(name, dtype, fuse):
    """Finite and right where the plain formula overflows; the deltas were derived before."""
    by_hand, stable = EXTREMES[name]
    rows = np.tile(LOGITS, (700, 1)) if fuse else LOGITS  # enough for a kernel
    found = with_deltas(by_hand, rows, dtype, fuse=fuse)
    plain = with_deltas(by_hand, LOGITS, dtype, passes=())
    assert not all(np.isfinite(value).all() for value in plain.values()), "nothing to mend"
    exact = with_deltas(stable, rows, "float64", passes=())
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for key, value in exact.items():
        np.testing.assert_allclose(found[key], value, tolerance, tolerance / 10, err_msg=key)


def with_deltas(function: Any, x: np.ndarray, dtype: str, **options: Any) -> dict[str, Any]:
    """The value and the delta of x from a seed that differs everywhere."""
    head = gg.input("x", x.shape, dtype)
    y = function(head)
    seed = gg.input("seed", y.shape, dtype)
    graph = gg.derive(Graph({"y": y}, names={"seed": seed}), y, [head], seed)
    graph = graph.with_outputs({"y": y, "delta": graph.delta(head)})
    size = int(np.prod(y.type.sizes))
    values = (1.0 + np.arange(size) % 7 / 3).reshape(y.type.sizes).astype(dtype)
    return gg.compile(graph, **options)(x=x.astype(dtype), seed=values)


def test_a_division_is_left_where_nothing_vanishes_or_all_would_be_unfolded():
    y = X + 2.0
    untouched = {
        "x may be 0": (y / X) * X,
        "a sum without the division": (y + 1.0) * gg.sigmoid(X),
        "of another": (y / gg.exp(X * 2.0)) * gg.exp(X),
        "a row sum that lies along the columns": (y[:, :2] / gg.sum(gg.exp(X[:, :2]), 1))
        * gg.exp(X[:, :2]),
    }
    for name, node in untouched.items():
        graph = Graph({"y": node})
        assert stabilise(graph).nodes == graph.nodes, name
    deep = y / gg.sigmoid(X)
    for _ in range(40):
        deep = deep + gg.tanh(deep)
    assert len(stabilise(Graph({"y": deep * gg.sigmoid(X)}))) < 100


def test_a_hand_written_cross_entropy_trains_from_hopeless_logits():
    """-log softmax of the target: the delta is softmax - one_hot even where softmax is 0."""
    x, t = gg.input("x", (1, 3)), gg.input("t", 1, "int32")
    loss = -gg.sum(gg.log(gg.softmax(x)) * gg.one_hot(t, 3))
    graph = gg.derive(Graph({"loss": loss}), "loss")
    found = gg.compile(graph, ["x.delta"])(x=np.array([[0.0, 0, 300]]), t=np.array([0], "int32"))
    assert found["loss"] == 300 and found["x.delta"].tolist() == [[-1, 0, 1]]


def test_the_rules_work_for_named_dimensions():
    x = gg.input("x", ("batch", "vocabulary"))
    graph, _ = optimise(Graph({"y": gg.log(gg.softmax(x))}), [stabilise, prune])
    assert str(graph).splitlines()[1].startswith("%1 = log_softmax(%0, axis=1)")


@pytest.mark.parametrize("axes", [(0, 1), (0,)])
def test_a_factor_may_be_wider_than_what_is_divided(axes):
    """(u / Σ eˣ) · eˣ, where u / Σ eˣ is repeated along one axis and eˣ repeats it along both."""
    x, u = gg.input("x", (4, 5), "float64"), gg.input("u", (1, 1), "float64")
    part = gg.exp(x)
    divided = gg.broadcast_to(u / gg.sum(part, axes, keepdims=True), (1, 5))
    wide = gg.input("wide", (2, 4, 5), "float64")
    graph = Graph({"y": divided * part, "wider": divided * wide * part})
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.normal(size=(4, 5)),
        "u": generator.normal(size=(1, 1)),
        "wide": generator.normal(size=(2, 4, 5)),
    }
    found = gg.compile(graph)(**feeds)
    powers = np.exp(feeds["x"])
    right = feeds["u"] / powers.sum(axes, keepdims=True) * powers
    np.testing.assert_allclose(found["y"], right, 1e-12)
    np.testing.assert_allclose(found["wider"], right * feeds["wide"], 1e-12)
