"""Cancels: products in which a division meets what it divides by.

Where a formula is made stable after its deltas were derived, these still go the way it was written:
the delta of eˣ / Σ eˣ divides by Σ eˣ and then multiplies by eˣ, which are ∞ and ∞ (or 0 and 0)
where the softmax itself is finite. Between the two there may be sums, negations, other factors and
repetitions. `cancelled` follows a factor through all of these to the divisions behind them:

    (δ / p) · p → δ      (δ / Σ eˣ) · eˣ → δ · softmax x      (δ / (1 + eˣ)) · eˣ → δ · sigmoid x
"""

from __future__ import annotations

from collections.abc import Callable

from graphgrad import ops
from graphgrad.graph import Node, Operation
from graphgrad.graph.types import Shape, broadcast
from graphgrad.ops import (
    add,
    broadcast_to,
    divide,
    exp,
    logsumexp,
    multiply,
    negative,
    reciprocal,
    sigmoid,
    softmax,
    subtract,
)
from graphgrad.ops.movement import reshape, reshape_to
from graphgrad.ops.reduction import share_of
from graphgrad.passes.pattern import is_number, number, pattern

DEPTH = 8
"""Operations between a product and the division; more would only cost time."""

_COMPLEMENT = pattern(subtract, number(1), pattern(sigmoid))
_SUM_OF_EXP = pattern(ops.sum, pattern(exp), bind="total")
_INVERSE, _RECIPROCAL = pattern(divide, number(1), _SUM_OF_EXP), pattern(reciprocal, _SUM_OF_EXP)
_ELEMENTWISE = (add, subtract, multiply, divide, negative, reciprocal)


def may_vanish(node: Node) -> bool:
    """Positive in exact arithmetic, but it may round to 0 (or ∞): then p · (δ / p) is NaN."""
    if node.operation in (softmax, sigmoid, exp) or _inverted(node) is not None:
        return True
    return _COMPLEMENT.match(node, {}) is not None


def _inverted(node: Node) -> Node | None:
    """Σ eˣ, where the node is 1 / Σ eˣ."""
    found = _INVERSE.match(node, {}) or _RECIPROCAL.match(node, {})
    return found["total"] if found else None


def product_without_division(a: Node, b: Node) -> Node | None:
    """a · b, where one of them may vanish and the other is divided by it; else None."""
    for factor, other in ((b, a), (a, b)):
        if may_vanish(factor):
            found = cancelled(other, factor)
            if found is not None:
                return found
    return None


def cancelled(a: Node, p: Node, depth: int = DEPTH) -> Node | None:
    """a · p, where a is divided by p or by a sum that p is a term of; None where it is not.

    It has the shape of the product, also where only one side had it and has been cancelled.
    """
    clause = _CLAUSES.get(a.operation)
    found = clause(a, p, depth - 1) if clause is not None and depth else None
    if found is None:
        return None
    shape = broadcast([a.shape, p.shape])
    return found if found.shape == shape else broadcast_to(found, shape)


def softmax_over(x: Node, axes: tuple[int, ...]) -> Node:
    """eˣ / Σ eˣ over one or more axes."""
    if len(axes) == 1:
        return softmax(x, axes[0])
    return share_of(x, logsumexp(x, axes, keepdims=True), axes)


def _times(a: Node, p: Node, depth: int) -> Node:
    found = cancelled(a, p, depth)
    return a * p if found is None else found


def _of_quotient(a: Node, p: Node, depth: int) -> Node | None:
    above, below = a.heads
    if below is p:
        return above
    share = _share(p, below)
    if share is not None:
        return _times(above, share, depth)
    inner = cancelled(above, p, depth)
    return None if inner is None else inner / below


def _of_reciprocal(a: Node, p: Node, depth: int) -> Node | None:
    return _share(p, a.heads[0])


