"""Folds constants: a node whose heads are all constants becomes a constant itself.

Large results are left alone where they cost nothing to make (a broadcast is a view) or would only
move work into memory traffic.
"""

from __future__ import annotations

from graphgrad.graph import Graph, Node, constant, extent, iota
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.ops.movement import broadcast_to
from graphgrad.passes.rewrite import map_nodes
from graphgrad.passes.specialise import is_open

LARGEST = 1 << 22
"""Elements; a causal mask of 2048 × 2048 still folds."""


def fold_constants(graph: Graph) -> Graph:
    """The graph with everything computed that does not depend on any input, parameter or state."""
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
    """Whether the value depends on nothing but numbers and sizes."""
    for head in node.heads:
        if head.operation is not constant:
            return False
    return bool(node.heads) or node.operation in (iota, extent)
