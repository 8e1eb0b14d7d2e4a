"""Names of the nodes of a graph: those it is given, and those they were declared with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from graphgrad.graph.deltas import Derivation, sent_name
from graphgrad.graph.node import Node
from graphgrad.graph.node_names import has_default_name
from graphgrad.graph.order import own_nodes


def all_names(
    nodes: Sequence[Node],
    given: Mapping[str, Node],
    retired: Collection[str],
    derivations: Sequence[Derivation],
) -> dict[str, Node]:
    """The given names, and for every node without one the names it was declared with.

    Where two nodes were declared with the same name, or one with a name that is retired, the later
    one gets a number.
    """
    names = dict(given)
    named = set(given.values())
    unnamed = [node for node in nodes if node not in named]
    borrowed = _borrowed_names(nodes, given, derivations) if unnamed else {}
    numbers: dict[str, int] = {}  # the last number given to each name, so that none is tried twice
    for node in unnamed:
        for name in borrowed.get(node, node.names):
            free = name
            while free in names or free in retired:
                numbers[name] = numbers.get(name, 0) + 1
                free = f"{name}_{numbers[name]}"
            names[free] = node
    return names


def _borrowed_names(
    nodes: Sequence[Node], given: Mapping[str, Node], derivations: Sequence[Derivation]
) -> dict[Node, tuple[str, ...]]:
    """Names for what is shared and has none of its own: in the scope of its first tail, whatever
    model declared it first. So a graph has the same names in every process."""
    own = own_nodes(nodes)
    shown = {name_of: name for name, name_of in reversed(list(given.items()))}
    heads: dict[str, str] | None = None
    names: dict[Node, tuple[str, ...]] = {}
    first_tail: dict[Node, Node] = {}
    for node in reversed(nodes):
        if node not in own and node not in shown and has_default_name(node):
            tail, near = first_tail.get(node), ""
            if tail is not None:
                near = shown.get(tail) or names.get(tail, tail.names)[0]
                if heads is None:
                    heads = _heads_of_contributions(derivations)
            scope = heads[near] if heads and near in heads else near.rpartition(".")[0]
            names[node] = (f"{scope}.{node.operation.name}" if scope else node.operation.name,)
        first_tail.update(dict.fromkeys(node.heads, node))
    return names


def _heads_of_contributions(derivations: Iterable[Derivation]) -> dict[str, str]:
    """The name of each contribution -> that of the node whose delta it is part of."""
    return {
        sent_name(name, sent.name, each.label): name
        for each in derivations
        for delta in each.script.deltas
        for name in delta.names
        for sent in delta.sent
    }
