"""Regions: which nodes one loop nest computes together.

A region has a space [rows, columns], the shape of the values it works on with all axes but the last
taken as rows. It holds elementwise nodes of that shape, reductions along a row with what is
computed from them once a row, and, as results only, sums over rows and over everything. A kernel
then walks the rows once and keeps a row in cache from its first use to its last.

Regions grow along the order of the graph: a node joins the open region of a head, if a kernel can
read all its heads (reading.py). What is neither elementwise nor a row reduction (products,
movement, indexing) stays alone. A region that has grown to `LARGEST` nodes or reads `MOST_READ`
values of its own size takes in no more: LLVM's time grows with the square of a kernel, and every
value that a kernel reads has to be alive when it starts.

What is cheaper to make again than to read belongs to every region that reads it, and to no memory:
dropout masks, which are made of numbers alone, and values that are larger than anything they are
made of: rows and columns (the one-hot targets of a cross-entropy, say) or truth values. Made again,
a float may be rounded otherwise (by another kernel, by NumPy). Where that could turn a comparison,
it is kept in memory: see `rematerialised_values`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from graphgrad import ops
from graphgrad.fusion.reading import (
    COLUMN,
    FULL,
    ROW,
    TOTAL,
    Sizes,
    is_generator,
    is_inlined,
    readable,
    unrepeated,
)
from graphgrad.fusion.slow import fits_a_kernel
from graphgrad.graph import Graph, Node
from graphgrad.ops.arithmetic import equal, less, less_equal, not_equal, sign
from graphgrad.ops.movement import reshape
from graphgrad.schedule import Layouts, Schedule

LARGEST = 64
"""Nodes of a region; those of a Transformer's training step have up to 26."""
MOST_READ = 16
"""Values of a region's own size that its kernel reads."""
REDUCTIONS = (ops.sum, ops.max, ops.min)
COMPARISONS = frozenset({equal, not_equal, less, less_equal, sign, ops.max, ops.min})
"""What jumps where its heads are equal, or is compared for equality by its delta: a value that they
read must have the same bits wherever it is read."""


