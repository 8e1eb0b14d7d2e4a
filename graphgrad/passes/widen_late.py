"""Moves casts from 16 bits to float32 behind reshapes and transposes of their results.

The values are the same: what is moved is moved in 16 bits, and widened where it is read, in the
kernel that reads it. So a product that other products read transposed has no other readers, and is
written in their order of axes; and the sum of a delta reads what the product beside it reads.

    >>> import graphgrad as gg
    >>> x = gg.input("x", (2, 3), "float16")
    >>> graph = gg.Graph({"y": gg.transpose(gg.cast(x, "float32"), name="y")})

Before and after (a later pass drops what nothing reads):

    >>> print(graph)
    %0 = input() : float16[2, 3]    # x
    %1 = cast(%0) : float32[2, 3]    # cast
    %2 = transpose(%1, axes=(1, 0)) : float32[3, 2]    # y
    output y = %2
    >>> print(widen_late(graph))
    %0 = input() : float16[2, 3]    # x
    %1 = cast(%0) : float32[2, 3]    # cast
    %2 = transpose(%0, axes=(1, 0)) : float16[3, 2]    # y.transpose
    %3 = cast(%2) : float32[3, 2]    # y
    output y = %3
"""

from __future__ import annotations

from graphgrad import ops
from graphgrad.graph import Graph, Node
from graphgrad.passes.rewrite import map_nodes

MOVED = (ops.reshape, ops.transpose)


def widen_late(graph: Graph) -> Graph:
    """The graph whose values of 16 bits are widened as late as can be."""
    return map_nodes(graph, _late, lambda node: node.operation in MOVED)


def _late(node: Node) -> Node | None:
    if node.operation not in MOVED:
        return None
    wide = node.heads[0]
    if wide.operation is not ops.cast or not wide.heads[0].type.is_half or wide.type.is_half:
        return None
    if not wide.type.is_float:
        return None
    return ops.cast(node.operation.node(wide.heads[0], **node.attributes), wide.dtype)
