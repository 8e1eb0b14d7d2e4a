"""A further name for a value: no operation, so nothing is computed and nothing is drawn for it."""

from __future__ import annotations

from graphgrad.errors import DeclarationError
from graphgrad.graph.node import Node
from graphgrad.graph.node_names import add_name
from graphgrad.graph.scope import current_origin, scoped


def alias(node: Node, name: str) -> Node:
    """Lets a node answer to `name`, in the current scope, as well as to the names that it has.

        logits = alias(dense(x, 10), "logits")        # graph["logits"] is graph["dense.a"]

    The name that was given last this way is the one that texts and pictures show, as somebody chose
    it for a value that had a name already. Inputs, parameters and states are still shown by the
    name that they are fed and kept under. Returns the node itself. Names are read when a graph is
    made: graphs that exist already do not change. Raises DeclarationError where `node` is no node
    or `name` is empty.
    """
    if not isinstance(node, Node) or not isinstance(name, str) or not name:
        raise DeclarationError(
            f"alias takes a node and a name, not {type(node).__name__} and {name!r:.60}",
            current_origin(),
            'write alias(node, "name")',
        )
    add_name(node, scoped(name), first=bool(node.heads))
    return node
