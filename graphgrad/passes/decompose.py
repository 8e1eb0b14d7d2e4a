"""Decomposes composites into elementwise operations and row reductions, for engines that fuse.

Softmax, standardisation and cross-entropy are one operation each so that their deltas stay short.
Once deltas are derived, the smaller operations they stand for fuse with their neighbours, and what
forward and backward both need (the row maximum, the row sum, 1/σ) is shared by hash-consing.
"""

from __future__ import annotations

import numpy as np

from graphgrad.graph import Graph, Node, constant, iota
from graphgrad.ops import (
    cast,
    equal,
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
    CROSS_ENTROPY,
    LOG_SOFTMAX,
    SOFTMAX,
    STANDARDISE,
    half_squared_error,
)
from graphgrad.ops.movement import reshape_to
from graphgrad.ops.reduction import MEAN, VARIANCE, max, sum
from graphgrad.passes.rewrite import map_nodes

COMPOSITES = (
    SOFTMAX,
    LOG_SOFTMAX,
    STANDARDISE,
    VARIANCE,
    MEAN,
    CROSS_ENTROPY,
    half_squared_error,
)


def decompose(graph: Graph) -> Graph:
    """The graph with composites along the last axis written out."""
    return map_nodes(graph, _written_out, lambda node: node.operation in COMPOSITES)


def _written_out(node: Node) -> Node | None:
    x = node.heads[0] if node.heads else node
    last = x.rank - 1
    if node.operation is SOFTMAX and node.attributes["axis"] == last:
        return _softmax(x)
    if node.operation is LOG_SOFTMAX and node.attributes["axis"] == last:
        largest, _, total = _row_parts(x)
        return x - (largest + log(total))
    if node.operation is STANDARDISE:
        return _centred(x) * rsqrt(variance_of(x) + node.attributes["epsilon"])
    if node.operation is VARIANCE and node.attributes["axes"] == (last,):
        return reshape_to(variance_of(x), node.shape)
    if node.operation is MEAN and node.attributes["axes"] == (last,):
        return _mean(x, node.attributes["keepdims"])
    if node.operation is CROSS_ENTROPY:
        return _cross_entropy(node)
    if node.operation is half_squared_error:
        error = subtract(*node.heads)
        return sum(error * error) * 0.5
    return None


def variance_of(x: Node) -> Node:
    """The row variance of x, kept as an axis of size 1."""
    centred = _centred(x)
    return _mean(centred * centred)


def _centred(x: Node) -> Node:
    return x - _mean(x)


def _mean(x: Node, keepdims: bool = True) -> Node:
    return sum(x, -1, keepdims) * (1.0 / x.type.sizes[-1])


def _row_parts(x: Node) -> tuple[Node, Node, Node]:
    """The row maximum, the exponentials and their row sum; -∞ everywhere gives 0, never NaN."""
    limits = np.finfo(x.dtype)
    largest = maximum(max(x, -1, keepdims=True), constant(float(limits.min), x.dtype))
    exponentials = exp(x - largest)
    total = maximum(sum(exponentials, -1, keepdims=True), constant(float(limits.tiny), x.dtype))
    return largest, exponentials, total


def _softmax(x: Node) -> Node:
    _, exponentials, total = _row_parts(x)
    return exponentials * reciprocal(total)


def _cross_entropy(node: Node) -> Node:
    """log Σ eˣ - (1 - ε) x[target] - ε · mean x, 0 where the target is ignored."""
    logits, targets = node.heads
    smoothing, size = node.attributes["smoothing"], logits.type.sizes[-1]
    largest, _, total = _row_parts(logits)
    column = expand_dims(targets, targets.rank)
    chosen = cast(equal(column, iota(size, targets.dtype)), logits.dtype)
    loss = log(total) + largest - sum(logits * chosen, -1, keepdims=True) * (1.0 - smoothing)
    if smoothing:
        loss = loss - sum(logits, -1, keepdims=True) * (smoothing / size)
    counted = not_equal(column, node.attributes["ignored"])
    return reshape_to(where(counted, loss, 0.0), node.shape)