@dataclass(eq=False)
class Region:
    """Nodes that one kernel computes; `roles` says what each is in the space."""

    space: Sizes
    before_guards: bool = True
    roles: dict[Node, str] = field(default_factory=dict)
    read: dict[Node, None] = field(default_factory=dict)
    """The values of the size of the space that are not computed here."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self.roles)


def role_in(
    node: Node, region: Region, layouts: Layouts, rematerialised: Collection[Node] = ()
) -> str | None:
    """What `node` would be if the region computed it; None where it cannot.

    Values that are `rematerialised` are computed again wherever they are read.
    """
    space, roles = region.space, region.roles
    if node.operation is reshape:  # with and without the axis of size 1, once a row
        shapes = {node.type.sizes, node.heads[0].type.sizes}
        per_row = roles.get(node.heads[0]) == ROW
        return ROW if per_row and shapes == {(*space[:-1], 1), space[:-1]} else None
    role = _reduction_role(node, region) if node.operation in REDUCTIONS else None
    if fits_a_kernel(node) and node.type.sizes == space:
        role = FULL
    elif node.operation.kernel and node.type.sizes == (*space[:-1], 1) != space:
        role = ROW
    if role is None or not all(
        readable(h, space, roles, layouts, rematerialised) for h in node.heads
    ):
        return None
    return role


def _reduction_role(node: Node, region: Region) -> str | None:
    """What a sum, maximum or minimum would be."""
    head, space = node.heads[0], region.space
    if head.type.sizes != space or region.roles.get(head) == ROW:
        return None  # a row of one element is not there yet when the loop runs
    axes, last = node.attributes["axes"], len(space) - 1
    if axes == (last,):
        return ROW
    if node.operation is ops.sum and node.type.is_float and axes == tuple(range(last)) and last:
        return COLUMN
    return TOTAL if node.operation is ops.sum and axes == tuple(range(last + 1)) and last else None


def find_regions(schedule: Schedule, rematerialised: Collection[Node]) -> list[Region]:
    """The regions of what is computed; none has nodes from before the guards and from after."""
    finder = _Finder(schedule.layouts, rematerialised)
    for node in schedule.order:
        finder.place(node, node in schedule.before_guards)
    return finder.regions()


def rematerialised_values(graph: Graph, order: Sequence[Node]) -> set[Node]:
    """Elementwise values that take more bytes than anything they are made of (other such values
    apart), and that only elementwise operations and sums of their own shape read.

    A float that a comparison reads, itself or by way of elementwise operations, is none of them:
    the delta of a maximum is lost where x, made again, is no longer equal to max x.
    """
    kept = {*graph.outputs.values(), *graph.updates.values()} | _compared(graph, order)
    found: set[Node] = set()
    for node in order:
        if not fits_a_kernel(node) or node in kept or not node.heads:
            continue
        made = all(head in found or head.type.nbytes < node.type.nbytes for head in node.heads)
        if made and all(_reads_alike(tail, node) for tail in graph.tails(node)):
            found.add(node)
    return found


def _compared(graph: Graph, order: Sequence[Node]) -> set[Node]:
    """The floats whose bits a comparison depends on."""
    found: set[Node] = set()
    for node in reversed(order):
        for tail in graph.tails(node) if node.type.is_float else ():
            jumps = tail.operation in COMPARISONS or not tail.type.is_float
            if jumps or (tail in found and tail.operation.kernel):
                found.add(node)
                break
    return found


def _reads_alike(tail: Node, node: Node) -> bool:
    if tail.operation in REDUCTIONS:
        return True
    return fits_a_kernel(tail) and tail.shape == node.shape


class _Finder:
    """Walks the order once. A region is open until a node outside of it reads from it: so whoever
    reads from a region comes after all of it, and regions never wait for each other in a circle."""

    def __init__(self, layouts: Layouts, rematerialised: Collection[Node]) -> None:
        self.layouts, self.rematerialised = layouts, rematerialised
        self.region_of: dict[Node, Region] = {}
        self.open: set[Region] = set()

    def regions(self) -> list[Region]:
        return list(dict.fromkeys(self.region_of.values()))

    def place(self, node: Node, before_guards: bool) -> None:
        """Puts the node into a region, or leaves it alone and closes what it reads from."""
        if is_generator(node) or node in self.rematerialised:
            return  # computed again in every region that reads it
        sources = list(self._sources(node))
        homes = dict.fromkeys(self.region_of[h] for h in sources if h in self.region_of)
        joined: Region | None = None
        for region in homes:
            if region not in self.open or region.before_guards != before_guards:
                continue
            if any(region.roles.get(head) in (COLUMN, TOTAL) for head in sources):
                continue
            role = role_in(node, region, self.layouts, self.rematerialised)
            if role is None or not _has_room(region, node, joined):
                continue
            if joined is None:
                joined = region
                self._add(node, region, role)
            elif region.space == joined.space:
                self._merge(region, joined, node)
        if joined is None:
            self._start(node, before_guards)
        for region in homes:
            if region is not self.region_of.get(node):
                self.open.discard(region)

    def _start(self, node: Node, before_guards: bool) -> None:
        reduces = node.operation in REDUCTIONS
        space = (node.heads[0] if reduces else node).type.sizes
        if not space or 0 in space:
            return
        region = Region(space, before_guards)
        role = role_in(node, region, self.layouts, self.rematerialised)
        if role is not None:
            self.open.add(region)
            self._add(node, region, role)

    def _sources(self, node: Node) -> Iterator[Node]:
        """What the node reads, with the heads of what is made again in their place."""
        for head in node.heads:
            made = unrepeated(head)
            if head in self.rematerialised:
                yield from self._sources(head)
            elif is_generator(made):
                yield from self._sources(made)  # its seed may have been computed, too
            else:
                yield head

    def _add(self, node: Node, region: Region, role: str) -> None:
        for head in node.heads:
            self._add_rematerialised(head, region)
        region.roles[node] = role
        region.read.update(dict.fromkeys(_read_by(node, region)))
        self.region_of[node] = region

    def _add_rematerialised(self, node: Node, region: Region) -> None:
        if node in self.rematerialised and node not in region.roles:
            for head in node.heads:
                self._add_rematerialised(head, region)
            region.roles[node] = FULL
            region.read.update(dict.fromkeys(_read_by(node, region)))

    def _merge(self, other: Region, into: Region, newest: Node) -> None:
        """Two open regions that one node reads become one, its nodes in a valid order."""
        roles = {**into.roles, **other.roles, newest: into.roles[newest]}
        both = [
            n
            for n in (*into.roles, *other.roles)
            if n is not newest and n not in self.rematerialised
        ]
        into.roles.clear()
        into.read.clear()
        for node in (*both, newest):
            self._add(node, into, roles[node])
        self.open.discard(other)


def _read_by(node: Node, region: Region) -> list[Node]:
    """The values of the size of the region that the node reads from memory."""
    return [
        head
        for head in node.heads
        if head.type.sizes == region.space and head not in region.roles and not is_inlined(head)
    ]


def _has_room(region: Region, node: Node, joined: Region | None) -> bool:
    """Whether the region can take the node in, with the region that the node has joined before."""
    nodes, read = len(region.roles) + 1, {*region.read, *_read_by(node, region)}
    if joined is not None:
        nodes, read = nodes + len(joined.roles), (read | joined.read.keys()) - joined.roles.keys()
    return nodes <= LARGEST and len(read) <= MOST_READ
