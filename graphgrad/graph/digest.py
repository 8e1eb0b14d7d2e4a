"""The sha256 of what a graph computes, equal in every process.

Names and order are left out, since they depend on what a process declared before: equal
declarations are one node, and a number or a value that another graph named first keeps that name
and its place in the order. What counts are operations, attributes, types and heads, and the names
of leaves, outputs and updates, by which values are passed in and out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from graphgrad.graph.arrays import Literal
from graphgrad.graph.graph import Graph
from graphgrad.graph.leaves import leaf_name
from graphgrad.graph.node import Node

_PROCESS = "declaration"
"""The attribute of a leaf that numbers the declarations of a process."""


def graph_digest(graph: Graph) -> str:
    """The digest of a graph, as hexadecimal digits.

    >>> x = gg.input("x", (3,))
    >>> y = gg.exp(x * 0.4375)
    >>> before = graph_digest(gg.Graph({"y": y}))
    >>> half = gg.constant(0.4375, name="half")  # the same node as in y
    >>> before == graph_digest(gg.Graph({"y": y})), before == graph_digest(gg.Graph({"z": y}))
    (True, False)
    """
    found: dict[Node, str] = {}
    for node in graph.nodes:
        heads = ",".join(found[head] for head in node.heads)
        found[node] = _sha256(
            f"{node.operation.name}({heads})[{_attributes(node.attributes)}]:{node.type}"
        )
    lines = [f"output {name!r} {found[node]}" for name, node in graph.outputs.items()]
    lines += [f"update {leaf_name(leaf)!r} {found[node]}" for leaf, node in graph.updates.items()]
    return _sha256("\n".join(sorted(lines)))


def _attributes(attributes: Mapping[str, Any]) -> str:
    counted = sorted(attributes.keys() - {_PROCESS})
    return ", ".join(f"{name}={_value(attributes[name])}" for name in counted)


def _value(value: Any) -> str:
    if isinstance(value, Literal):
        dtype, shape, content = value.key
        return f"{dtype}{shape}{hashlib.sha256(content).hexdigest()}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return repr(value)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
