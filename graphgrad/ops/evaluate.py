"""The value of one node from the values of its heads, with fresh memory: the reference engine.

No plan, no reuse, no fusion: what constants are folded with, and what every faster way of running a
graph is compared against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import STATEFUL, Graph, Node, constant, input, leaf_name
from graphgrad.graph.types import shape_text


def evaluate_node(node: Node, heads: Sequence[np.ndarray]) -> np.ndarray:
    """The value of a node of known shape."""
    out = np.empty(node.type.sizes, node.dtype)
    keywords = dict(node.attributes)
    if node.operation.scratch is not None:
        types = node.operation.scratch(*(head.type for head in node.heads), **node.attributes)
        keywords["scratch"] = tuple(np.empty(t.sizes, t.dtype) for t in types)
    if node.operation.compute is None:
        raise UnknownNameError(f"the operation {node.operation.name} has no computation")
    with np.errstate(all="ignore"):
        node.operation.compute(np, out, *heads, **keywords)
    return out


def evaluate(
    graph: Graph, feeds: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray] | None = None
) -> dict[Node, np.ndarray]:
    """The value of every node of a graph of known shapes; `feeds` are the inputs by name."""
    values: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        if node.operation is constant:
            values[node] = node.attributes["value"].array
        elif node.operation is input or node.operation in STATEFUL:
            source = feeds if node.operation is input else (state or {})
            if leaf_name(node) not in source:
                raise UnknownNameError(f"no value is given for {leaf_name(node)!r}")
            values[node] = np.asarray(source[leaf_name(node)], node.dtype)
            if values[node].shape != node.shape:
                raise DeclarationError(
                    f"{leaf_name(node)!r} has shape {shape_text(values[node].shape)}, declared is "
                    f"{node.type}",
                    node.origin,
                )
        else:
            values[node] = evaluate_node(node, [values[head] for head in node.heads])
    return values
