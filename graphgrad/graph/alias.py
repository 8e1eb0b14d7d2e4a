"""Gives a node a further name. No operation is added, so nothing more is computed or drawn."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.graph.node import Node
from graphgrad.graph.node_names import add_name
from graphgrad.graph.scope import current_origin, scoped


def alias(node: Node, name: str) -> Node:
    """Gives a node the further name `name`, prefixed by the current scope. Returns the node.

    Text and pictures show the most recent alias, since it was chosen for a value that had a name
    already. (Inputs, parameters and states are still listed by the name under which they are fed or
    stored; formulas call a parameter by its alias.) Names are read when a graph is created:
    existing graphs do not change.

    Raises DeclarationError if `node` is not a node or `name` is empty.

    >>> logits = gg.alias(gg.input("x", 3) * 2.0, "logits")
    >>> gg.Graph({"y": logits})["logits"]
    <logits = multiply : float32[3]>
    """
    if not isinstance(node, Node) or not isinstance(name, str) or not name:
        raise DeclarationError(
            f"alias takes a node and a name, not {type(node).__name__} and {name!r:.60}",
            current_origin(),
            'write alias(node, "name")',
        )
    add_name(node, scoped(name), first=bool(node.heads))
    return node
