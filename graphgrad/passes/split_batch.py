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
    >>> from graphgrad.passes.split_batch import split_batch
    >>> x, w = gg.input("x", ("batch", 2)), gg.parameter("w", (2, 1))
    >>> loss = gg.sum((x @ w) ** 2.0) / gg.extent(gg.dimension("batch"))
    >>> step = gg.sgd(gg.Graph({"loss": loss}), 0.1)
    >>> [node.operation.name for node in split_batch(step) if "reduce" in node.operation.name]
    ['all_reduce', 'all_reduce']
"""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.errors import DeclarationError
from graphgrad.graph import Dimension, Graph, Node, Operation, declared_at, extent
from graphgrad.graph.dimension import named, product, quotient
from graphgrad.graph.leaves import STATEFUL, input
from graphgrad.graph.node import with_heads
from graphgrad.graph.types import INT64, Shape
from graphgrad.ops import (
    add,
    all_reduce,
    argmax,
    broadcast_to,
    concatenate,
    cross_entropy,
    divide,
    dot_product_attention,
    dropout_mask,
    gather,
    half_squared_error,
    log_softmax,
    logsumexp,
    matmul,
    mean,
    multiply,
    negative,
    put_along_axis,
    reshape,
    scatter_add,
    softmax,
    standardise,
    subtract,
    sum_of_lower_ranks,
    take_along_axis,
    transpose,
    variance,
)
from graphgrad.ops import max as largest
from graphgrad.ops import min as least
from graphgrad.ops import slice as window
from graphgrad.ops import sum as total
from graphgrad.ops.collectives import MAX, MIN, SUM
from graphgrad.ops.indexing import checked
from graphgrad.ops.movement import copy
from graphgrad.ops.random import dropout_mask_of_part
from graphgrad.ops.slices import unslice
from graphgrad.passes.order_collectives import BUCKET_BYTES, in_order

BATCH = "batch"

REDUCTIONS: dict[Operation, str] = {total: SUM, half_squared_error: SUM, largest: MAX, least: MIN}
"""What becomes of them over a batch is reduced over the ranks."""
BY_AXES = (total, mean, variance, logsumexp, largest, least)
BY_AXIS = (softmax, log_softmax, argmax, take_along_axis, put_along_axis, concatenate)
"""Operations with the attributes `axes` and `axis`, along which they mix elements."""
LAST_AXIS = (standardise, cross_entropy)
"""They mix the elements of the last axis of the first head."""
LINEAR = (negative, reshape, transpose, total)
"""Of partial sums they are partial sums."""


def split_batch(
    graph: Graph, dimension: str = BATCH, bucket_bytes: int = BUCKET_BYTES
) -> Graph:
    """The graph that each rank runs on its part of the batch.

    Raises DeclarationError, with the node and its line, where an operation mixes examples in a way
    that no sum over ranks expresses.
    """
    return in_order(_Splitter(graph, dimension).split(), bucket_bytes)


class _Splitter:
    """Walks through a graph, from heads to tails."""

    def __init__(self, graph: Graph, dimension: str) -> None:
        self.graph, self.dimension = graph, dimension
        self.parts: dict[Node, Node] = {}
        """What each node has become: a part, a value equal on all ranks, or a partial sum."""
        self.partial: dict[Node, str] = {}
        """The new nodes that are partial, and by what they are reduced."""
        self.reduced: dict[Node, Node] = {}
        self.first: Node | None = None

    def split(self) -> Graph:
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
        read = {*self.graph.outputs.values(), *self.graph.updates.values()}
        replacement = {
            old: self.whole(new) if old in read else self.reduced.get(new, new)
            for old, new in self.parts.items()
        }
        return self.graph.replace_nodes({a: b for a, b in replacement.items() if a is not b})

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
        heads = tuple(self.parts[head] for head in old.heads)
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
        self.need_rows(old, heads, axes, axis)
        return with_heads(old, heads)

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
        """The partial sum that a linear operation makes of partial sums; None where it makes none."""
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
            for head, axis in zip(heads, axes, strict=True):
                if axis is None and self.axis_of(old.shape) is None and operation not in BY_AXES:
                    raise ValueError(f"{head.type} is added up on each rank again")
            return self.summed(with_heads(old, heads), REDUCTIONS[operation])
        if operation is matmul and None not in axes:
            if first == _inner(old, 0) and axes[1] == _inner(old, 1):
                return self.summed(with_heads(old, heads))
        if operation is scatter_add and None not in axes:
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
            self.first = sum_of_lower_ranks(extent(named(self.dimension), INT64))
        each = quotient(product(old.shape), named(self.dimension))
        return dropout_mask_of_part.node(*heads, self.first, each=each, **old.attributes)

    def need_rows(
        self, old: Node, heads: Sequence[Node], axes: Sequence[int | None], axis: int
    ) -> None:
        """Raises ValueError unless each example of the result depends on that example alone."""
        operation, attributes, (first, *others) = old.operation, old.attributes, axes
        if operation.kernel or operation is copy:  # element by element, aligned at the last axis
            for head, its in zip(heads, axes, strict=True):
                if its is not None and its - len(head.shape) != axis - len(old.shape):
                    raise ValueError("two axes of it count examples")
        elif operation is reshape:
            before = product(heads[0].shape[:first])
            if before != product(old.shape[:axis]):
                raise ValueError("the examples do not stay together in the new shape")
        elif operation is transpose or operation is checked:
            pass
        elif operation is broadcast_to:
            assert first is not None
            if first - len(heads[0].shape) != axis - len(old.shape):
                raise ValueError("two axes of it count examples")
        elif operation in BY_AXES:
            if first in attributes["axes"]:
                raise ValueError("it is reduced along the examples, and has them still")
        elif operation in BY_AXIS:
            mixed = attributes["axis"] % len(heads[0].shape)
            if mixed in axes or len({*axes} - {None}) != 1:
                raise ValueError("it mixes the elements along the axis of the examples")
        elif operation in LAST_AXIS:
            if first == len(heads[0].shape) - 1 or first is None:
                raise ValueError("it mixes the elements along the axis of the examples")
        elif operation in (window, unslice):
            if attributes["starts"][axis] != 0 or attributes["steps"][axis] != 1 or (
                heads[0].shape[axis] != old.shape[axis]
            ):
                raise ValueError("it takes some of the examples")
        elif operation is gather:
            if first is not None:
                raise ValueError("it looks up rows of other examples")
        elif operation is matmul:
            _need_product_of_rows(old, axes, axis)
        elif operation is dot_product_attention and len({*axes[:3]}) == 1 and axis == 0:
            pass
        else:
            raise ValueError("how it treats the examples of a batch is not known")

    def axis_of(self, shape: Shape) -> int | None:
        """The axis that counts examples; raises ValueError where there are two."""
        found = [
            axis
            for axis, size in enumerate(shape)
            if isinstance(size, Dimension) and self.dimension in _names(size)
        ]
        if len(found) > 1:
            raise ValueError("two axes of it count examples")
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


def _inner(product_node: Node, side: int) -> int:
    """The axis of a head of a matrix product that is summed over."""
    transposed = product_node.attributes["transpose_b" if side else "transpose_a"]
    return len(product_node.heads[side].shape) - (1 if bool(side) == transposed else 2)


def _need_product_of_rows(node: Node, axes: Sequence[int | None], axis: int) -> None:
    """Raises ValueError if a matrix product adds up examples, or pairs them with each other."""
    for side, its in enumerate(axes):
        if its is not None and its == _inner(node, side):
            raise ValueError("it adds up examples")
    rank = len(node.shape)
    aligned = {its - len(node.heads[side].shape) for side, its in enumerate(axes) if its is not None}
    batches = {each for each in aligned if each < -2}
    if (axis < rank - 2) != bool(batches) or len(batches) > 1 or (batches and len(aligned) > 1):
        raise ValueError("two axes of it count examples")
