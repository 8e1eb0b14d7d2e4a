"""Describes a product of matrices as it lies in memory: what `loops/library/products.py` computes.

A product of more axes is one product of more rows, if each batch meets the same matrix and its rows
follow one another: `described` joins such axes. It returns None for what NumPy computes: products
of other dtypes, of rounded operands, or batches of different matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.graph import Node, TensorType
from graphgrad.graph.types import FLOAT32
from graphgrad.loops.library.product_words import GAP
from graphgrad.ops.contraction import matmul
from graphgrad.schedule import Layouts

PANEL = 32
"""Columns that a copy of B is a multiple of: that of every register tile."""
ALIAS = 4096
"""Rows at a multiple of so many bytes share few sets of a cache."""
UNCOPIED = 1 << 18
"""Bytes of a B that is read as it lies, as it stays in a near cache."""


@dataclass(frozen=True, slots=True)
class ProductShape:
    """The sizes of a product, and the distances of elements, in elements."""

    rows: int
    columns: int
    depth: int
    a_row: int
    a_step: int
    b_step: int
    b_column: int
    c_row: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.columns * self.depth

    @property
    def copies_a(self) -> bool:
        """Whether blocks of A are copied: their rows share few sets of a cache."""
        far = self.a_step if self.a_row == 1 else self.a_row
        return 4 * far % ALIAS == 0 and self.columns > PANEL

    @property
    def copies_b(self) -> bool:
        """Whether B is copied to panels."""
        if self.b_column != 1:
            return True
        return 4 * self.b_step % ALIAS == 0 or 4 * self.columns * self.depth > UNCOPIED

    @property
    def panels(self) -> TensorType:
        """The memory of a copy of B."""
        columns = -(-self.columns // PANEL) * PANEL if self.copies_b else 0
        return TensorType((columns, max(self.depth, 1)), FLOAT32)

    def block_bytes(self, rows: int) -> int:
        """The bytes of a copy of so many rows of A."""
        if not self.copies_a:
            return 0
        return 4 * rows * (self.depth + (0 if self.a_row == 1 else GAP))


def described(node: Node, layouts: Layouts) -> ProductShape | None:
    """The shape of a product, or None if it is not one of float32 that is one matrix of rows."""
    if node.operation is not matmul or node.attributes.get("precision"):
        return None
    if any(each.dtype != FLOAT32 for each in (node, *node.heads)) or not node.type.size:
        return None
    a, b = (layouts.arrays[head] for head in node.heads)
    if node.attributes["transpose_a"]:
        a = a.swapaxes(-1, -2)
    if node.attributes["transpose_b"]:
        b = b.swapaxes(-1, -2)
    return shape_of(layouts.arrays[node], a, b)


def shape_of(c: Any, a: Any, b: Any) -> ProductShape | None:
    """The shape of the product c = a b of arrays."""
    batch = c.shape[:-2]
    a, b = (np.broadcast_to(each, (*batch, *each.shape[-2:])) for each in (a, b))
    (rows, depth), columns = a.shape[-2:], b.shape[-1]
    a_strides, b_strides, c_strides = ([s // 4 for s in each.strides] for each in (a, b, c))
    if columns > 1 and c_strides[-1] != 1:
        return None
    joined = _joined(batch, rows, a_strides, b_strides, c_strides)
    if joined is None:
        return None
    rows, a_row, c_row = joined
    b_step, b_column = b_strides[-2], b_strides[-1] if columns > 1 else 1
    a_step = a_strides[-1] if depth > 1 else 1
    return ProductShape(rows, columns, depth, a_row, a_step, b_step, b_column, c_row)


def _joined(
    batch: Sequence[int],
    rows: int,
    a_strides: Sequence[int],
    b_strides: Sequence[int],
    c_strides: Sequence[int],
) -> tuple[int, int, int] | None:
    """All rows of a batch, and the distances of those of a and c; None if they are not equal."""
    a_row, c_row = a_strides[-2], c_strides[-2]
    for axis in reversed(range(len(batch))):
        if batch[axis] == 1:
            continue
        if b_strides[axis] != 0:
            return None
        if rows == 1:
            a_row, c_row = a_strides[axis], c_strides[axis]
        elif (a_strides[axis], c_strides[axis]) != (a_row * rows, c_row * rows):
            return None
        rows *= batch[axis]
    return rows, a_row, c_row
