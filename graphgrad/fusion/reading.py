"""What a kernel can read, and how: the one place that asks, for every role a node can have.

A kernel walks the rows of its space [rows, columns]. A value of another kernel, an input or a
constant lies in memory; what the kernel computes itself stands in a variable, one number for each
element or one for each row. Either must mean for the loop what NumPy's broadcasting means: shapes
are aligned at their last axis. Three things have to be true of a value in memory:

- its shape, aligned so, has in every axis the size of the space or 1;
- its elements lie in C order without gaps, as the loop counts on (a view may be anything);
- where it was repeated (`broadcast_to`), the loop reads what was repeated, so both conditions are
  asked of that.

A value that the kernel computes once for each row is one number for a row: it has to have the shape
(…, 1) there. A square shows why: [64] beside [64, 64] is the last axis, never the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphgrad.graph import Node, constant
from graphgrad.ops.movement import broadcast_to
from graphgrad.ops.random import dropout_mask
from graphgrad.schedule import Layouts

Sizes = tuple[int, ...]
FULL, ROW, COLUMN, TOTAL = "full", "row", "column", "total"
"""What a node is in a region: a number for each element, each row, each column, or one in all."""
VECTOR, SCALAR, GENERATOR, INDEXED, INDEXED_ROW = (
    "vector",
    "scalar",
    "generator",
    "indexed",
    "indexed_row",
)
"""How a value in memory is read, where that is not full or row: see `form_of`."""


def readable(
    head: Node,
    space: Sizes,
    roles: Mapping[Node, str],
    layouts: Layouts,
    rematerialised: Collection[Node],
) -> bool:
    """Whether a kernel over this space, in which `roles` are computed, can read the value.

    Values that are `rematerialised` are computed again from their own heads wherever they are read.
    """
    shape = aligned(head, space)
    if shape is None:
        return False
    if head in roles and head not in rematerialised:
        return shape == {FULL: space, ROW: (*space[:-1], 1)}.get(roles[head])
    if head in rematerialised:
        return head.type.sizes == space and all(
            readable(its, space, roles, layouts, rematerialised) for its in head.heads
        )
    source = unrepeated(head)
    if is_generator(source):  # numbered by the elements of its own shape
        return source.type.sizes == space
    return layouts.contiguous(source)


def aligned(node: Node, space: Sizes) -> Sizes | None:
    """The shape of the value with axes of size 1 in front, as many as the space has; None where it
    cannot be repeated to the space."""
    shape = node.type.sizes
    if len(shape) > len(space):
        return None
    shape = (1,) * (len(space) - len(shape)) + shape
    fits = all(size in (1, whole) for size, whole in zip(shape, space, strict=True))
    return shape if fits else None


def form_of(source: Node, space: Sizes) -> str:
    """How the elements of a value in memory follow the rows of the space: full, row (one number a
    row), vector (the same row always), scalar, generator, or indexed and indexed_row (a row or a
    number for each row of the space, by a table)."""
    if is_generator(source):
        return GENERATOR
    shape = aligned(source, space)
    assert shape is not None, f"{source.type} is not readable in {space}"
    if all(size == 1 for size in shape):
        return SCALAR
    if shape == space:
        return FULL
    if all(size == 1 for size in shape[:-1]):
        return VECTOR
    if shape == (*space[:-1], 1):
        return ROW
    return INDEXED if shape[-1] != 1 else INDEXED_ROW


def unrepeated(node: Node) -> Node:
    """The value that a repeated one is made of; the value itself where it is not repeated."""
    while node.operation is broadcast_to:
        node = node.heads[0]
    return node


def is_generator(node: Node) -> bool:
    """A value made of nothing but numbers, cheaper to make again than to read."""
    return node.operation is dropout_mask


def is_inlined(node: Node) -> bool:
    """A constant of one element is written into the kernel's text."""
    return node.operation is constant and node.attributes["value"].array.size == 1
