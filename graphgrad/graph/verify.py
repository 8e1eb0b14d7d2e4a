"""Whether a graph is in order: what every pass promises, checked anew after each."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from graphgrad.errors import DeclarationError, PassError
from graphgrad.graph.graph import Graph
from graphgrad.graph.leaves import STATEFUL
from graphgrad.graph.node import Node
from graphgrad.graph.scope import current_origin


def need_graph(value: object, what: str) -> None:
    """DeclarationError where the function called `what` is given something else."""
    if not isinstance(value, Graph):
        raise DeclarationError(
            f"{what} takes a graph, not {type(value).__name__}",
            current_origin(),
            "give it the nodes that you want as outputs: Graph({'y': y})",
        )


@dataclass
class Verified:
    """What was found in order before. Nodes never change, and an operation infers one type from
    equal types and attributes, so neither is looked at again."""

    nodes: set[Node] = field(default_factory=set)
    inferred: set[Hashable] = field(default_factory=set)


def verify(graph: Graph, stage: str = "the graph", known: Verified | None = None) -> None:
    """Raises PassError, naming `stage`, unless heads come first, every operation has its arity,
    every type is what the operation infers anew, and updates keep the type of what they update.

    What is `known` to be in order is not inferred again; what is found in order is added to it.
    """
    known = known or Verified()
    placed: set[Node] = set()
    for node in graph.nodes:
        if not placed.issuperset(node.heads):
            head = next(head for head in node.heads if head not in placed)
            raise _broken(stage, graph, node, f"its head {head!r} does not come before it")
        placed.add(node)
        if node in known.nodes:
            continue
        head_types = [head.type for head in node.heads]
        inference = node.operation, node.attribute_key, node.type, *head_types
        if inference not in known.inferred:
            _verify_type(stage, graph, node)
            known.inferred.add(inference)
    known.nodes |= placed
    for leaf, node in graph.updates.items():
        if leaf.operation not in STATEFUL:
            raise _broken(stage, graph, leaf, "it is updated but is no parameter or state")
        if leaf.type != node.type:
            raise _broken(stage, graph, leaf, f"its update has another type, {node.type}")


def _verify_type(stage: str, graph: Graph, node: Node) -> None:
    arity = node.operation.arity
    if arity is not None and arity != len(node.heads):
        raise _broken(stage, graph, node, f"{len(node.heads)} heads instead of {arity}")
    try:
        inferred = node.operation.infer(*[head.type for head in node.heads], **node.attributes)
    except ValueError as problem:
        raise _broken(stage, graph, node, str(problem)) from None
    if inferred != node.type:
        raise _broken(stage, graph, node, f"its type is {node.type}, inferred is {inferred}")


def _broken(stage: str, graph: Graph, node: Node, reason: str) -> PassError:
    place = f"node {graph.name_of(node)!r} ({node.operation.name})"
    return PassError(
        f"{stage} is not in order at {place}: {reason}",
        node.origin,
    )