def _share(p: Node, total: Node) -> Node | None:
    """p / total, for p = eˣ and a total that is Σ eˣ or 1 + eˣ."""
    if p.operation is not exp:
        return None
    (x,) = p.heads
    if total.operation is add:
        one, other = total.heads if total.heads[1] is p else total.heads[::-1]
        return sigmoid(x) if other is p and is_number(one, 1) else None
    if total.operation is not ops.sum or total.heads[0] is not p or not _keeps_axes(total):
        return None
    axes = total.attributes["axes"]
    return None if any(x.shape[axis] == 0 for axis in axes) else softmax_over(x, axes)


def _keeps_axes(total: Node) -> bool:
    """Whether a sum broadcasts with its head as one number for each of what it sums over."""
    return total.attributes["keepdims"] or not total.shape


def _of_negative(a: Node, p: Node, depth: int) -> Node | None:
    inner = cancelled(a.heads[0], p, depth)
    return None if inner is None else -inner


def _of_product(a: Node, p: Node, depth: int) -> Node | None:
    for factor, other in (a.heads, a.heads[::-1]):
        inner = cancelled(factor, p, depth)
        if inner is not None:
            return inner * other
    return None


def _of_sum(a: Node, p: Node, depth: int) -> Node | None:
    """(b ± c) · p → b · p ± c · p, where that is worth it."""
    parts = [cancelled(head, p, depth) for head in a.heads]
    if parts == [None] * len(parts):
        return None
    terms = [p * head if part is None else part for head, part in zip(a.heads, parts, strict=True)]
    return a.operation.node(*terms)


def _of_repeated(a: Node, p: Node, depth: int) -> Node | None:
    return cancelled(a.heads[0], p, depth)


def _of_reshaped(a: Node, p: Node, depth: int) -> Node | None:
    inner = _reshaped(a.heads[0], a.shape)
    return None if inner.operation is reshape else cancelled(inner, p, depth)


def _reshaped(node: Node, shape: Shape) -> Node:
    """The node in another shape, its heads reshaped rather than itself where that is the same."""
    if node.operation is ops.sum:
        (x,), axes = node.heads, node.attributes["axes"]
        if tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)) == shape:
            return ops.sum.node(x, axes=axes, keepdims=True)
    if node.operation is reshape:
        return _reshaped(node.heads[0], shape)
    if node.operation in _ELEMENTWISE and all(h.shape in ((), node.shape) for h in node.heads):
        heads = [_reshaped(h, shape) if h.shape else h for h in node.heads]
        return node.operation.node(*heads)
    return reshape_to(node, shape)


def _of_total(a: Node, p: Node, depth: int) -> Node | None:
    """Σ (u / Σ eˣ) · eˣ → Σ u · softmax x, and Σ (u · eˣ) · 1 / Σ eˣ → Σ (u · softmax x).

    What is summed may be divided first, since all of it is divided by the same.
    """
    if not _keeps_axes(a):
        return None
    total = _inverted(p)
    if total is not None and total.attributes == a.attributes:
        inner = cancelled(a.heads[0], p, depth)
        return None if inner is None else ops.sum.node(inner, **a.attributes)
    if p.operation is not exp or a.heads[0].shape != p.shape:
        return None
    total = ops.sum.node(p, **a.attributes)
    inner, share = cancelled(a.heads[0], total, depth), _share(p, total)
    if inner is None or share is None:
        return None
    return ops.sum.node(inner, **a.attributes) * share


def _of_exp(a: Node, p: Node, depth: int) -> Node | None:
    total = _inverted(p)
    return None if total is None else _share(a, total)


_CLAUSES: dict[Operation, Callable[[Node, Node, int], Node | None]] = {
    divide: _of_quotient,
    reciprocal: _of_reciprocal,
    negative: _of_negative,
    multiply: _of_product,
    add: _of_sum,
    subtract: _of_sum,
    broadcast_to: _of_repeated,
    reshape: _of_reshaped,
    ops.sum: _of_total,
    exp: _of_exp,
}
