"""Simplifies a graph by algebra that does not change values.

No rule hides a NaN (x · 0 stays), and no rule loses accuracy. All are exact to the bit and to the
sign of a zero (x + 0 stays, since x may be -0), except for those that round less often than the
original: x · c · d, and the powers that become one multiplication or division. (The sign of the sum
of a single -0 is not preserved: NumPy computes 0 or -0, depending on the order of its loops.)

    >>> import graphgrad as gg
    >>> from graphgrad.passes import prune
    >>> x = gg.input("x", (2, 3))
    >>> graph = gg.Graph({"y": gg.subtract(x, -gg.transpose(x.T), name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[2, 3]    # x
    %1 = transpose(%0, axes=(1, 0)) : float32[3, 2]    # transpose
    %2 = transpose(%1, axes=(1, 0)) : float32[2, 3]    # transpose_1
    %3 = negative(%2) : float32[2, 3]    # negative
    %4 = subtract(%0, %3) : float32[2, 3]    # y
    output y = %4
    >>> print(prune(simplify(graph)))
    %0 = input() : float32[2, 3]    # x, transpose_1
    %1 = add(%0, %0) : float32[2, 3]    # y
    output y = %1
"""

from __future__ import annotations

import math

import numpy as np

from graphgrad import ops
from graphgrad.graph import Graph, Node, Operation, constant
from graphgrad.graph.types import DType
from graphgrad.ops import (
    add,
    divide,
    identity,
    logical_not,
    multiply,
    negative,
    power,
    reciprocal,
    stop_gradient,
    subtract,
    where,
)
from graphgrad.ops.arithmetic import OPERATIONS as ARITHMETIC
from graphgrad.ops.contraction import matmul
from graphgrad.ops.functions import OPERATIONS as FUNCTIONS
from graphgrad.ops.movement import broadcast_to, reshape, reshape_to, transpose
from graphgrad.passes.pattern import (
    Pattern,
    any_node,
    any_number,
    number,
    number_of,
    pattern,
    zero,
)
from graphgrad.passes.rewrite import Rule, by_operation, rewrite

X, Y = any_node("x"), any_node("y")


def _scale(node: Node, value: float) -> Node:
    return constant(value, node.dtype)


def _compose_transposes(x: Node, outer: Node, inner: Node) -> Node:
    first, second = inner.attributes["axes"], outer.attributes["axes"]
    return transpose.node(x, axes=tuple(first[axis] for axis in second))


def _identity_transpose(x: Node, outer: Node) -> Node | None:
    return x if outer.attributes["axes"] == tuple(range(x.rank)) else None


def _transposed_head(product: Node, side: int) -> Node | None:
    """The product of a transposed matrix, as a product with the opposite flag."""
    heads = list(product.heads)
    inner = heads[side]
    axes = inner.attributes["axes"]
    rank = len(axes)
    if axes != (*range(rank - 2), rank - 1, rank - 2):
        return None
    heads[side] = inner.heads[0]
    flags = dict(product.attributes)
    flag = "transpose_b" if side else "transpose_a"
    flags[flag] = not flags[flag]
    return matmul.node(*heads, **flags)


def _single_sum(x: Node, total: Node) -> Node | None:
    """A sum over axes of size 1, as a reshape."""
    alone = all(x.shape[axis] == 1 for axis in total.attributes["axes"])
    return reshape_to(x, total.shape) if alone else None


def _product_of_numbers(x: Node, c: Node, d: Node) -> Node | None:
    product = number_of(c) * number_of(d)
    return multiply(x, _scale(x, product)) if _fits(product, x.dtype) else None


def _exact_reciprocal(x: Node, c: Node) -> Node | None:
    """A division by a power of two, as a product with its reciprocal, exact to the bit."""
    value = number_of(c)
    if not isinstance(value, float) or abs(math.frexp(value)[0]) != 0.5:
        return None
    return multiply(x, _scale(x, 1.0 / value)) if _fits(1.0 / value, x.dtype) else None


