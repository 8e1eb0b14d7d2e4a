"""Where a value lies: in which memory, and with which strides.

A `ghost` is an array that has a shape, a dtype and strides but no memory that may be touched. View
operations are applied to ghosts, so the plan learns from NumPy itself which results are views and
what they look like, before a byte is allocated.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphgrad.graph import Node


def ghost(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A C-contiguous array of this type without memory: never read or write it."""
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return as_strided(np.empty(1, dtype), shape, strides[::-1], writeable=False)


def viewed(node: Node, head: np.ndarray) -> np.ndarray | None:
    """The ghost of a view operation's result, or None where it has to be computed by copying."""
    if node.operation.view is None:
        return None
    try:
        result = node.operation.view(head, *node.heads[1:], **node.attributes)
    except ValueError:  # reshape(copy=False) of elements that do not lie in order
        return None
    assert isinstance(result, np.ndarray)
    return result
