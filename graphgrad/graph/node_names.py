"""The names of a node, and its name in error messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from graphgrad.errors import DeclarationError
from graphgrad.graph.arrays import Literal
from graphgrad.graph.block import Block
from graphgrad.graph.scope import current_origin, scoped
from graphgrad.graph.types import TensorType


class Named(Protocol):
    """The attributes of a node that are used here; `Node` is in a higher module."""

    names: tuple[str, ...]
    type: TensorType
    attributes: Mapping[str, Any]

    @property
    def operation(self) -> Block: ...

    @property
    def heads(self) -> Iterable[Named]: ...


AnyNode = TypeVar("AnyNode", bound=Named)


def add_name(node: Named, full_name: str, first: bool = False) -> None:
    """Adds a name to a node; a default name is replaced.

    A graph shows a node by its first name, which is the one it was declared with, or with `first`
    the new one.
    """
    if full_name in node.names and not first:
        return
    known = () if has_default_name(node) else node.names
    others = tuple(name for name in known if name != full_name)
    node.names = (full_name, *others) if first else (*others, full_name)


def also_called(node: AnyNode, name: str | None) -> AnyNode:
    """The node itself, with a further name if one is given."""
    if name is not None:
        add_name(node, scoped(name))
    return node


def has_default_name(node: Named) -> bool:
    """Whether the node has no chosen name, only that of its operation."""
    return len(node.names) == 1 and node.names[0].rpartition(".")[2] == node.operation.name


def shown_name(node: Named) -> str:
    """The node's name in a message: its names, or the value of a constant.

    A node computed from constants only may have been declared by another model, so its default name
    is shown without the scope.
    """
    value = node.attributes.get("value")
    if isinstance(value, Literal):
        return repr(value)
    if has_default_name(node) and not _holds_data(node):
        return node.operation.name
    return ", ".join(node.names[:3])


def _holds_data(node: Named) -> bool:
    """Whether the node depends on an input, parameter or state."""
    seen: set[Named] = {node}
    stack = [node]
    while stack:
        node = stack.pop()
        if "declaration" in node.attributes:
            return True
        stack += [head for head in node.heads if head not in seen]
        seen.update(node.heads)
    return False


def declaration_error(what: str, heads: Iterable[Named], problem: ValueError) -> DeclarationError:
    """The error for a ValueError of a shape rule or of a check of arguments."""
    shown = ", ".join(f"{shown_name(head)}: {head.type}" for head in heads)
    reason, _, fix = str(problem).partition("; fix: ")
    return DeclarationError(f"{what}({shown}): {reason}", current_origin(), fix)