def _fits(value: float, dtype: DType) -> bool:
    """Whether the number is in the range of the dtype, without overflow or underflow."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return float(limits.smallest_normal) <= abs(value) <= float(limits.max)
    return int(np.iinfo(dtype).min) <= value <= int(np.iinfo(dtype).max)


def _broadcast_head_rule(operation: Operation, position: int) -> Rule:
    """The rule that removes the broadcast of a head of an operation that broadcasts itself."""
    heads = [any_node(f"head{i}") for i in range(operation.arity or 0)]
    heads[position] = pattern(broadcast_to, X)

    def result(whole: Node, x: Node, **others: Node) -> Node:
        # not `whole.heads`: the heads of a commutative operation may have matched in reverse order
        given = [others.get(f"head{i}", x) for i in range(len(heads))]
        return operation.node(*given, **whole.attributes)

    return Rule(
        f"{operation.name} of a broadcast", Pattern(operation, tuple(heads), "whole"), result
    )


RULES: tuple[Rule, ...] = (
    Rule("x + -0 → x", pattern(add, X, zero("-")), lambda x: x),
    Rule("x - 0 → x", pattern(subtract, X, zero("+")), lambda x: x),
    Rule("-0 - x → -x", pattern(subtract, zero("-"), X), lambda x: negative(x)),
    Rule("x · 1 → x", pattern(multiply, X, number(1)), lambda x: x),
    Rule("x / 1 → x", pattern(divide, X, number(1)), lambda x: x),
    Rule("x · -1 → -x", pattern(multiply, X, number(-1)), lambda x: negative(x)),
    Rule("-(-x) → x", pattern(negative, pattern(negative, X)), lambda x: x),
    Rule("x + -y → x - y", pattern(add, X, pattern(negative, Y)), lambda x, y: subtract(x, y)),
    Rule("x - -y → x + y", pattern(subtract, X, pattern(negative, Y)), lambda x, y: add(x, y)),
    Rule(
        "-x · -y → x · y",
        pattern(multiply, pattern(negative, X), pattern(negative, Y)),
        lambda x, y: multiply(x, y),
    ),
    Rule(
        "(x · c) · d → x · cd",
        pattern(multiply, pattern(multiply, X, any_number("c")), any_number("d")),
        _product_of_numbers,
    ),
    Rule("x / 2ⁿ → x · 2⁻ⁿ", pattern(divide, X, any_number("c")), _exact_reciprocal),
    Rule("x ^ 2 → x · x", pattern(power, X, number(2)), lambda x: multiply(x, x)),
    Rule("x ^ 1 → x", pattern(power, X, number(1)), lambda x: x),
    Rule("x ^ -1 → 1/x", pattern(power, X, number(-1)), lambda x: reciprocal(x)),
    Rule("1 / x → 1/x", pattern(divide, number(1), X), lambda x: reciprocal(x)),
    Rule("¬¬x → x", pattern(logical_not, pattern(logical_not, X)), lambda x: x),
    Rule("x where true", pattern(where, number(True), X, Y), lambda x, y: x),
    Rule("y where false", pattern(where, number(False), X, Y), lambda x, y: y),
    Rule("φ(x) = x", pattern(identity, X), lambda x: x),
    # deltas are derived already, so stop_gradient has no further effect
    Rule("stop_gradient(x) → x", pattern(stop_gradient, X), lambda x: x),
    Rule(
        "reshape of reshape",
        pattern(reshape, pattern(reshape, X), bind="outer"),
        lambda x, outer: reshape_to(x, outer.shape),
    ),
    Rule("reshape to its own shape", pattern(reshape, X), lambda x: x),
    Rule(
        "transpose of transpose",
        pattern(transpose, pattern(transpose, X, bind="inner"), bind="outer"),
        _compose_transposes,
    ),
    Rule("transpose into its own order", pattern(transpose, X, bind="outer"), _identity_transpose),
    Rule("broadcast to its own shape", pattern(broadcast_to, X), lambda x: x),
    Rule(
        "broadcast of broadcast",
        pattern(broadcast_to, pattern(broadcast_to, X), bind="outer"),
        lambda x, outer: broadcast_to.node(x, shape=outer.shape),
    ),
    Rule("sum over axes of size 1", pattern(ops.sum, X, bind="total"), _single_sum),
    Rule(
        "product of a transposed left side",
        pattern(matmul, pattern(transpose, X), Y, bind="product"),
        lambda x, y, product: _transposed_head(product, 0),
    ),
    Rule(
        "product of a transposed right side",
        pattern(matmul, Y, pattern(transpose, X), bind="product"),
        lambda x, y, product: _transposed_head(product, 1),
    ),
)

BROADCASTING: tuple[Rule, ...] = tuple(
    _broadcast_head_rule(operation, position)
    for operation in (*ARITHMETIC, *FUNCTIONS)
    if (operation.arity or 0) > 1
    for position in range(operation.arity or 0)
)

_TABLE = by_operation(RULES + BROADCASTING)


def simplify(graph: Graph) -> Graph:
    """The graph after rewriting by `RULES` and `BROADCASTING`."""
    return rewrite(graph, _TABLE, "simplify")
