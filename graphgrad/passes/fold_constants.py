"""Computes nodes that depend on constants only at compile time.

Large results are not folded if they cost nothing (a broadcast is a view), or if reading them would
take longer than computing them.

    >>> import graphgrad as gg
    >>> from graphgrad.passes import prune
    >>> graph = gg.Graph({"y": gg.multiply(gg.input("x", 3), gg.exp(gg.constant(1.625)), name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[3]    # x
    %1 = constant(1.625) : float32[]    # constant
    %2 = exp(%1) : float32[]    # exp
    %3 = multiply(%0, %2) : float32[3]    # y
    output y = %3
    >>> print(prune(fold_constants(graph)))
    %0 = input() : float32[3]    # x
    %1 = constant(5.078419208526611) : float32[]    # exp
    %2 = multiply(%0, %1) : float32[3]    # y
    output y = %2
"""

from __future__ import annotations

from graphgrad.graph import Graph, Node, constant, extent, iota
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.ops.movement import broadcast_to
from graphgrad.passes.rewrite import map_nodes
from graphgrad.passes.specialise import is_open

LARGEST = 1 << 22
"""Elements; a causal mask of 2048 × 2048 is folded."""


def fold_constants(graph: Graph) -> Graph:
    """The graph with constants instead of nodes that depend on constants and sizes only."""
    return map_nodes(graph, _folded, _is_known)


def _folded(node: Node) -> Node | None:
    operation = node.operation
    if not _is_known(node) or operation.compute is None or operation is broadcast_to:
        return None
    if any(map(is_open, node.attributes.values())):
        return None
    size = node.type.size
    if not isinstance(size, int) or size > LARGEST:
        return None
    heads = [head.attributes["value"].array for head in node.heads]
    return constant(evaluate_node(node, heads), node.dtype)


def _is_known(node: Node) -> bool:
    """Whether the value depends on constants and sizes only."""
    if node.operation.collective:
        return False
    for head in node.heads:
        if head.operation is not constant:
            return False
    return bool(node.heads) or node.operation in (iota, extent)
