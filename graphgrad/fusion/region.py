"""Finds regions: nodes that one loop nest computes together.

A region has a space [rows, columns]: the shape of its values, where all axes but the last count as
rows. It contains elementwise nodes of that shape, reductions along a row with the values that are
computed from them once a row, and, as results only, sums over rows and sums of everything. A kernel
then walks the rows once and keeps a row in cache from its first use to its last.

Regions grow along the order of the graph: a node joins the open region of a head, if a kernel can
read all its heads (reading.py). Other operations (products, movement, indexing) are computed alone.
A region of `LARGEST` nodes, or one that reads `MOST_READ` values of its own size, takes no more:
LLVM's time grows with the square of a kernel, and all values that a kernel reads are alive when it
starts.

Values that are faster to compute again than to read belong to every region that reads them, and are
not stored: dropout masks, which are generated from numbers alone, and values that are larger than
their heads, made of rows and columns (the one-hot targets of a cross-entropy, for example) or of
booleans. Computed again, by another kernel or by NumPy, a float may be rounded differently. If that
could change the result of a comparison, it is stored in memory: see `rematerialised_values`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from graphgrad import ops
from graphgrad.fusion.reading import (
    Role,
    Sizes,
    broadcast_source,
    is_generator,
    is_inlined,
    is_readable,
)
from graphgrad.fusion.slow import fits_a_kernel
from graphgrad.graph import Graph, Node
from graphgrad.ops.arithmetic import equal, less, less_equal, not_equal, sign
from graphgrad.ops.movement import reshape
from graphgrad.schedule import Layouts, Schedule

LARGEST = 64
"""The most nodes of a region; those of a Transformer's training step have up to 26."""
MOST_READ = 16
"""The most values of the region's own size that its kernel reads."""
REDUCTIONS = (ops.sum, ops.max, ops.min)
COMPARISONS = frozenset({equal, not_equal, less, less_equal, sign, ops.max, ops.min})
"""Operations that jump if their heads are equal, or whose delta compares for equality: their heads
must have the same bits wherever they are read."""


