"""Decides which values a kernel can read, and how.

A kernel walks the rows of its space [rows, columns]. Values of other kernels, inputs and constants
are in memory; a value that the kernel itself computes is in a variable, with a number for each
element or for each row. The loop has to mean the same as NumPy's broadcasting, which aligns shapes
at their last axis. So a value in memory can be read if

- each axis of its aligned shape has size 1 or the size of the space;
- its elements are stored in C order without gaps, which a view's may not be.

If a value is the result of `broadcast_to`, the loop reads the value that was broadcast, so both
conditions are tested on that.

A value that the kernel computes once a row must have the shape (…, 1) where it is read. A square
shows why: [64] beside [64, 64] is aligned with the columns, never with the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from graphgrad.graph import Node, constant
from graphgrad.ops.movement import broadcast_to
from graphgrad.ops.random import dropout_mask
from graphgrad.schedule import Layouts

Sizes = tuple[int, ...]


class Role(StrEnum):
    """What a value is in a kernel's space of rows and columns."""

    FULL = "full"
    """A number for each element."""
    ROW = "row"
    """A number for each row."""
    COLUMN = "column"
    """A sum over the rows: a number for each column."""
    TOTAL = "total"
    """A sum of everything: one number."""
    VECTOR = "vector"
    """Read from memory: the same row for every row of the space."""
    SCALAR = "scalar"
    """Read from memory: one number for all elements."""
    GENERATOR = "generator"
    """Generated in the kernel: a dropout mask."""
    INDEXED = "indexed"
    """Read from memory: a row for each row of the space, by a table of row numbers."""
    INDEXED_ROW = "indexed_row"
    """Read from memory: a number for each row of the space, by a table of row numbers."""


def is_readable(
    head: Node,
    space: Sizes,
    roles: Mapping[Node, Role],
    layouts: Layouts,
    rematerialised: Collection[Node],
) -> bool:
    """Whether a kernel over this space, which computes the nodes of `roles`, can read the value.

    Values that are `rematerialised` are computed again, from their heads, wherever they are read.
    """
    shape = aligned_shape(head, space)
    if shape is None:
        return False
    if head in roles and head not in rematerialised:
        if roles[head] == Role.FULL:
            return shape == space
        return roles[head] == Role.ROW and shape == (*space[:-1], 1)
    if head in rematerialised:
        return head.type.sizes == space and all(
            is_readable(its, space, roles, layouts, rematerialised) for its in head.heads
        )
    source = broadcast_source(head)
    if is_generator(source):  # each element of it is drawn by its own number
        return source.type.sizes == space
    return layouts.contiguous(source)


def aligned_shape(node: Node, space: Sizes) -> Sizes | None:
    """The shape of the value with leading axes of size 1, as many axes as the space has; None if it
    cannot be broadcast to the space."""
    shape = node.type.sizes
    if len(shape) > len(space):
        return None
    shape = (1,) * (len(space) - len(shape)) + shape
    fits = all(size in (1, whole) for size, whole in zip(shape, space, strict=True))
    return shape if fits else None


def argument_role(source: Node, space: Sizes) -> Role:
    """The role of a value in memory: how its elements correspond to the rows of the space."""
    if is_generator(source):
        return Role.GENERATOR
    shape = aligned_shape(source, space)
    assert shape is not None, f"{source.type} is not readable in {space}"
    if all(size == 1 for size in shape):
        return Role.SCALAR
    if shape == space:
        return Role.FULL
    if all(size == 1 for size in shape[:-1]):
        return Role.VECTOR
    if shape == (*space[:-1], 1):
        return Role.ROW
    return Role.INDEXED if shape[-1] != 1 else Role.INDEXED_ROW


def broadcast_source(node: Node) -> Node:
    """The value that was broadcast, if the node is the result of that; else the node itself."""
    while node.operation is broadcast_to:
        node = node.heads[0]
    return node


def is_generator(node: Node) -> bool:
    """Whether the value is generated from numbers alone: that is faster than to read it."""
    return node.operation is dropout_mask


def is_inlined(node: Node) -> bool:
    """Whether the value is a constant of one element, which is written in the kernel's text."""
    return node.operation is constant and node.attributes["value"].array.size == 1
