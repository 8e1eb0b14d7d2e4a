"""Counts the cost of a computation from its graph: floating-point operations and bytes.

Floating-point operations are those of the matrix products, 2 m n k each: nearly all arithmetic of a
network, and the same number however they are computed, so rates of different programs can be
compared. Bytes are the least that a node reads and writes: each head once, and the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from graphgrad.graph import LEAVES, Graph, Node
from graphgrad.ops.attention import attention_delta, dot_product_attention
from graphgrad.ops.contraction import matmul
from graphgrad.passes.specialise import specialise


def flops_of(node: Node) -> int:
    """2 m n k for a matrix product [m, k] [k, n] of known shapes, times its batch; for attention
    and its deltas those of the products that they stand for, and none for weights that are computed
    again; else 0."""
    if node.operation in (dot_product_attention, attention_delta):
        return _flops_of_attention(node)
    if node.operation is not matmul:
        return 0
    inner = node.heads[0].type.sizes[-2 if node.attributes["transpose_a"] else -1]
    return 2 * math.prod(node.type.sizes) * inner


def _flops_of_attention(node: Node) -> int:
    query, key, value = (head.type.sizes for head in node.heads[:3])
    widths = {
        None: query[-1] + value[-1],
        "query": query[-1] + value[-1],
        "key": query[-1],
        "value": value[-1],
    }
    return 2 * math.prod(query[:-1]) * key[-2] * widths[node.attributes.get("to")]


@dataclass(frozen=True)
class Cost:
    """The cost of the outputs and updates of a graph: computed nodes, matrix products, bytes."""

    steps: int
    flops: int
    bytes: int


def cost_of(graph: Graph, sizes: Mapping[str, int]) -> Cost:
    """The cost of a graph for these sizes; leaves and views cost nothing."""
    sized = specialise(graph, sizes)
    needed = sized.ancestors([*sized.outputs.values(), *sized.updates.values()])
    computed = [
        node for node in needed if node.operation not in LEAVES and node.operation.view is None
    ]
    return Cost(len(computed), sum(map(flops_of, computed)), sum(map(bytes_of, computed)))


def flops_of_graph(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The operations of all matrix products that the outputs and updates need, for these sizes."""
    graph = specialise(graph, sizes)
    needed = graph.ancestors([*graph.outputs.values(), *graph.updates.values()])
    return sum(flops_of(node) for node in needed)


def bytes_of(node: Node) -> int:
    """Bytes read and written: the distinct heads and the result; 0 for a leaf."""
    if node.operation in LEAVES:
        return 0
    return node.type.nbytes + sum(head.type.nbytes for head in dict.fromkeys(node.heads))
