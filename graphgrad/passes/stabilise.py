"""Replaces formulas that lose digits or overflow by operations that do not.

A logarithm of a softmax, a logarithm of a sum of exponentials or 1/√x, as written by hand, are
found in the forward graph. The deltas that were derived from them are rewritten as well, so that
they no longer use what has been replaced.

    >>> import graphgrad as gg
    >>> graph = gg.Graph({"y": gg.log(gg.softmax(gg.input("x", (2, 3))), name="y")})

Before and after (`prune` then removes the softmax):

    >>> print(graph)
    %0 = input() : float32[2, 3]    # x
    %1 = softmax(%0, axis=1) : float32[2, 3]    # softmax
    %2 = log(%1) : float32[2, 3]    # y
    output y = %2
    >>> print(stabilise(graph))
    %0 = input() : float32[2, 3]    # x
    %1 = softmax(%0, axis=1) : float32[2, 3]    # softmax
    %2 = log_softmax(%0, axis=1) : float32[2, 3]    # y
    output y = %2
"""

from __future__ import annotations

from graphgrad import ops
from graphgrad.graph import Graph, Node
from graphgrad.ops import (
    add,
    divide,
    exp,
    expm1,
    log,
    log1p,
    log_softmax,
    logsumexp,
    multiply,
    negative,
    reciprocal,
    rsqrt,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    subtract,
)
from graphgrad.passes.cancel import may_vanish, product_without_division
from graphgrad.passes.pattern import any_node, number, pattern
from graphgrad.passes.rewrite import Rule, by_operation, rewrite

X, D, P = any_node("x"), any_node("delta"), any_node("p", may_vanish)
SUM_OF_EXP = pattern(ops.sum, pattern(exp, X), bind="total")


def _single_axis(x: Node, total: Node) -> int | None:
    axes = total.attributes["axes"]
    single = len(axes) == 1 and total.attributes["keepdims"] and x.shape[axes[0]] != 0
    return axes[0] if single else None


def _logsumexp(x: Node, total: Node) -> Node | None:
    axes, keepdims = total.attributes["axes"], total.attributes["keepdims"]
    return None if _is_empty(x, axes) else logsumexp(x, axes, keepdims)


def _is_empty(x: Node, axes: tuple[int, ...]) -> bool:
    """Whether an axis has size 0: a sum over it is 0, but it has no maximum to shift by."""
    return any(x.shape[axis] == 0 for axis in axes)


def _softmax(x: Node, total: Node) -> Node | None:
    axis = _single_axis(x, total)
    return None if axis is None else softmax(x, axis)


def _log_softmax(x: Node, total: Node) -> Node | None:
    axis = _single_axis(x, total)
    return None if axis is None else log_softmax(x, axis)


RULES: tuple[Rule, ...] = (
    Rule(
        "log softmax",
        pattern(log, pattern(softmax, X, bind="soft")),
        lambda x, soft: log_softmax(x, soft.attributes["axis"]),
    ),
    Rule("eˣ / Σ eˣ → softmax", pattern(divide, pattern(exp, X), SUM_OF_EXP), _softmax),
    Rule("log Σ eˣ", pattern(log, SUM_OF_EXP), _logsumexp),
    Rule(
        "x - log Σ eˣ → log softmax",
        pattern(subtract, X, pattern(logsumexp, X, bind="total")),
        _log_softmax,
    ),
    Rule(
        "log (1 + eˣ) → softplus",
        pattern(log, pattern(add, number(1), pattern(exp, X))),
        lambda x: softplus(x),
    ),
    Rule("log1p eˣ → softplus", pattern(log1p, pattern(exp, X)), lambda x: softplus(x)),
    Rule("log (1 + x) → log1p", pattern(log, pattern(add, number(1), X)), lambda x: log1p(x)),
    Rule("eˣ - 1 → expm1", pattern(subtract, pattern(exp, X), number(1)), lambda x: expm1(x)),
    Rule(
        "log sigmoid", pattern(log, pattern(sigmoid, X)), lambda x: negative(softplus(negative(x)))
    ),
    Rule(
        "log (1 - sigmoid)",
        pattern(log, pattern(subtract, number(1), pattern(sigmoid, X))),
        lambda x: negative(softplus(x)),
    ),
    Rule("1 / √x → rsqrt", pattern(divide, number(1), pattern(sqrt, X)), lambda x: rsqrt(x)),
    Rule("reciprocal √x → rsqrt", pattern(reciprocal, pattern(sqrt, X)), lambda x: rsqrt(x)),
    Rule("(δ / p) · p → δ", pattern(multiply, pattern(divide, D, P), P), lambda p, delta: delta),
    Rule(
        "p · (δ/p - s) → δ - p · s",
        pattern(multiply, P, pattern(subtract, pattern(divide, D, P), any_node("total"))),
        lambda p, delta, total: delta - p * total,
    ),
    Rule(
        "a division meets what it divides by",
        pattern(multiply, X, any_node("y")),
        lambda x, y: product_without_division(x, y),
    ),
)

_TABLE = by_operation(RULES)


def stabilise(graph: Graph) -> Graph:
    """The graph with the rules above applied."""
    return rewrite(graph, _TABLE, "stabilise")
