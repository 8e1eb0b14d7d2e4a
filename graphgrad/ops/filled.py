"""Nodes that are full of one number: `zeros(("batch", 3))`, as NumPy and PyTorch have them.

They are broadcast constants, so they take no memory of their own, and a named dimension may be
among their sizes. A first value of a parameter is none of these, but a number: `parameter("gain",
(3,), 1.0)`.
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.front import with_example
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, constant
from graphgrad.graph.types import as_shape, float_dtype
from graphgrad.ops.movement import broadcast_to


@with_example('gg.zeros(("batch", 3))', "float32[batch, 3]")
def zeros(shape: Sizes, dtype: Any = None, name: str | None = None) -> Node:
    """Zeros of this shape; text in it names a dimension."""
    return _filled(0, shape, float_dtype(dtype), name)


@with_example('gg.ones((2, 3), "int32")', "int32[2, 3]")
def ones(shape: Sizes, dtype: Any = None, name: str | None = None) -> Node:
    """Ones of this shape; text in it names a dimension."""
    return _filled(1, shape, float_dtype(dtype), name)


@with_example("gg.zeros_like(x)", "float32[3, 4]")
def zeros_like(x: Node, dtype: Any = None, name: str | None = None) -> Node:
    """Zeros of the shape of x, and of its dtype where none is given."""
    return _filled(0, x.shape, x.dtype if dtype is None else dtype, name)


@with_example("gg.ones_like(x)", "float32[3, 4]")
def ones_like(x: Node, dtype: Any = None, name: str | None = None) -> Node:
    """Ones of the shape of x, and of its dtype where none is given."""
    return _filled(1, x.shape, x.dtype if dtype is None else dtype, name)


def _filled(value: int, shape: Sizes, dtype: Any, name: str | None) -> Node:
    sizes = as_shape(shape)
    if not sizes:
        return constant(value, dtype, name)
    return broadcast_to.node(constant(value, dtype), shape=sizes, name=name)
