"""The names that a node was declared with, and what a message calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from graphgrad.errors import DeclarationError
from graphgrad.graph.arrays import Literal
from graphgrad.graph.block import Block
from graphgrad.graph.scope import current_origin, scoped
from graphgrad.graph.types import TensorType


class Named(Protocol):
    """What is read of a node here; `Node` itself stands above."""

    names: tuple[str, ...]
    type: TensorType
    attributes: Mapping[str, Any]

    @property
    def operation(self) -> Block: ...

    @property
    def heads(self) -> Iterable[Named]: ...


AnyNode = TypeVar("AnyNode", bound=Named)


def add_name(node: Named, full_name: str, first: bool = False) -> None:
    """Lets `node` answer to one more name; a default name gives way to a chosen one.

    A graph shows a node by the first of its names: the one it was declared with, or with `first`
    this one.
    """
    if full_name in node.names and not first:
        return
    known = () if has_default_name(node) else node.names
    others = tuple(name for name in known if name != full_name)
    node.names = (full_name, *others) if first else (*others, full_name)


def also_called(node: AnyNode, name: str | None) -> AnyNode:
    """The node itself, where a function has nothing to do but to give it the name asked for."""
    if name is not None:
        add_name(node, scoped(name))
    return node


def has_default_name(node: Named) -> bool:
    """Whether nobody chose a name: it is called by its operation."""
    return len(node.names) == 1 and node.names[0].rpartition(".")[2] == node.operation.name


def shown_name(node: Named) -> str:
    """What a message calls the node: its names, the value of a constant. The default name of what
    is made of numbers only may come from another model and is given without its scope."""
    value = node.attributes.get("value")
    if isinstance(value, Literal):
        return repr(value)
    if has_default_name(node) and not _holds_data(node):
        return node.operation.name
    return ", ".join(node.names[:3])


def _holds_data(node: Named) -> bool:
    """Whether anything that a user declared as its own flows into the node."""
    seen: set[Named] = {node}
    stack = [node]
    while stack:
        node = stack.pop()
        if "declaration" in node.attributes:
            return True
        stack += [head for head in node.heads if head not in seen]
        seen.update(node.heads)
    return False


def refused(what: str, heads: Iterable[Named], problem: ValueError) -> DeclarationError:
    """The error for what a shape rule or a check of arguments refuses with a ValueError."""
    shown = ", ".join(f"{shown_name(head)}: {head.type}" for head in heads)
    reason, _, fix = str(problem).partition("; fix: ")
    return DeclarationError(f"{what}({shown}): {reason}", current_origin(), fix)
