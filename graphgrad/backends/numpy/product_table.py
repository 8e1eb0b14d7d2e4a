"""The words of products in the call table, and the memory that threads need for them."""

from __future__ import annotations

from collections.abc import Sequence

from graphgrad.backends.numpy.product_groups import OwnProduct, ProductGroup
from graphgrad.backends.numpy.product_shapes import ProductShape
from graphgrad.backends.numpy.product_text import height_of, height_of_nest, lines_of
from graphgrad.backends.source import KernelCall
from graphgrad.loops.library.product_words import (
    A_ROW,
    A_STEP,
    B_COLUMN,
    B_STEP,
    BUFFER,
    COLUMNS,
    COPIED,
    DEPTH,
    ROWS,
    THREAD_BYTES,
    WIDTH,
    WORDS,
)
from graphgrad.loops.tiles import processor_tile
from graphgrad.ops.contraction import matmul
from graphgrad.plan import Step
from graphgrad.plan.arena import aligned

SHARED_OPERATIONS = 1 << 20
"""Operations of a product from which on threads share it."""


def words_of(shape: ProductShape, thread_bytes: int, buffer: int = 0) -> list[int]:
    """The words of a product; its addresses are still 0."""
    words = [0] * WORDS
    words[ROWS], words[COLUMNS], words[DEPTH] = shape.rows, shape.columns, shape.depth
    words[A_ROW], words[A_STEP] = shape.a_row, shape.a_step
    words[B_STEP], words[B_COLUMN] = shape.b_step, shape.b_column
    words[WIDTH], words[COPIED] = processor_tile().columns, int(shape.copies_a)
    words[THREAD_BYTES], words[BUFFER] = thread_bytes, buffer
    return words


def panels_of(shape: ProductShape) -> int:
    """The panels of B that are copied."""
    return -(-shape.columns // processor_tile().columns) if shape.copies_b else 0


def products_of(call: KernelCall) -> tuple[OwnProduct, ...]:
    """The products that a call computes."""
    group = call.step.group
    return group.products if isinstance(group, ProductGroup) else ()


def blocks_of(call: KernelCall) -> tuple[int, int]:
    """The blocks of a call's work, and its elements."""
    products = products_of(call)
    if call.nest is None:
        shape = products[0].shape
        return -(-shape.rows // height_of(shape.rows)), shape.rows * shape.columns
    loops = call.nest.loops
    blocks = -(-loops.rows // height_of_nest(loops)) if products else loops.blocks
    return blocks, loops.rows * loops.columns


def buffer_bytes(call: KernelCall, product: OwnProduct) -> int:
    """Bytes of a thread for rows of a product that is not stored."""
    if product.stored:
        return 0
    return aligned(4 * _lines(call, products_of(call)) * product.shape.columns)


def copy_bytes(call: KernelCall) -> int:
    """Bytes of a thread for copied rows of A; the products of a call take turns."""
    products = products_of(call)
    lines = _lines(call, products)
    return aligned(max((its.shape.block_bytes(lines) for its in products), default=0))


def thread_bytes(call: KernelCall) -> int:
    """Bytes that each thread needs for a call."""
    return copy_bytes(call) + sum(buffer_bytes(call, its) for its in products_of(call))


def is_large_product(step: Step) -> bool:
    """Whether a step is a product that OpenBLAS's threads share."""
    node = step.node
    if node.operation is not matmul or isinstance(step.group, ProductGroup):
        return False
    rows, columns = node.type.sizes[-2:]
    depth = node.heads[0].type.sizes[-2 if node.attributes["transpose_a"] else -1]
    return 2 * rows * columns * depth >= SHARED_OPERATIONS


def _lines(call: KernelCall, products: Sequence[OwnProduct]) -> int:
    """The rows that are computed at a time."""
    if not products:
        return 0
    if call.nest is not None:
        return lines_of(call.nest.loops, len(products))
    return height_of(products[0].shape.rows)
