"""Groups parameters whose updates are the same computation, so that they are updated as one array.

Two regions (`update_regions.py`) are the same computation where the same operations read the same
numbers and, in the same places, what is of the parameter itself: its gradient, its states, other
values of its shape. A parameter that decays and one that does not are in different groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphgrad.graph import Graph, Node
from graphgrad.graph.attribute_key import attribute_key
from graphgrad.passes.update_regions import Region, update_regions

Entry = tuple[object, ...]
"""What a node of a region is, in words that are equal for regions of the same computation."""


@dataclass
class Bucket:
    """Parameters that are updated together. The nodes of their regions are listed in one order, so
    that a place in it is one value of the bucket."""

    regions: list[Region]
    nodes: list[list[Node]]
    """Those of each region, heads before tails."""
    entries: list[Entry]
    """What the node at each place is; then the updates and whole sums of a region."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of elements of the parameters."""
        return tuple(math.prod(region.leaf.type.sizes) for region in self.regions)


def _described(graph: Graph, region: Region) -> tuple[list[Node], list[Entry]]:
    """The nodes of a region, heads before tails, and an entry for each of them."""
    places: dict[Node, int] = {}
    entries: list[Entry] = []
    sums = [node.heads[0] for node in region.sums]
    roots = [*(region.updates[leaf] for leaf in region.updates), *sums, *region.states]
    for node in _in_depth(region, roots):
        places[node] = len(entries)
        entries.append(_entry(region, node, places))
    updates = [
        ("update", places[node], leaf is region.leaf, leaf in region.states, places.get(leaf))
        for leaf, node in region.updates.items()
    ]
    return list(places), [*entries, *updates, *(("sum", places[head]) for head in sums)]


def _in_depth(region: Region, roots: Iterable[Node]) -> Iterable[Node]:
    """What the roots are computed from within the region, heads first, each once."""
    seen: set[Node] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node in region.inside:
                stack += [(head, False) for head in reversed(node.heads) if head.shape]


def _entry(region: Region, node: Node, places: Mapping[Node, int]) -> Entry:
    if node in region.gradients:
        return ("gradient", node.dtype)
    if node in region.states:
        return ("state", node.dtype)
    if node not in region.inside:
        return ("whole", node.dtype)
    heads = tuple(places.get(head, head) if head.shape else head for head in node.heads)
    attributes = {name: value for name, value in node.attributes.items() if name != "shape"}
    return ("operation", node.operation, attribute_key(attributes), heads)


def update_buckets(graph: Graph, bucket_bytes: int) -> list[Bucket]:
    """The regions of a graph by their computation, in the order of the parameters; no further one
    is added to a bucket of so many bytes."""
    found: list[Bucket] = []
    last: dict[tuple[Entry, ...], Bucket] = {}
    for region in update_regions(graph):
        nodes, entries = _described(graph, region)
        bucket = last.get(tuple(entries))
        if bucket is None or sum(r.leaf.type.nbytes for r in bucket.regions) >= bucket_bytes:
            bucket = last[tuple(entries)] = Bucket([], [], entries)
            found.append(bucket)
        bucket.regions.append(region)
        bucket.nodes.append(nodes)
    return found
