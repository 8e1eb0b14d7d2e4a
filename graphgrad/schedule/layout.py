"""Finds the memory layout of each value: whose memory it is stored in, and with which strides.

A memoryless array has a shape, a dtype and strides, but no memory that may be read or written. View
operations are applied to memoryless arrays, so NumPy itself determines, before a byte is
allocated, which results are views, and their strides.

A matrix product, or attention, whose readers all transpose it is written in their order of axes:
BLAS takes any distance between the rows of a result. So the heads of attention are stored side by
side, and joining them is a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphgrad.graph import Graph, Node, TensorType
from graphgrad.ops.attention import attention_delta, dot_product_attention
from graphgrad.ops.contraction import matmul
from graphgrad.ops.movement import transpose

PRODUCTS = (matmul, dot_product_attention, attention_delta)
"""The operations that write rows at any distance from each other."""


def memoryless_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A C-contiguous array of this shape without memory of its own; never read or write it."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return as_strided(np.empty(1, dtype), shape, strides[::-1], writeable=False)


def view_layout(node: Node, head: np.ndarray) -> np.ndarray | None:
    """The memoryless array of a view operation's result; None if the result has to be a copy."""
    if node.operation.view is None:
        return None
    try:
        result = node.operation.view(head, *node.heads[1:], **node.attributes)
    except ValueError:  # from reshape(copy=False), if the elements are not in order
        return None
    assert isinstance(result, np.ndarray)
    return result


@dataclass(frozen=True)
class Layouts:
    """The layout of every node of a graph of known shapes."""

    arrays: Mapping[Node, np.ndarray]
    """A memoryless array for each value."""
    views: frozenset[Node]
    """The nodes that share the memory of their head."""
    orders: Mapping[Node, tuple[int, ...]]
    """The order of the axes in memory, for each node for which it is not the order of its shape."""

    def contiguous(self, node: Node) -> bool:
        """Whether the elements are stored in C order without gaps."""
        return bool(self.arrays[node].flags.c_contiguous)


def find_layouts(graph: Graph, product_layouts: bool = True) -> Layouts:
    """The layouts of a graph: views as NumPy makes them; products in the order of axes of their
    readers; all other values contiguous.

    Without `product_layouts` products are contiguous, too.
    """
    arrays: dict[Node, np.ndarray] = {}
    views, found = set(), {}
    contiguous: dict[TensorType, np.ndarray] = {}  # nodes of one type share a memoryless array
    kept = {*graph.outputs.values(), *graph.updates.values()}
    for node in graph.nodes:
        result = view_layout(node, arrays[node.heads[0]]) if node.heads else None
        order = _order_of_readers(graph, node) if product_layouts and node not in kept else None
        if result is not None:
            arrays[node] = result
            views.add(node)
        elif order is not None:
            sizes = node.type.sizes
            written = memoryless_array(tuple(sizes[axis] for axis in order), node.dtype)
            arrays[node] = written.transpose(np.argsort(order))
            found[node] = order
        else:
            if node.type not in contiguous:
                contiguous[node.type] = memoryless_array(node.type.sizes, node.dtype)
            arrays[node] = contiguous[node.type]
    return Layouts(arrays, frozenset(views), found)


def _order_of_readers(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """The order of axes in which all tails read a product, if its last axis stays the last.

    The deltas of attention read its values as they lie, so their order follows the other tails.
    """
    if node.operation not in PRODUCTS:
        return None
    tails = [tail for tail in graph.tails(node) if tail.operation is not attention_delta]
    if not tails or any(tail.operation is not transpose for tail in tails):
        return None
    orders = {tail.attributes["axes"] for tail in tails}
    (order, *others) = orders
    return order if not others and order[-1] == node.rank - 1 else None
