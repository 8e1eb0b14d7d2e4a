"""Regions: which nodes one loop nest computes together.

A region has a space [rows, columns], the shape of the values it works on with all axes but the last
taken as rows. It holds elementwise nodes of that shape, reductions along a row with what is
computed from them once a row, and, as results only, sums over rows and over everything. A kernel
then walks the rows once and keeps a row in cache from its first use to its last.

Regions grow along the order of the graph: a node joins the open region of a head. What is neither
elementwise nor a row reduction (products, movement, indexing) stays alone.

What is cheaper to make again than to read belongs to every region that reads it, and to no memory:
dropout masks, which are made of numbers alone, and outer values, which are larger than anything
they are made of: rows and columns (the one-hot targets of a cross-entropy, say) or truth values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphgrad.graph import CONSTANT, Graph, Node
from graphgrad.ops.movement import BROADCAST_TO, RESHAPE
from graphgrad.ops.random import DROPOUT_MASK
from graphgrad.ops.reduction import MAX, MIN, SUM
from graphgrad.plan import Layouts

Sizes = tuple[int, ...]
FULL, ROW, COLUMN, TOTAL = "full", "row", "column", "total"


@dataclass(eq=False)
class Region:
    """Nodes that one kernel computes; `roles` says what each is in the space."""

    space: Sizes
    phase: int = 0
    roles: dict[Node, str] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.roles)


def role_in(node: Node, space: Sizes, layouts: Layouts, outer: Collection[Node] = ()) -> str | None:
    """What `node` would be if a region with this space computed it; None where it cannot.

    Values that are `outer` are computed again wherever they are read.
    """
    shape = node.type.sizes
    operation = node.operation
    row = (*space[:-1], 1)
    if operation in (SUM, MAX, MIN):
        if node.heads[0].type.sizes != space:
            return None
        axes, last = node.attributes["axes"], len(space) - 1
        if axes == (last,):
            return ROW
        if operation is SUM and node.type.is_float and axes == tuple(range(last)) and last:
            return COLUMN
        return TOTAL if operation is SUM and axes == tuple(range(last + 1)) and last else None
    if operation is RESHAPE:
        head = node.heads[0].type.sizes
        return ROW if {shape, head} <= {row, space[:-1]} and shape != head else None
    if not operation.kernel:
        return None
    if any(not _readable(head, space, layouts, outer) for head in node.heads):
        return None
    if shape == space:
        return FULL
    return ROW if shape == row else None


def _readable(head: Node, space: Sizes, layouts: Layouts, outer: Collection[Node]) -> bool:
    """Whether a kernel over this space can read the value row by row."""
    shape = head.type.sizes
    if len(shape) > len(space):
        return False
    if is_generator(head):
        return shape == space
    if head in outer:
        return shape == space and all(_readable(its, space, layouts, outer) for its in head.heads)
    if shape == space and head.operation is not BROADCAST_TO:
        return layouts.contiguous(head)
    aligned = (1,) * (len(space) - len(shape)) + shape
    while head.operation is BROADCAST_TO:
        head = head.heads[0]  # a kernel reads what was repeated
    fits = all(a in (1, b) for a, b in zip(aligned, space, strict=True))
    return fits and layouts.contiguous(head)


def find_regions(
    order: Sequence[Node], phases: Mapping[Node, int], layouts: Layouts, outer: Collection[Node]
) -> list[Region]:
    """The regions of the nodes, which are given in order; `phases` are never mixed in one."""
    finder = _Finder(layouts, outer)
    for node in order:
        finder.place(node, phases[node])
    return finder.regions()


def outer_values(graph: Graph, order: Sequence[Node]) -> set[Node]:
    """Elementwise values that take more bytes than anything they are made of (other outer values
    apart), and that only elementwise operations and sums of their own shape read."""
    kept = {*graph.outputs.values(), *graph.updates.values()}
    found: set[Node] = set()
    for node in order:
        if not node.operation.kernel or node in kept or not node.heads:
            continue
        made = all(head in found or head.type.nbytes < node.type.nbytes for head in node.heads)
        if made and all(_reads_alike(tail, node) for tail in graph.tails(node)):
            found.add(node)
    return found


def _reads_alike(tail: Node, node: Node) -> bool:
    if tail.operation in (SUM, MAX, MIN):
        return True
    return bool(tail.operation.kernel) and tail.shape == node.shape


class _Finder:
    """Walks the order once. A region is open until a node outside of it reads from it: so whoever
    reads from a region comes after all of it, and regions never wait for each other in a circle."""

    def __init__(self, layouts: Layouts, outer: Collection[Node]) -> None:
        self.layouts, self.outer = layouts, outer
        self.region_of: dict[Node, Region] = {}
        self.open: set[Region] = set()

    def regions(self) -> list[Region]:
        return list(dict.fromkeys(self.region_of.values()))

    def place(self, node: Node, phase: int) -> None:
        """Puts the node into a region, or leaves it alone and closes what it reads from."""
        if is_generator(node) or node in self.outer:
            return  # computed again in every region that reads it
        sources = list(self._sources(node))
        homes = dict.fromkeys(self.region_of[h] for h in sources if h in self.region_of)
        joined: Region | None = None
        for region in homes:
            if region not in self.open or region.phase != phase:
                continue
            if any(region.roles.get(head) in (COLUMN, TOTAL) for head in sources):
                continue
            role = role_in(node, region.space, self.layouts, self.outer)
            if role is None:
                continue
            if joined is None:
                joined = region
                self._add(node, region, role)
            elif region.space == joined.space:
                self._merge(region, joined, node)
        if joined is None:
            self._start(node, phase)
        for region in homes:
            if region is not self.region_of.get(node):
                self.open.discard(region)

    def _start(self, node: Node, phase: int) -> None:
        reduces = node.operation in (SUM, MAX, MIN)
        space = (node.heads[0] if reduces else node).type.sizes
        able = space and 0 not in space and node.operation is not RESHAPE
        role = role_in(node, space, self.layouts, self.outer) if able else None
        if role is not None:
            region = Region(space, phase)
            self.open.add(region)
            self._add(node, region, role)

    def _sources(self, node: Node) -> Iterator[Node]:
        """What the node reads, with the heads of outer values in their place."""
        for head in node.heads:
            if head in self.outer:
                yield from self._sources(head)
            else:
                yield head

    def _add(self, node: Node, region: Region, role: str) -> None:
        for head in node.heads:
            self._add_outer(head, region)
        region.roles[node] = role
        self.region_of[node] = region

    def _add_outer(self, node: Node, region: Region) -> None:
        if node in self.outer and node not in region.roles:
            for head in node.heads:
                self._add_outer(head, region)
            region.roles[node] = FULL

    def _merge(self, other: Region, into: Region, newest: Node) -> None:
        """Two open regions that one node reads become one, its nodes in a valid order."""
        roles = {**into.roles, **other.roles, newest: into.roles[newest]}
        both = [n for n in (*into.roles, *other.roles) if n is not newest and n not in self.outer]
        into.roles.clear()
        for node in (*both, newest):
            self._add(node, into, roles[node])
        self.open.discard(other)


def is_generator(node: Node) -> bool:
    """A value made of nothing but numbers, cheaper to make again than to read."""
    return node.operation is DROPOUT_MASK


def is_inlined(node: Node) -> bool:
    """A constant of one element is written into the kernel's text."""
    return node.operation is CONSTANT and node.attributes["value"].array.size == 1
