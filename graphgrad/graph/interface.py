"""What a graph may be made of: nodes as outputs, updates that fit, leaves with names; and what its
inputs are fed by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph.leaves import STATEFUL, input, leaf_name
from graphgrad.graph.node import Node
from graphgrad.graph.scope import current_origin

Feeds = Mapping[str, np.ndarray]
"""Arrays by the full name of an input, a parameter or a state."""
Given = Mapping[str, Any] | Mapping[Node, Any] | Mapping[str | Node, Any]
"""Values for inputs, by their full names or by the inputs themselves."""


def is_data(node: Node) -> bool:
    """Whether the node is a leaf that holds a user's data."""
    return node.operation is input or node.operation in STATEFUL


def wanted_nodes(outputs: Node | Sequence[Node] | Mapping[str, Node]) -> list[Node]:
    """The nodes that are outputs; DeclarationError where one is none."""
    named: Mapping[Any, Any]
    if isinstance(outputs, Mapping):
        named = outputs
    elif isinstance(outputs, Node | str) or not isinstance(outputs, Iterable):
        named = {0: outputs}
    else:
        named = dict(enumerate(outputs))
    for name, node in named.items():
        _need_node(node, f"output {name!r}")
        if isinstance(outputs, Mapping) and not isinstance(name, str):
            raise DeclarationError(
                f"an output is called by a text, not by {name!r:.60}",
                current_origin(),
                "Graph({'y': node})",
            )
    return list(named.values())


def _need_node(item: object, what: str) -> None:
    if not isinstance(item, Node):
        raise DeclarationError(
            f"{what} is {type(item).__name__}, not a node",
            current_origin(),
            "make a node of a number or an array: constant(value)",
        )


def check_update(leaf: Node, node: Node) -> None:
    """An update gives a parameter or state a value of its own type."""
    _need_node(leaf, "what is updated")
    _need_node(node, f"the update of {leaf.name!r}")
    if leaf.operation not in STATEFUL:
        raise DeclarationError(
            f"{leaf.name!r} cannot be updated: it is {leaf.operation.name}, and only a parameter "
            "or a state has a next value",
            leaf.origin,
            "declare it with state() or parameter()",
        )
    if leaf.type != node.type:
        raise DeclarationError(
            f"the update of {leaf.name!r} is {node.type}; it must be {leaf.type} as that is",
            node.origin,
            "sum, reshape or cast the update",
        )


def check_leaf_names(nodes: Sequence[Node]) -> None:
    """No two inputs, parameters or states of one graph share a name."""
    known: dict[str, Node] = {}
    for node in nodes:
        if not node.heads and is_data(node):
            other = known.setdefault(leaf_name(node), node)
            if other is not node:
                raise DeclarationError(
                    f"two leaves of one graph are called {leaf_name(node)!r}",
                    f"{other.origin} and {node.origin}",
                    "give them different names, or declare them in different scopes",
                )


def named_inputs(known: Iterable[str], feeds: Given, inputs: dict[str, Any]) -> dict[str, Any]:
    """All inputs by name. A node stands for the name that it is fed by."""
    named = dict(inputs)
    for key, value in feeds.items():
        name = leaf_name(key) if isinstance(key, Node) and key.operation is input else key
        if not isinstance(name, str):
            raise UnknownNameError(
                f"{key!r:.80} is not an input", fix=f"it takes {', '.join(known) or 'none'}"
            )
        if name in named:
            raise DeclarationError(f"the input {name!r} is given twice", fix="give it once")
        named[name] = value
    return named
