"""Classifies nodes as forward, delta or update, and finds nodes by name or pattern.

After `derive` one graph holds the forward nodes, their deltas and perhaps the updates of an
optimiser. The part of a node follows from the records of `derive` and from the edges of the graph,
never from the name of a node, an operation or a scope:

    forward   the ancestors of nodes that have a delta, and all nodes of neither other part
    delta     the ancestors of deltas and contributions that are not forward
    update    the other ancestors of updates, and all other descendants of deltas
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Literal

from graphgrad.errors import UnknownNameError
from graphgrad.graph import DELTA, Graph, Node
from graphgrad.graph.deltas import Owner
from graphgrad.text import did_you_mean

Part = Literal["forward", "delta", "update"]

_WILD = frozenset("*?[")


def parts_of(graph: Graph) -> dict[Node, Part]:
    """The part that each node of the graph belongs to."""
    first = [each for each in graph.derivations if each.label == DELTA]
    forward = graph.ancestors(node for each in first for node in each.of_node)
    backward = graph.ancestors(value for each in first for value in each.values()) - forward
    updating = graph.ancestors(graph.updates.values()) | graph.descendants(backward)
    updating -= forward
    parts: dict[Node, Part] = {}
    for node in graph.nodes:
        if node in backward:
            parts[node] = "delta"
        else:
            parts[node] = "update" if node in updating else "forward"
    return parts


def owner_of(graph: Graph, node: Node, parts: Mapping[Node, Part]) -> Owner | None:
    """The forward node that a node of another part belongs to: as its delta, as a contribution to
    that, or as an intermediate node of its rule or its sum. None for a forward node.

    Intermediate nodes that a pass has added are in the scope of such a node and have its owner.
    """
    seen: set[Node] = set()
    first: Owner | None = None
    while parts[node] != "forward" and node not in seen:
        seen.add(node)
        owner = _next_owner(graph, node)
        if owner is None:
            return None
        first = first or owner
        node = owner.node
        first = first._replace(node=node, name=owner.name, scope=first.scope or owner.scope)
    return first


def _next_owner(graph: Graph, node: Node) -> Owner | None:
    for derivation in graph.derivations:
        if node in derivation.owners:
            return derivation.owners[node]
    scope = graph.name_of(node).rpartition(".")[0]
    around = graph.names.get(scope)
    return None if around is None else Owner(around, scope, "", "")


def matching(graph: Graph, patterns: Iterable[str], among: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes that match names or patterns with `*` and `?`, in the order of the graph.

    An exact name finds its node anywhere in the graph; a pattern only chooses from `among`. Raises
    UnknownNameError for a name or pattern without a match.
    """
    candidates = [(node, graph.names_of(node)) for node in among]
    chosen: set[Node] = set()
    for pattern in patterns:
        if pattern in graph.names or not _WILD & set(pattern):
            chosen.add(graph[pattern])
            continue
        found = [
            node
            for node, names in candidates
            if any(fnmatch.fnmatchcase(name, pattern) for name in names)
        ]
        if not found:
            known = [name for _, names in candidates for name in names]
            raise UnknownNameError(
                f"no node has a name like {pattern!r}",
                fix=did_you_mean(pattern, known, "print the graph to see its names", 3)
                + "; * stands for any text, ? for one character",
            )
        chosen.update(found)
    return tuple(node for node in graph.nodes if node in chosen)
