"""Writes composites as elementwise operations and row reductions, which can be fused.

Softmax, standardisation and cross-entropy are one operation each so that their deltas stay short.
Once deltas are derived, the smaller operations that they stand for fuse with their neighbours, and
what forward and backward both need (the row maximum, the row sum, 1/σ) is the same node in both.

    >>> import graphgrad as gg
    >>> graph = gg.Graph({"y": gg.softmax(gg.input("x", (2, 3)), name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[2, 3]    # x
    %1 = softmax(%0, axis=1) : float32[2, 3]    # y
    output y = %1
    >>> print(decompose(graph))
    %0 = input() : float32[2, 3]    # x
    %1 = max(%0, axes=(1,), keepdims=True) : float32[2, 1]    # y.max
    %2 = constant(-3.4028234663852886e+38) : float32[]    # ...
    %3 = maximum(%1, %2) : float32[2, 1]    # y.maximum
    %4 = subtract(%0, %3) : float32[2, 3]    # y.subtract
    %5 = exp(%4) : float32[2, 3]    # y.exp
    %6 = sum(%5, axes=(1,), keepdims=True) : float32[2, 1]    # y.sum
    %7 = constant(1.1754943508222875e-38) : float32[]    # ...
    %8 = maximum(%6, %7) : float32[2, 1]    # y.maximum_1
    %9 = reciprocal(%8) : float32[2, 1]    # y.reciprocal
    %10 = multiply(%5, %9) : float32[2, 3]    # y
    output y = %10
"""

from __future__ import annotations

import numpy as np

from graphgrad import ops
from graphgrad.graph import Graph, Node, constant
from graphgrad.ops import (
    exp,
    expand_dims,
    log,
    maximum,
    not_equal,
    reciprocal,
    rsqrt,
    subtract,
    where,
)
from graphgrad.ops.composite import (
    cross_entropy,
    half_squared_error,
    log_softmax,
    softmax,
    standardise,
)
from graphgrad.ops.indexing import checked, is_at
from graphgrad.ops.movement import reshape_to
from graphgrad.ops.reduction import mean, variance
from graphgrad.passes.rewrite import map_nodes

COMPOSITES = (
    softmax,
    log_softmax,
    standardise,
    variance,
    mean,
    cross_entropy,
    half_squared_error,
)


def decompose(graph: Graph) -> Graph:
    """The graph with composites along the last axis written out."""
    return map_nodes(graph, _written_out, lambda node: node.operation in COMPOSITES)


def _written_out(node: Node) -> Node | None:
    x = node.heads[0] if node.heads else node
    last = x.rank - 1
    if node.operation is softmax and node.attributes["axis"] == last:
        return _softmax(x)
    if node.operation is log_softmax and node.attributes["axis"] == last:
        shifted, _, total = _row_parts(x)
        return shifted - log(total)
    if node.operation is standardise:
        centred, spread = _moments(x)
        return centred * rsqrt(spread + node.attributes["epsilon"])
    if node.operation is variance and node.attributes["axes"] == (last,):
        return reshape_to(variance_of(x), node.shape)
    if node.operation is mean and node.attributes["axes"] == (last,):
        return _mean(x, node.attributes["keepdims"])
    if node.operation is cross_entropy:
        return _cross_entropy(node)
    if node.operation is half_squared_error:
        error = subtract(*node.heads)
        return ops.sum(error * error) * 0.5
    return None


def variance_of(x: Node) -> Node:
    """The row variance of x, kept as an axis of size 1."""
    return _moments(x)[1]


def _moments(x: Node) -> tuple[Node, Node]:
    """x without its row mean, and the row variance.

    The mean was rounded, so what it leaves has a mean of its own, which is taken off as well (the
    corrected algorithm of Chan, Golub and LeVeque 1983): it is 0 where all of a row is equal.
    Both sums are collected in one walk along the row.
    """
    left = x - _mean(x)
    rest = _mean(left)
    return left - rest, maximum(_mean(left * left) - rest * rest, 0.0)


def _mean(x: Node, keepdims: bool = True) -> Node:
    return ops.sum(x, -1, keepdims) / float(x.type.sizes[-1])


def _row_parts(x: Node) -> tuple[Node, Node, Node]:
    """x - max x along the row, the exponentials of that and their sum.

    -∞ everywhere gives -∞ and 0, never NaN.
    """
    limits = np.finfo(x.dtype)
    shifted = x - maximum(ops.max(x, -1, keepdims=True), constant(float(limits.min), x.dtype))
    exponentials = exp(shifted)
    total = maximum(ops.sum(exponentials, -1, keepdims=True), constant(float(limits.tiny), x.dtype))
    return shifted, exponentials, total


def _softmax(x: Node) -> Node:
    _, exponentials, total = _row_parts(x)
    return exponentials * reciprocal(total)


def _cross_entropy(node: Node) -> Node:
    """log Σ eˣ - (1 - ε) x[target] - ε · mean x for x less its maximum, 0 where it is ignored."""
    logits, targets = node.heads
    smoothing, ignored = node.attributes["smoothing"], node.attributes["ignored"]
    size = logits.type.sizes[-1]
    shifted, _, total = _row_parts(logits)
    targets = checked(targets, size, "cross_entropy", ignored)
    # a choice and no product with 0 and 1: the logit of another class may be -∞
    chosen = where(is_at(targets, size), shifted, 0.0)
    loss = log(total) - ops.sum(chosen, -1, keepdims=True) * (1.0 - smoothing)
    if smoothing:
        loss = loss - ops.sum(shifted, -1, keepdims=True) * (smoothing / size)
    counted = not_equal(expand_dims(targets, targets.rank), ignored)
    return reshape_to(where(counted, loss, 0.0), node.shape)
