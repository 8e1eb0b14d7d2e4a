"""Where a value lies: in which memory, and with which strides.

A `ghost` is an array that has a shape, a dtype and strides but no memory that may be touched. View
operations are applied to ghosts, so the plan learns from NumPy itself which results are views and
what they look like, before a byte is allocated.

A matrix product that is only read in another order of its axes is written in that order: BLAS does
not care how far the rows of its result are apart. So the heads of attention come out side by side,
and joining them is a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphgrad.graph import Graph, Node, TensorType
from graphgrad.ops.contraction import matmul
from graphgrad.ops.movement import transpose


def ghost(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A C-contiguous array of this type without memory: never read or write it."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return as_strided(np.empty(1, dtype), shape, strides[::-1], writeable=False)


def viewed(node: Node, head: np.ndarray) -> np.ndarray | None:
    """The ghost of a view operation's result, or None where it has to be computed by copying."""
    if node.operation.view is None:
        return None
    try:
        result = node.operation.view(head, *node.heads[1:], **node.attributes)
    except ValueError:  # reshape(copy=False) of elements that do not lie in order
        return None
    assert isinstance(result, np.ndarray)
    return result


@dataclass(frozen=True)
class Layouts:
    """The layout of every node of a graph of known shapes."""

    ghosts: Mapping[Node, np.ndarray]
    views: frozenset[Node]
    """The nodes that lie in their head's memory."""
    orders: Mapping[Node, tuple[int, ...]]
    """The axes in the order in which they lie in memory, where that is not their own."""

    def contiguous(self, node: Node) -> bool:
        """Whether the elements lie in C order without gaps."""
        return bool(self.ghosts[node].flags.c_contiguous)


def find_layouts(graph: Graph, product_layouts: bool = True) -> Layouts:
    """Views as NumPy makes them; products as they are read; everything else contiguous.

    Without `product_layouts` products are contiguous, too.
    """
    ghosts: dict[Node, np.ndarray] = {}
    views, found = set(), {}
    contiguous: dict[TensorType, np.ndarray] = {}  # nothing tells ghosts of one type apart
    kept = {*graph.outputs.values(), *graph.updates.values()}
    for node in graph.nodes:
        result = viewed(node, ghosts[node.heads[0]]) if node.heads else None
        order = _order_of_readers(graph, node) if product_layouts and node not in kept else None
        if result is not None:
            ghosts[node] = result
            views.add(node)
        elif order is not None:
            sizes = node.type.sizes
            written = ghost(tuple(sizes[axis] for axis in order), node.dtype)
            ghosts[node] = written.transpose(np.argsort(order))
            found[node] = order
        else:
            if node.type not in contiguous:
                contiguous[node.type] = ghost(node.type.sizes, node.dtype)
            ghosts[node] = contiguous[node.type]
    return Layouts(ghosts, frozenset(views), found)


def _order_of_readers(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """The order of axes in which all tails of a product read it, where columns stay together."""
    if node.operation is not matmul:
        return None
    tails = graph.tails(node)
    if not tails or any(tail.operation is not transpose for tail in tails):
        return None
    orders = {tail.attributes["axes"] for tail in tails}
    (order, *others) = orders
    return order if not others and order[-1] == node.rank - 1 else None
