"""The order in which the steps of a program run.

First everything that the outputs need, in the graph's order (forward, then deltas), then the guards
have been checked, then the updates. So a step that finds a loss that is not finite leaves every
parameter and state as it was, and can be run again to find out why.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.graph import LEAVES, Graph, Node


def schedule(graph: Graph, guards: Sequence[Node] = ()) -> tuple[tuple[Node, ...], int]:
    """All nodes to be computed, in order, and how many of them come before the guards."""
    first = graph.ancestors([*graph.outputs.values(), *guards])
    nodes = [node for node in graph.nodes if node.operation not in LEAVES]
    before = [node for node in nodes if node in first]
    needed = graph.ancestors(graph.updates.values())
    after = [node for node in nodes if node not in first and node in needed]
    return (*before, *after), len(before)
