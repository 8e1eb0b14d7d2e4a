"""Verifies the invariants of a graph, after every pass."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from graphgrad.errors import DeclarationError, PassError
from graphgrad.graph.graph import Graph
from graphgrad.graph.leaves import STATEFUL
from graphgrad.graph.node import Node
from graphgrad.graph.scope import current_origin


def need_graph(value: object, what: str) -> None:
    """Raises DeclarationError if the argument of the function `what` is not a graph."""
    if not isinstance(value, Graph):
        raise DeclarationError(
            f"{what} takes a graph, not {type(value).__name__}",
            current_origin(),
            "make a graph of the nodes that you want as outputs: Graph({'y': y})",
        )


@dataclass
class Verified:
    """Nodes and types that have been verified before. Nodes are immutable, and an operation infers
    equal types from equal types and attributes, so neither is verified again."""

    nodes: set[Node] = field(default_factory=set)
    inferred: set[Hashable] = field(default_factory=set)


def verify(graph: Graph, stage: str = "the graph", known: Verified | None = None) -> None:
    """Raises PassError, naming `stage`, if the graph breaks an invariant.

    The invariants: heads precede tails, every operation has its arity, every type is the one that
    the operation infers, and every update has the type of its parameter or state. Nodes and types
    in `known` are not verified again, and those verified here are added to it.

    >>> gg.verify(gg.Graph({"y": gg.tanh(gg.input("x", 3))}))
    """
    known = known or Verified()
    seen: set[Node] = set()
    for node in graph.nodes:
        if not seen.issuperset(node.heads):
            head = next(head for head in node.heads if head not in seen)
            raise _broken(stage, graph, node, f"its head {head!r} does not come before it")
        seen.add(node)
        if node in known.nodes:
            continue
        head_types = [head.type for head in node.heads]
        inference = node.operation, node.attribute_key, node.type, *head_types
        if inference not in known.inferred:
            _verify_type(stage, graph, node)
            known.inferred.add(inference)
    known.nodes |= seen
    for leaf, node in graph.updates.items():
        if leaf.operation not in STATEFUL:
            raise _broken(stage, graph, leaf, "it is updated but is not a parameter or state")
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
    where = f"node {graph.name_of(node)!r} ({node.operation.name})"
    return PassError(f"{stage} is not in order at {where}: {reason}", node.origin)
