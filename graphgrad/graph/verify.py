"""Whether a graph is in order: what every pass promises, checked anew after each."""

from __future__ import annotations

from collections.abc import Container

from graphgrad.errors import PassError
from graphgrad.graph.graph import Graph
from graphgrad.graph.leaves import STATEFUL
from graphgrad.graph.node import Node


def verify(graph: Graph, stage: str = "the graph", known: Container[Node] = frozenset()) -> None:
    """Raises PassError, naming `stage`, unless heads come first, every operation has its arity,
    every type is what the operation infers anew, and updates keep the type of what they update.

    Nodes never change, so those `known` to be in order are not inferred again.
    """
    placed: set[Node] = set()
    for node in graph.nodes:
        for head in node.heads:
            if head not in placed:
                raise _broken(stage, graph, node, f"its head {head!r} does not come before it")
        placed.add(node)
        if node in known:
            continue
        arity = node.operation.arity
        if arity is not None and arity != len(node.heads):
            raise _broken(stage, graph, node, f"{len(node.heads)} heads instead of {arity}")
        try:
            inferred = node.operation.infer(*(head.type for head in node.heads), **node.attributes)
        except ValueError as problem:
            raise _broken(stage, graph, node, str(problem)) from None
        if inferred != node.type:
            raise _broken(stage, graph, node, f"its type is {node.type}, inferred is {inferred}")
    for leaf, node in graph.updates.items():
        if leaf.operation not in STATEFUL:
            raise _broken(stage, graph, leaf, "it is updated but is no parameter or state")
        if leaf.type != node.type:
            raise _broken(stage, graph, leaf, f"its update has another type, {node.type}")


def _broken(stage: str, graph: Graph, node: Node, reason: str) -> PassError:
    place = f"node {graph.name_of(node)!r} ({node.operation.name})"
    return PassError(
        f"{stage} is not in order at {place}: {reason}",
        str(node.origin or ""),
    )
