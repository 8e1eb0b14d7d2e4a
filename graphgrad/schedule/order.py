"""The order in which the nodes of a graph are computed.

First everything that the outputs need, in the graph's order (forward, then deltas), then the guards
have been checked, then the updates. So a step that finds a loss that is not finite leaves every
parameter and state as it was, and can be run again to find out why.

`eager_updates` is to bring what nothing but updates waits for as soon as its heads are there, so
that a weight's delta is taken up while it is still in cache. Today it moves nothing: behind the
guards every node leads to updates alone, so none comes before another. (Where the gradients' norm
is an output or clips them, all deltas have to be there first in any case.)
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
    """All nodes to be computed, in order, and the layout of every value.

    In `graph` a state that is returned, or becomes another state, is copied first.
    """

    graph: Graph
    order: tuple[Node, ...]
    before_guards: frozenset[Node]
    """The nodes that are computed before the guards are checked; no state is written by then."""
    guards: tuple[Node, ...]
    layouts: Layouts


def make_schedule(
    graph: Graph,
    guards: Sequence[Node] = (),
    options: Options = DEFAULTS,
) -> Schedule:
    """The schedule of a graph of known shapes. `guards` must be finite for the updates to happen.

    Without `options.eager_updates` the updates are left in the graph's order, behind everything
    else; without `product_layouts` products are not written in the order of their readers
    (layout.py).
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
    """A state (or a view of one) that is returned or becomes another state is copied first, so that
    no update can change it under the reader."""

    def safe(node: Node) -> Node:
        root = node
        while root.operation.view is not None:
            root = root.heads[0]
        return copy(node) if root.operation in STATEFUL and graph.updates else node

    outputs = {name: safe(node) for name, node in graph.outputs.items()}
    updates = {leaf: safe(node) for leaf, node in graph.updates.items()}
    return graph.changed(outputs, updates)


def _eager(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
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
