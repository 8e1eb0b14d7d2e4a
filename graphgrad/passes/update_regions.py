"""Finds what an optimiser computes element by element for each parameter: the region of its update.

A region is what lies between the sum over ranks that is a parameter's gradient and its next value:

    Σ over ranks of δ_w,  moments,  w      the sources: of the shape of w
    next moments, next w                   element by element, with numbers that hold for all of w
    Σ over w of g², …                      whole sums, such as the norm of the gradient needs

What is in a region is read by the region, by whole sums and by updates, and by nothing else. So any
part of the elements of w can be updated without the others, once the sums are added up. No name and
no optimiser is asked for: what is computed otherwise (a product of a gradient, say) is in none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphgrad.graph import Graph, Node
from graphgrad.graph.leaves import parameter, state
from graphgrad.ops import all_reduce, broadcast_to
from graphgrad.ops import sum as total
from graphgrad.ops.collectives import SUM


@dataclass
class Region:
    """The region of one parameter."""

    leaf: Node
    """The parameter."""
    inside: dict[Node, None] = field(default_factory=dict)
    """What is computed element by element, in the order of the graph."""
    gradients: dict[Node, None] = field(default_factory=dict)
    """The sums over ranks that only the region reads."""
    states: dict[Node, None] = field(default_factory=dict)
    """The states that only the region reads, and gives their next value."""
    sums: dict[Node, None] = field(default_factory=dict)
    """The whole sums over something of it."""
    updates: dict[Node, Node] = field(default_factory=dict)
    """The next value of each leaf that the region computes, by leaf."""


def update_regions(graph: Graph) -> list[Region]:
    """The regions of a graph whose batch is split over ranks, in the order of its parameters."""
    found = _Regions(graph)
    order = {leaf: place for place, leaf in enumerate(graph.parameters.values())}
    return sorted(found.regions(), key=lambda region: order[region.leaf])


class _Regions:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs.values())
        self.next_values = set(graph.updates.values())
        self.inside: set[Node] = set()
        self.sources: set[Node] = set()
        for node in reversed(graph.nodes):
            if self._is_elementwise(node) and self._is_read_inside(node):
                self.inside.add(node)
            elif self._is_source(node) and self._is_read_inside(node):
                self.sources.add(node)
        self._above: dict[Node, Node] = {}

    def _is_elementwise(self, node: Node) -> bool:
        if not _has_elements(node) or node in self.outputs:
            return False
        if node.operation is broadcast_to:
            return node.heads[0].shape == ()
        shapes = {head.shape for head in node.heads}
        return bool(node.operation.kernel) and shapes <= {(), node.shape}

    def _is_source(self, node: Node) -> bool:
        if not _has_elements(node) or node in self.outputs or node in self.next_values:
            return False
        if node.operation is all_reduce:
            return node.attributes["kind"] == SUM and len(node.heads) == 1
        return node.operation is state and node in self.graph.updates and starts_at_zero(node)

    def _is_read_inside(self, node: Node) -> bool:
        """Whether all that reads a node is inside, a whole sum, or an update."""
        tails = self.graph.tails(node)
        read = all(tail in self.inside or is_whole_sum(tail) for tail in tails)
        return read and (bool(tails) or node in self.next_values)

    def regions(self) -> Iterator[Region]:
        """Those that give exactly one parameter its next value."""
        self._join_all()
        leaves: dict[Node, list[Node]] = {}
        for leaf, node in self.graph.updates.items():
            if leaf.operation is parameter and node in self.inside:
                leaves.setdefault(self._root(node), []).append(leaf)
        made = {root: Region(one) for root, (one, *more) in leaves.items() if not more}
        for node in self.graph.nodes:
            region = made.get(self._root(node))
            if region is not None:
                self._add(region, node)
        for leaf, node in self.graph.updates.items():
            region = made.get(self._root(node))
            if region is not None and node in self.inside:
                region.updates[leaf] = node
        for region in made.values():
            self._keep_known(region)
        yield from made.values()

    def _join_all(self) -> None:
        """Joins what reads each other, and a state with its next value."""
        for node in self.inside:
            for head in node.heads:
                if head in self.inside or head in self.sources:
                    self._join(node, head)
        for leaf, node in self.graph.updates.items():
            if leaf in self.sources and node in self.inside:
                self._join(leaf, node)

    def _add(self, region: Region, node: Node) -> None:
        if node in self.inside:
            region.inside[node] = None
        elif node.operation is all_reduce:
            region.gradients[node] = None
        elif node in self.sources:
            region.states[node] = None
        if node in self.inside or node in self.sources:
            region.sums.update(dict.fromkeys(filter(is_whole_sum, self.graph.tails(node))))

    def _keep_known(self, region: Region) -> None:
        """A state whose next value is computed elsewhere is read as a whole value."""
        for leaf in [leaf for leaf in region.states if leaf not in region.updates]:
            del region.states[leaf]

    def _root(self, node: Node) -> Node:
        while (above := self._above.get(node, node)) is not node:
            self._above[node] = self._above.get(above, above)
            node = above
        return node

    def _join(self, a: Node, b: Node) -> None:
        self._above[self._root(a)] = self._root(b)


def _has_elements(node: Node) -> bool:
    """Whether a value has a row of elements, of known number."""
    return bool(node.shape) and isinstance(node.type.size, int) and node.type.size > 0


def is_whole_sum(node: Node) -> bool:
    """Whether a node is the sum over all elements of its head."""
    return node.operation is total and node.shape == ()


def starts_at_zero(leaf: Node) -> bool:
    """Whether a state begins with zeros, whatever part of it is looked at."""
    initial = leaf.attributes["initial"]
    return bool(initial.kind == "constant" and initial.scale == 0)
