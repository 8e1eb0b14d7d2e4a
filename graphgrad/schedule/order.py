"""Orders the computations of a graph.

First everything that the outputs depend on, in the order of the graph (forward, then deltas); then
the guards are checked; then the updates. So a step whose loss is not finite leaves every parameter
and state unchanged, and can be run again to find the cause.

`eager_updates` computes nodes that only updates depend on as soon as their heads are computed, so
that a weight's delta is read while it is still in cache. Today it changes nothing: after the guards
all nodes lead to updates alone, so none is moved before another. (If the norm of the gradients is
an output or clips them, all deltas are computed before it in any case.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.graph import LEAVES, STATEFUL, Graph, Node
from graphgrad.ops.movement import copy
from graphgrad.options import DEFAULTS, Options
from graphgrad.schedule.layout import Layouts, find_layouts


@dataclass(frozen=True, eq=False)
class Schedule:
    """All nodes that are computed, in order, and the layout of every value.

    In `graph`, a state that is an output or the next value of another state is copied.
    """

    graph: Graph
    order: tuple[Node, ...]
    before_guards: frozenset[Node]
    """The nodes that are computed before the guards are checked; none of them writes a state."""
    guards: tuple[Node, ...]
    layouts: Layouts


def make_schedule(
    graph: Graph,
    guards: Sequence[Node] = (),
    options: Options = DEFAULTS,
) -> Schedule:
    """The schedule of a graph of known shapes. The updates are done only if `guards` are finite.

    Without `options.eager_updates` the updates follow everything else, in the order of the graph;
    without `product_layouts` products are not written in the order of their readers (layout.py).
    """
    graph = _with_snapshots(graph)
    first = graph.ancestors([*graph.outputs.values(), *guards])
    nodes = [node for node in graph.nodes if node.operation not in LEAVES]
    before = [node for node in nodes if node in first]
    needed = graph.ancestors(graph.updates.values())
    after = [node for node in nodes if node not in first and node in needed]
    order = (*before, *(_eager(graph, after) if options.eager_updates else after))
    layouts = find_layouts(graph, options.product_layouts)
    return Schedule(graph, order, frozenset(before), tuple(guards), layouts)


def _with_snapshots(graph: Graph) -> Graph:
    """Copies each state, or view of one, that is an output or the next value of another state, so
    that no update changes it before it is read."""

    def safe(node: Node) -> Node:
        root = node
        while root.operation.view is not None:
            root = root.heads[0]
        return copy(node) if root.operation in STATEFUL and graph.updates else node

    outputs = {name: safe(node) for name, node in graph.outputs.items()}
    updates = {leaf: safe(node) for leaf, node in graph.updates.items()}
    return graph.changed(outputs, updates)


def _eager(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The nodes in a valid order: those that only updates depend on follow their last head."""
    inside, updated = set(nodes), set(graph.updates.values())
    for_updates: set[Node] = set()
    for node in reversed(nodes):
        tails = [tail for tail in graph.tails(node) if tail in inside]
        if all(tail in for_updates for tail in tails) and (tails or node in updated):
            for_updates.add(node)
    position: dict[Node, int] = {}
    for number, node in enumerate(nodes):
        heads = [position[head] for head in node.heads if head in inside]
        position[node] = max(heads, default=-1) if node in for_updates else number
    return sorted(nodes, key=position.__getitem__)
