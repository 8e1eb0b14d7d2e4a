"""The names that a node was declared with, and what a message calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphgrad.graph.arrays import Literal
from graphgrad.graph.scope import scoped

if TYPE_CHECKING:
    from graphgrad.graph.node import Node


def add_name(node: Node, full_name: str, first: bool = False) -> None:
    """Lets `node` answer to one more name; a default name gives way to a chosen one.

    A graph shows a node by the first of its names: the one it was declared with, or with `first`
    this one.
    """
    if full_name in node.names and not first:
        return
    known = () if has_default_name(node) else node.names
    others = tuple(name for name in known if name != full_name)
    node.names = (full_name, *others) if first else (*others, full_name)


def also_called(node: Node, name: str | None) -> Node:
    """The node itself, where a function has nothing to do but to give it the name asked for."""
    if name is not None:
        add_name(node, scoped(name))
    return node


def has_default_name(node: Node) -> bool:
    """Whether nobody chose a name: it is called by its operation."""
    return len(node.names) == 1 and node.names[0].rpartition(".")[2] == node.operation.name


def shown_name(node: Node) -> str:
    """What a message calls the node: its names, the value of a constant. The default name of what
    is made of numbers only may come from another model and is given without its scope."""
    value = node.attributes.get("value")
    if isinstance(value, Literal):
        return repr(value)
    if has_default_name(node) and not _holds_data(node):
        return node.operation.name
    return ", ".join(node.names[:3])


def _holds_data(node: Node) -> bool:
    """Whether anything that a user declared as its own flows into the node."""
    seen, stack = {node}, [node]
    while stack:
        node = stack.pop()
        if "declaration" in node.attributes:
            return True
        stack += [head for head in node.heads if head not in seen]
        seen.update(node.heads)
    return False