@dataclass(eq=False)
class Region:
    """Nodes that one kernel computes, with the role of each in the space."""

    space: Sizes
    before_guards: bool = True
    roles: dict[Node, Role] = field(default_factory=dict)
    read: dict[Node, None] = field(default_factory=dict)
    """The values of the size of the space that are read from memory."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.roles)


def role_of(
    node: Node, region: Region, layouts: Layouts, rematerialised: Collection[Node] = ()
) -> Role | None:
    """The role of `node` if the region computed it; None if it cannot.

    Values that are `rematerialised` are computed again wherever they are read.
    """
    space, roles = region.space, region.roles
    if (
        node.operation is reshape
    ):  # of a value with one number a row: with and without the axis of size 1
        shapes = {node.type.sizes, node.heads[0].type.sizes}
        per_row = roles.get(node.heads[0]) == Role.ROW
        return Role.ROW if per_row and shapes == {(*space[:-1], 1), space[:-1]} else None
    role = _reduction_role(node, region) if node.operation in REDUCTIONS else None
    if fits_a_kernel(node) and node.type.sizes == space:
        role = Role.FULL
    elif node.operation.kernel and node.type.sizes == (*space[:-1], 1) != space:
        role = Role.ROW
    if role is None or not all(
        is_readable(h, space, roles, layouts, rematerialised) for h in node.heads
    ):
        return None
    return role


def _reduction_role(node: Node, region: Region) -> Role | None:
    """The role of a sum, maximum or minimum; None if the region cannot compute it."""
    head, space = node.heads[0], region.space
    if head.type.sizes != space or region.roles.get(head) == Role.ROW:
        return None  # in a row of one element, the head is not complete while the loop runs
    axes, last = node.attributes["axes"], len(space) - 1
    if axes == (last,):
        return Role.ROW
    if node.operation is ops.sum and node.type.is_float and axes == tuple(range(last)) and last:
        return Role.COLUMN
    return (
        Role.TOTAL
        if node.operation is ops.sum and axes == tuple(range(last + 1)) and last
        else None
    )


def find_regions(schedule: Schedule, rematerialised: Collection[Node]) -> list[Region]:
    """The regions of a schedule; the nodes of one are all before the guards or all after."""
    builder = _RegionBuilder(schedule.layouts, rematerialised)
    for node in schedule.order:
        builder.add(node, node in schedule.before_guards)
    return builder.regions()


def rematerialised_values(graph: Graph, order: Sequence[Node]) -> set[Node]:
    """The values that every kernel computes again: elementwise values that take more bytes than
    each of their heads (except heads that are such values) and that are read only by elementwise
    operations of their shape and by reductions.

    A float is not among them if a comparison reads it, directly or through elementwise operations:
    the delta of a maximum would be lost if x, computed again, were not equal to max x.
    """
    kept = {*graph.outputs.values(), *graph.updates.values()} | _compared(graph, order)
    found: set[Node] = set()
    for node in order:
        if not fits_a_kernel(node) or node in kept or not node.heads:
            continue
        made = all(head in found or head.type.nbytes < node.type.nbytes for head in node.heads)
        if made and all(reads_alike(tail, node) for tail in graph.tails(node)):
            found.add(node)
    return found


def _compared(graph: Graph, order: Sequence[Node]) -> set[Node]:
    """The floats on whose bits a comparison depends."""
    found: set[Node] = set()
    for node in reversed(order):
        for tail in graph.tails(node) if node.type.is_float else ():
            jumps = tail.operation in COMPARISONS or not tail.type.is_float
            if jumps or (tail in found and tail.operation.kernel):
                found.add(node)
                break
    return found


def reads_alike(tail: Node, node: Node) -> bool:
    """Whether a tail reads the node as a kernel of its shape does."""
    if tail.operation in REDUCTIONS:
        return True
    return fits_a_kernel(tail) and tail.shape == node.shape


class _RegionBuilder:
    """Walks the order once. A region is open until a node outside of it reads from it: so the
    readers of a region come after all of its nodes, and regions never depend on each other in a
    circle."""

    def __init__(self, layouts: Layouts, rematerialised: Collection[Node]) -> None:
        self.layouts, self.rematerialised = layouts, rematerialised
        self.region_of: dict[Node, Region] = {}
        self.open: set[Region] = set()

    def regions(self) -> list[Region]:
        """The regions, in the order in which they were started."""
        return list(dict.fromkeys(self.region_of.values()))

    def add(self, node: Node, before_guards: bool) -> None:
        """Adds the node to a region or leaves it alone; closes the other regions that it reads
        from."""
        if is_generator(node) or node in self.rematerialised:
            return  # computed again in every region that reads it
        sources = list(self._sources(node))
        candidates = dict.fromkeys(self.region_of[h] for h in sources if h in self.region_of)
        joined: Region | None = None
        for region in candidates:
            if region not in self.open or region.before_guards != before_guards:
                continue
            if any(region.roles.get(head) in (Role.COLUMN, Role.TOTAL) for head in sources):
                continue
            role = role_of(node, region, self.layouts, self.rematerialised)
            if role is None or not _has_room(region, node, joined):
                continue
            if joined is None:
                joined = region
                self._join(node, region, role)
            elif region.space == joined.space:
                self._merge(region, joined, node)
        if joined is None:
            self._start(node, before_guards)
        for region in candidates:
            if region is not self.region_of.get(node):
                self.open.discard(region)

    def _start(self, node: Node, before_guards: bool) -> None:
        reduces = node.operation in REDUCTIONS
        space = (node.heads[0] if reduces else node).type.sizes
        if not space or 0 in space:
            return
        region = Region(space, before_guards)
        role = role_of(node, region, self.layouts, self.rematerialised)
        if role is not None:
            self.open.add(region)
            self._join(node, region, role)

    def _sources(self, node: Node) -> Iterator[Node]:
        """The values that the node reads; in place of one that is computed again, its heads."""
        for head in node.heads:
            source = broadcast_source(head)
            if head in self.rematerialised:
                yield from self._sources(head)
            elif is_generator(source):
                yield from self._sources(source)  # its seed may be computed, too
            else:
                yield head

    def _join(self, node: Node, region: Region, role: Role) -> None:
        for head in node.heads:
            self._add_rematerialised(head, region)
        region.roles[node] = role
        region.read.update(dict.fromkeys(_values_read(node, region)))
        self.region_of[node] = region

    def _add_rematerialised(self, node: Node, region: Region) -> None:
        if node in self.rematerialised and node not in region.roles:
            for head in node.heads:
                self._add_rematerialised(head, region)
            region.roles[node] = Role.FULL
            region.read.update(dict.fromkeys(_values_read(node, region)))

    def _merge(self, other: Region, into: Region, newest: Node) -> None:
        """Merges two open regions that one node reads, with the nodes in a valid order."""
        roles = {**into.roles, **other.roles, newest: into.roles[newest]}
        both = [
            n
            for n in (*into.roles, *other.roles)
            if n is not newest and n not in self.rematerialised
        ]
        into.roles.clear()
        into.read.clear()
        for node in (*both, newest):
            self._join(node, into, roles[node])
        self.open.discard(other)


def _values_read(node: Node, region: Region) -> list[Node]:
    """The values of the size of the region that the node reads from memory."""
    return [
        head
        for head in node.heads
        if head.type.sizes == region.space and head not in region.roles and not is_inlined(head)
    ]


def _has_room(region: Region, node: Node, joined: Region | None) -> bool:
    """Whether the region has room for the node, and for the region that the node has joined."""
    nodes, read = len(region.roles) + 1, {*region.read, *_values_read(node, region)}
    if joined is not None:
        nodes, read = nodes + len(joined.roles), (read | joined.read.keys()) - joined.roles.keys()
    return nodes <= LARGEST and len(read) <= MOST_READ
