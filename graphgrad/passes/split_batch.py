"""Splits the batch of a graph over ranks: each runs the same graph on its part of the examples.

A value with the dimension `batch` in its shape is a part: that of the rank's examples. One without
it is equal on all ranks, unless a sum over the batch has made it: then each rank has its term of a
sum over ranks. Such partial sums are carried through what is linear (sums and differences of them,
products with values that are equal everywhere, other shapes), and are added up where something
else reads them:

    δ of w = xᵀ δ_a            is a partial sum: xᵀ and δ_a are parts
    all_reduce(δ of w)         what the optimiser reads, once for all contributions to it

So the split graph computes what the graph computes on the whole batch, whatever its loss divides
by, its norms are of and its metrics count; nothing is averaged by assumption. An operation that
mixes examples in another way (a softmax along the batch, say) is refused by its name.

The sums over ranks that need no other one before them are joined, in one array for each dtype (a
bucket) of at most `bucket_bytes`, and all of them are ordered, so that ranks meet them alike.

    >>> import graphgrad as gg
    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 1))
    >>> loss = gg.sum((x @ w) ** 2.0) / gg.extent(gg.dimension("batch"))
    >>> step = gg.sgd(gg.Graph({"loss": loss}), 0.1)
    >>> [node.operation.name for node in gg.split_batch(step) if "reduce" in node.operation.name]
    ['all_reduce', 'all_reduce']
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Graph, Node, Operation, declared_at, extent
from graphgrad.graph.dimension import named, product, quotient
from graphgrad.graph.leaves import STATEFUL, input
from graphgrad.graph.node import with_heads
from graphgrad.graph.types import INT64, Shape
from graphgrad.ops import (
    add,
    all_reduce,
    broadcast_to,
    divide,
    dropout_mask,
    half_squared_error,
    matmul,
    mean,
    multiply,
    negative,
    reshape,
    scatter_add,
    subtract,
    transpose,
)
from graphgrad.ops import max as largest
from graphgrad.ops import min as least
from graphgrad.ops import sum as total
from graphgrad.ops.collectives import MAX, MIN, SUM, sum_of_lower_ranks
from graphgrad.ops.random import dropout_mask_of_part
from graphgrad.passes.half_deltas import HALF, half_deltas
from graphgrad.passes.order_collectives import in_order
from graphgrad.passes.prune import prune
from graphgrad.passes.rows import TWO_AXES, inner_axis, need_pairs, need_rows

BATCH = "batch"
"""The dimension that counts examples, where nothing else is said."""

REDUCTIONS: dict[Operation, str] = {total: SUM, half_squared_error: SUM, largest: MAX, least: MIN}
"""What becomes of them over a batch is reduced over the ranks."""
LINEAR = (negative, reshape, transpose, total)
"""Of partial sums they are partial sums."""


def split_batch(
    graph: Graph,
    dimension: str = BATCH,
    bucket_bytes: int | None = None,
    delta_dtype: str | None = None,
) -> Graph:
    """The graph that each rank runs on its part of the batch, for `compile(…, communicator=…)`.

    `dimension` is the name of the size that counts examples, `bucket_bytes` the size of the arrays
    that are added up at once (default: an eighth of all, between 256 KiB and 16 MiB). What is added
    up are nodes of the operation `all_reduce`. With the `delta_dtype` "bfloat16" the deltas of
    parameters of float32 are sent so, and added up in float32.

    Raises DeclarationError, with the node and its line, where an operation mixes examples in a way
    that no sum over ranks expresses.

    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 1), 0.5)
    >>> step = gg.sgd(gg.Graph({"loss": gg.sum((x @ w) ** 2.0)}), 0.1)
    >>> print(*(node.type for node in gg.split_batch(step) if node.operation is gg.all_reduce))
    float32[3]
    """
    return in_order(parts_of_batch(graph, dimension, delta_dtype), bucket_bytes)


def parts_of_batch(graph: Graph, dimension: str = BATCH, delta_dtype: str | None = None) -> Graph:
    """The split graph, whose sums over ranks have neither buckets nor an order yet."""
    if delta_dtype not in (None, HALF):
        raise DeclarationError(
            f"deltas are sent as they are or as {HALF}, not as {delta_dtype}",
            fix=f"delta_dtype={HALF!r}, or leave it out",
        )
    if delta_dtype is not None:
        return half_deltas(prune(_split(graph, dimension)))
    return _split(graph, dimension)


def _split(graph: Graph, dimension: str) -> Graph:
    tried = _Splitter(graph, dimension)
    tried.walk()
    splitter = _Splitter(graph, dimension, tried.read_whole())
    splitter.walk()
    return splitter.result()


class _Splitter:
    """Walks through a graph, from heads to tails.

    `added_up` are nodes whose partial sum is added up for all that reads it. A first walk finds
    them: where one reader needs the sum, the others take it too, so that it is sent once.
    """

    def __init__(self, graph: Graph, dimension: str, added_up: Collection[Node] = ()) -> None:
        self.graph, self.dimension, self.added_up = graph, dimension, added_up
        self.parts: dict[Node, Node] = {}
        """What each node has become: a part, a value equal on all ranks, or a partial sum."""
        self.partial: dict[Node, str] = {}
        """The new nodes that are partial, and by what they are reduced."""
        self.reduced: dict[Node, Node] = {}
        self.first: Node | None = None

    def walk(self) -> None:
        """Finds what each node becomes."""
        for old in self.graph.nodes:
            with declared_at(self.graph.name_of(old), old.origin):
                try:
                    self.parts[old] = self.part_of(old)
                except ValueError as problem:
                    raise DeclarationError(
                        f"node {self.graph.name_of(old)!r} ({old.operation.name}) cannot be split "
                        f"over ranks along {self.dimension!r}: {problem}",
                        old.origin,
                        "compute it for each example by itself, or train on one rank",
                    ) from None

    def read_whole(self) -> set[Node]:
        """The partial sums that an output, an update or another node reads as their sum."""
        roots = {*self.graph.outputs.values(), *self.graph.updates.values()}
        return {
            old
            for old, new in self.parts.items()
            if new in self.partial
            and (
                old in roots
                or any(self.parts[tail] not in self.partial for tail in self.graph.tails(old))
            )
        }

    def result(self) -> Graph:
        """The graph of parts."""
        made = {old: self.read(old) for old in self.parts}
        return self.graph.replace_nodes({old: new for old, new in made.items() if old is not new})

    def read(self, old: Node) -> Node:
        """What a tail reads for a node."""
        new = self.parts[old]
        return self.whole(new) if old in self.added_up else new

    def whole(self, node: Node) -> Node:
        """The value, added up if it is a partial sum."""
        if node not in self.partial:
            return node
        if node not in self.reduced:
            self.reduced[node] = all_reduce.node(node, kind=self.partial[node], number=-1)
        return self.reduced[node]

    def part_of(self, old: Node) -> Node:
        """The node of a rank for a node of the graph."""
        axis = self.axis_of(old.shape)
        if not old.heads:
            return self.leaf(old, axis)
        heads = tuple(map(self.read, old.heads))
        partial = self.linear(old, heads)
        if partial is not None:
            return partial
        heads = tuple(map(self.whole, heads))
        axes = [self.axis_of(head.shape) for head in heads]
        if old.operation is dropout_mask:
            return old if axis is None else self.mask(old, heads)
        if all(each is None for each in axes):
            if axis is not None and old.operation is not broadcast_to:
                raise ValueError("it has a value for each example, and no head has")
            return with_heads(old, heads)
        if axis is None:
            return self.reduction(old, heads, axes)
        new = with_heads(old, heads)
        need_rows(new, axes, axis)
        return new

    def leaf(self, old: Node, axis: int | None) -> Node:
        if old.operation is extent:
            if self.dimension in _names(old.attributes["size"]):
                _need_linear(old.attributes["size"], self.dimension)
                return self.summed(old)
            return old
        if axis is not None and old.operation is not input:
            what = "a state" if old.operation in STATEFUL else "a value that counts examples"
            raise ValueError(f"{what} with this dimension differs from rank to rank")
        return old

    def linear(self, old: Node, heads: Sequence[Node]) -> Node | None:
        """The partial sum that a linear operation makes of partial sums, or None."""
        sums = [self.partial.get(head) == SUM for head in heads]
        equal = [head not in self.partial and self.axis_of(head.shape) is None for head in heads]
        match old.operation:
            case operation if operation in LINEAR:
                kept = sums[0]
            case operation if operation in (add, subtract):
                kept = all(sums)
            case operation if operation is multiply:
                kept = (sums[0] and equal[1]) or (equal[0] and sums[1])
            case operation if operation is divide:
                kept = sums[0] and equal[1]
            case _:
                kept = False
        return self.summed(with_heads(old, tuple(heads))) if kept else None

    def summed(self, node: Node, kind: str = SUM) -> Node:
        """Notes that a node is a term of a sum over ranks."""
        self.partial[node] = kind
        return node

    def reduction(self, old: Node, heads: tuple[Node, ...], axes: Sequence[int | None]) -> Node:
        """What the parts of the batch are reduced to, of which the ranks have a term each."""
        operation, first = old.operation, axes[0]
        if operation is mean and first in old.attributes["axes"]:
            return self.mean(old, heads[0])
        if operation in REDUCTIONS:
            need_pairs(heads, axes)
            return self.summed(with_heads(old, heads), REDUCTIONS[operation])
        inner = operation is matmul and axes == [inner_axis(old, side) for side in (0, 1)]
        if inner or (operation is scatter_add and None not in axes):
            return self.summed(with_heads(old, heads))
        raise ValueError("it combines the examples of the batch otherwise than by a sum")

    def mean(self, old: Node, x: Node) -> Node:
        """A mean as the sum over all examples, divided by their number."""
        axes = old.attributes["axes"]
        added = self.summed(total.node(x, axes=axes, keepdims=old.attributes["keepdims"]))
        size = product(x.shape[axis] for axis in axes)
        _need_linear(size, self.dimension)
        count = self.summed(extent(size, x.dtype))
        return divide(self.whole(added), self.whole(count))

    def mask(self, old: Node, heads: tuple[Node, ...]) -> Node:
        """The part of a dropout mask that belongs to the rank's examples."""
        if self.axis_of(old.shape) != 0:
            raise ValueError("its mask has the examples along another axis than the first")
        if self.first is None:
            rows = extent(named(self.dimension), INT64)
            self.first = sum_of_lower_ranks.node(rows, number=-1)
        each = quotient(product(old.shape), named(self.dimension))
        return dropout_mask_of_part.node(*heads, self.first, each=each, **old.attributes)

    def axis_of(self, shape: Shape) -> int | None:
        """The axis that counts examples; raises ValueError where there are two."""
        found = [
            axis
            for axis, size in enumerate(shape)
            if isinstance(size, Dimension) and self.dimension in _names(size)
        ]
        if len(found) > 1:
            raise ValueError(TWO_AXES)
        for axis in found:
            _need_linear(shape[axis], self.dimension)
        return found[0] if found else None


def _names(size: int | Dimension) -> set[str]:
    return set() if isinstance(size, int) else {name for term, _ in size.terms for name in term}


def _need_linear(size: int | Dimension, name: str) -> None:
    """Raises ValueError unless a size is a number of elements for each example."""
    assert isinstance(size, Dimension)
    if any(term.count(name) != 1 for term, _ in size.terms):
        raise ValueError(f"the size {size} is not proportional to {name!r}")
