"""Nodes filled with one number, as in NumPy and PyTorch: `zeros(("batch", 3))`.

They are broadcast constants, so they need no memory of their own, and their sizes may be named
dimensions. (The initial value of a parameter is given as a number instead: `parameter("gain", (3,),
1.0)`.)
"""

from __future__ import annotations

from typing import Any

from graphgrad.graph.decorators import with_example
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, constant
from graphgrad.graph.types import as_shape, float_dtype
from graphgrad.ops.movement import broadcast_to


@with_example('gg.zeros(("batch", 3))', "float32[batch, 3]")
def zeros(shape: Sizes, dtype: Any = None, name: str | None = None) -> Node:
    """A node of zeros of this shape; text in the shape names a dimension."""
    return _filled(0, shape, float_dtype(dtype), name)


@with_example('gg.ones((2, 3), "int32")', "int32[2, 3]")
def ones(shape: Sizes, dtype: Any = None, name: str | None = None) -> Node:
    """A node of ones of this shape; text in the shape names a dimension."""
    return _filled(1, shape, float_dtype(dtype), name)


@with_example("gg.zeros_like(x)", "float32[3, 4]")
def zeros_like(x: Node, dtype: Any = None, name: str | None = None) -> Node:
    """Zeros with the shape of x, and with its dtype unless `dtype` is given."""
    return _filled(0, x.shape, x.dtype if dtype is None else dtype, name)


@with_example("gg.ones_like(x)", "float32[3, 4]")
def ones_like(x: Node, dtype: Any = None, name: str | None = None) -> Node:
    """Ones with the shape of x, and with its dtype unless `dtype` is given."""
    return _filled(1, x.shape, x.dtype if dtype is None else dtype, name)


def _filled(value: int, shape: Sizes, dtype: Any, name: str | None) -> Node:
    sizes = as_shape(shape)
    if not sizes:
        return constant(value, dtype, name)
    return broadcast_to.node(constant(value, dtype), shape=sizes, name=name)
