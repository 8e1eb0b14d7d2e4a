"""The order in which the steps of a program run.

First everything that the outputs need, in the graph's order (forward, then deltas), then the guards
have been checked, then the updates. So a step that finds a loss that is not finite leaves every
parameter and state as it was, and can be run again to find out why.

What nothing but updates is waiting for comes as soon as its heads are there: the delta of a weight
is taken up by the optimiser while it is still in cache, and its memory is free for the next one.
(Where the gradients' norm is an output or clips them, they all have to be there first.)
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.graph import LEAVES, Graph, Node


def schedule(
    graph: Graph, guards: Sequence[Node] = (), soon: bool = True
) -> tuple[tuple[Node, ...], int]:
    """All nodes to be computed, in order, and how many of them come before the guards.

    `soon=False` leaves the updates in the graph's order, behind everything else.
    """
    first = graph.ancestors([*graph.outputs.values(), *guards])
    nodes = [node for node in graph.nodes if node.operation not in LEAVES]
    before = [node for node in nodes if node in first]
    needed = graph.ancestors(graph.updates.values())
    after = [node for node in nodes if node not in first and node in needed]
    return (*before, *(_soon(graph, after) if soon else after)), len(before)


def _soon(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The nodes in a valid order: those that only updates wait for behind their last head."""
    inside, updated = set(nodes), set(graph.updates.values())
    waiting: set[Node] = set()
    for node in reversed(nodes):
        tails = [tail for tail in graph.tails(node) if tail in inside]
        if all(tail in waiting for tail in tails) and (tails or node in updated):
            waiting.add(node)
    place: dict[Node, int] = {}
    for number, node in enumerate(nodes):
        heads = [place[head] for head in node.heads if head in inside]
        place[node] = max(heads, default=-1) if node in waiting else number
    return sorted(nodes, key=place.__getitem__)
