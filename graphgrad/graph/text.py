"""The stable text of a graph: one line a node, fit to read, to diff and to test.

    %4 = tanh(%3) : float32[batch, 3]    # hidden.z

Numbers are positions in this graph, so the same graph gives the same text in every process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphgrad.graph.initial import Initial
from graphgrad.graph.node import Node, constant
from graphgrad.graph.plain import plain

if TYPE_CHECKING:
    from graphgrad.graph.graph import Graph

_HIDDEN = ("declaration", "label", "shape", "dtype")


def graph_text(graph: Graph) -> str:
    """The whole graph: its nodes, then its outputs and updates."""
    lines = [node_line(graph, node) for node in graph.nodes]
    for name, node in graph.outputs.items():
        lines.append(f"output {plain(name)} = %{graph.position(node)}")
    for leaf, node in graph.updates.items():
        lines.append(f"update {plain(graph.name_of(leaf))} <- %{graph.position(node)}")
    return "\n".join(lines)


def node_line(graph: Graph, node: Node) -> str:
    """`%4 = tanh(%3) : float32[batch, 3]    # hidden.z`."""
    heads = ", ".join(f"%{graph.position(head)}" for head in node.heads)
    arguments = ", ".join(filter(None, [heads, attributes_text(node)]))
    head = f"%{graph.position(node)} = {node.operation.name}({arguments}) : {node.type}"
    return f"{head}    # {', '.join(map(plain, graph.names_of(node)))}"


def attributes_text(node: Node) -> str:
    """`axes=(1,), keepdims=True`: the attributes that the type does not show already."""
    hidden = () if node.operation.name in ("reshape", "broadcast_to") else _HIDDEN
    shown = {name: value for name, value in node.attributes.items() if name not in hidden}
    if node.operation is constant:
        return repr(shown["value"])
    return ", ".join(f"{name}={value_text(value)}" for name, value in shown.items())


def value_text(value: Any) -> str:
    """An attribute's value in short, stable text."""
    if isinstance(value, Initial):
        return f"{value.kind}({value.scale:g})"
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(value_text, value)) + ("," if len(value) == 1 else "") + ")"
    return plain(value if isinstance(value, str) else repr(value))
