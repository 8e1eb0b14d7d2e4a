"""The order of a graph's nodes: heads before tails, as they were declared, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from graphgrad.graph.interface import is_data
from graphgrad.graph.node import Node


def topological(order: Iterable[Node], roots: Iterable[Node]) -> tuple[Node, ...]:
    """All nodes that the roots need, heads before tails, as near to `order` as that allows.

    Nodes outside `order` come in the order of their declaration, just before they are needed.
    """
    preferred = dict.fromkeys(order)
    extra = [node for node in dict.fromkeys(roots) if node not in preferred]
    placed = _heads_first([*preferred, *sorted(extra, key=_serial)])
    if preferred:
        return tuple(placed)
    # what is shared stands where it is first needed, so that a model which declared it earlier
    # cannot change the order of this one
    return tuple(_heads_first([*sorted(own_nodes(placed), key=_serial), *placed]))


def _heads_first(roots: Iterable[Node]) -> dict[Node, None]:
    placed: dict[Node, None] = {}
    for root in roots:
        for head in root.heads:
            if head not in placed:
                break
        else:  # as everywhere in an order that was valid before
            placed[root] = None
            continue
        stack = [root]
        while stack:
            node = stack[-1]
            missing = [head for head in node.heads if head not in placed]
            if missing:
                stack.extend(reversed(missing))
            else:
                placed[stack.pop()] = None
    return placed


def own_nodes(nodes: Iterable[Node]) -> set[Node]:
    """The nodes (given heads first) that a user's data flows into; all others, made of numbers
    only, are shared by all models that are alive."""
    own: set[Node] = set()
    for node in nodes:
        if not own.isdisjoint(node.heads) or is_data(node):
            own.add(node)
    return own


def _serial(node: Node) -> int:
    return node.serial
