"""Orders the nodes of a graph: heads before tails, by declaration, equal in every process."""

from __future__ import annotations

from collections.abc import Iterable

from graphgrad.graph.interface import is_data
from graphgrad.graph.node import Node


def topological(order: Iterable[Node], roots: Iterable[Node]) -> tuple[Node, ...]:
    """The roots and all their ancestors, heads before tails, otherwise in the order of `order`.

    Nodes that are not in `order` are placed by declaration, just before their first tail.
    """
    preferred = dict.fromkeys(order)
    extra = [node for node in dict.fromkeys(roots) if node not in preferred]
    ordered = _heads_first([*preferred, *sorted(extra, key=_serial)])
    if preferred:
        return tuple(ordered)
    # shared nodes are placed before their first tail, so that a model which declared them earlier
    # cannot change the order of this one
    return tuple(_heads_first([*sorted(own_nodes(ordered), key=_serial), *ordered]))


def _heads_first(roots: Iterable[Node]) -> dict[Node, None]:
    ordered: dict[Node, None] = {}
    for root in roots:
        for head in root.heads:
            if head not in ordered:
                break
        else:  # always the case in an order that was valid before
            ordered[root] = None
            continue
        stack = [root]
        while stack:
            node = stack[-1]
            missing = [head for head in node.heads if head not in ordered]
            if missing:
                stack.extend(reversed(missing))
            else:
                ordered[stack.pop()] = None
    return ordered


def own_nodes(nodes: Iterable[Node]) -> set[Node]:
    """The nodes (given heads first) that depend on a user's data.

    All others are computed from constants only and shared by all models of the process.
    """
    own: set[Node] = set()
    for node in nodes:
        if not own.isdisjoint(node.heads) or is_data(node):
            own.add(node)
    return own


def _serial(node: Node) -> int:
    return node.serial
