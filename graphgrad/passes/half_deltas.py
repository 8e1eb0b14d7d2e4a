"""Sends the deltas of parameters as bfloat16: half the bytes, and their sum rounded twice.

    all_reduce(δ)    becomes    cast(all_reduce(cast(δ, bfloat16)), float32)

The casts are nodes; what is added up is bfloat16, in float32 and in the order of the ranks, and the
sum is rounded once more before it is sent back. A term and a sum each have an error of at most
2⁻⁹ of their size. All ranks still have the same bits.

Concerned are the sums that an optimiser reads element by element (`update_regions.py`). Others keep
their bits: the loss, counts, and what a norm of a batch is computed from.
"""

from __future__ import annotations

from graphgrad.graph import Graph, Node
from graphgrad.graph.types import FLOAT32
from graphgrad.ops import all_reduce, cast
from graphgrad.passes.rewrite import map_nodes
from graphgrad.passes.update_regions import update_regions

HALF = "bfloat16"


def half_deltas(graph: Graph) -> Graph:
    """The graph of parts of a batch whose deltas of float32 parameters are sent as bfloat16."""
    sent = {node for region in update_regions(graph) for node in region.gradients}

    def halved(node: Node) -> Node | None:
        if node not in sent or node.dtype != FLOAT32:
            return None
        (x,) = node.heads
        total = all_reduce.node(cast(x, HALF, name=HALF), **node.attributes)
        return cast(total, FLOAT32)

    return map_nodes(graph, halved, sent.__contains__)
