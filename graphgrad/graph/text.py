"""Prints a graph as stable text, one line per node, to read, compare and test.

    %4 = tanh(%3) : float32[batch, 3]    # hidden.z

Numbers are positions in this graph, so the same declarations give the same text. A process that
declared one of the values before shows it under its first name; what has to be equal in every
process is compared by `digest.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from graphgrad.graph.initial import Initial
from graphgrad.graph.node import Node, constant
from graphgrad.text import printable

_HIDDEN = ("declaration", "label", "shape", "dtype")


class GraphLike(Protocol):
    """The attributes of a graph that are used here; `Graph` is in a higher module."""

    nodes: tuple[Node, ...]
    outputs: Mapping[str, Node]
    updates: Mapping[Node, Node]

    @property
    def inputs(self) -> Mapping[str, Node]: ...

    @property
    def parameters(self) -> Mapping[str, Node]: ...

    def position(self, node: Node) -> int: ...

    def name_of(self, node: Node) -> str: ...

    def names_of(self, node: Node) -> tuple[str, ...]: ...


def graph_text(graph: GraphLike) -> str:
    """The text of the whole graph: its nodes, then its outputs and updates."""
    lines = [node_line(graph, node) for node in graph.nodes]
    for name, node in graph.outputs.items():
        lines.append(f"output {printable(name)} = %{graph.position(node)}")
    for leaf, node in graph.updates.items():
        lines.append(f"update {printable(graph.name_of(leaf))} <- %{graph.position(node)}")
    return "\n".join(lines)


def summary(graph: GraphLike) -> str:
    """`graph of 12 nodes: inputs x; parameters w; outputs loss`."""
    parts = [f"graph of {len(graph.nodes)} nodes"]
    listed: Sequence[tuple[str, Mapping[str, Node]]] = (
        ("inputs", graph.inputs),
        ("parameters", graph.parameters),
        ("outputs", graph.outputs),
    )
    for what, nodes in listed:
        if nodes:
            names = list(nodes)[:4]
            more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
            parts.append(f"{what} {', '.join(printable(name, 40) for name in names)}{more}")
    return parts[0] + ": " + "; ".join(parts[1:]) if parts[1:] else parts[0]


def node_line(graph: GraphLike, node: Node) -> str:
    """`%4 = tanh(%3) : float32[batch, 3]    # hidden.z`."""
    heads = ", ".join(f"%{graph.position(head)}" for head in node.heads)
    arguments = ", ".join(filter(None, [heads, attributes_text(node)]))
    head = f"%{graph.position(node)} = {node.operation.name}({arguments}) : {node.type}"
    return f"{head}    # {', '.join(map(printable, graph.names_of(node)))}"


def attributes_text(node: Node) -> str:
    """`axes=(1,), keepdims=True`: the attributes, without those that the type shows."""
    hidden = () if node.operation.view is not None else _HIDDEN  # a view shows its arguments
    shown = {name: value for name, value in node.attributes.items() if name not in hidden}
    if node.operation is constant:
        return repr(shown["value"])
    return ", ".join(f"{name}={value_text(value)}" for name, value in shown.items())


def value_text(value: Any) -> str:
    """An attribute's value in short, stable text."""
    if isinstance(value, Initial):
        row = "" if value.zero_row is None else f", zero_row={value.zero_row}"
        return f"{value.kind}({value.scale:g}{row})"
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(value_text, value)) + ("," if len(value) == 1 else "") + ")"
    return printable(value if isinstance(value, str) else repr(value))
