"""Turns composites along other axes than the last, for backends that have kernels for rows alone.

Softmax and log-softmax are taken of the transposed value, and transposed back; a mean becomes a
sum; a variance and a log-sum-exp are taken of rows that hold all elements of their axes.

    >>> import graphgrad as gg
    >>> graph = gg.Graph({"y": gg.softmax(gg.input("x", (2, 3)), axis=0, name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[2, 3]    # x
    %1 = softmax(%0, axis=0) : float32[2, 3]    # y
    output y = %1
    >>> print(turn(graph))
    %0 = input() : float32[2, 3]    # x
    %1 = transpose(%0, axes=(1, 0)) : float32[3, 2]    # y.transpose
    %2 = softmax(%1, axis=1) : float32[3, 2]    # y.softmax
    %3 = transpose(%2, axes=(1, 0)) : float32[2, 3]    # y
    output y = %3
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphgrad import ops
from graphgrad.graph import Graph, Node
from graphgrad.ops import exp, is_finite, log, where
from graphgrad.ops.composite import log_softmax, softmax
from graphgrad.ops.movement import reshape_to
from graphgrad.ops.reduction import logsumexp, mean, variance
from graphgrad.passes.rewrite import map_nodes

TURNED = (softmax, log_softmax, mean, variance, logsumexp)


def turn(graph: Graph) -> Graph:
    """The graph with composites along rows only, and log-sum-exps decomposed."""
    return map_nodes(graph, _turned, lambda node: node.operation in TURNED)


def _turned(node: Node) -> Node | None:
    if node.operation not in TURNED:
        return None
    x, attributes = node.heads[0], node.attributes
    last = x.rank - 1
    axes = (attributes["axis"],) if "axis" in attributes else attributes["axes"]
    count = math.prod(x.type.sizes[axis] for axis in axes)
    if not count or (axes == (last,) and node.operation is not logsumexp):
        return None
    if node.operation is mean:
        return ops.sum(x, axes, attributes["keepdims"]) / float(count)
    kept = [axis for axis in range(x.rank) if axis not in axes]
    order = [*kept, *axes]
    turned = x if order == sorted(order) else ops.transpose(x, tuple(order))
    if "axis" in attributes:
        result = node.operation.node(turned, axis=last)
        return ops.transpose(result, tuple(map(int, np.argsort(order))))
    rows = reshape_to(turned, (*_sizes(x, kept), count))
    if node.operation is variance:
        return reshape_to(ops.variance(rows, -1), node.shape)
    return reshape_to(_logsumexp(rows), node.shape)


def _sizes(x: Node, axes: Sequence[int]) -> list[int]:
    return [x.type.sizes[axis] for axis in axes]


def _logsumexp(x: Node) -> Node:
    """log Σ eˣ along the row; of -∞ alone it is -∞, without ∞ - ∞."""
    largest = ops.max(x, -1, keepdims=True)
    level = where(is_finite(largest), largest, 0.0)
    return log(ops.sum(exp(x - level), -1, keepdims=True)) + level
