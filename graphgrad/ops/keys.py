"""What `x[key]` takes: integers, slices, None and `...`, read as windows counted from the front."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.node import Node
from graphgrad.graph.node_names import shown_name
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import whole_number

Window = tuple[Any, Any, int]
"""Start, stop and step on one axis; start and stop may be dimensions."""


def whole_key(key: Any, rank: int) -> list[Any]:
    """The key with a slice or an index for every axis, and None for every new one."""
    items = list(key) if isinstance(key, tuple) else [key]
    taken = sum(item is not None and item is not Ellipsis for item in items)
    if taken > rank:
        raise ValueError(f"{taken} indices for {rank} axes")
    dots = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise ValueError("the ellipsis ... can stand once only")
    place = dots[0] if dots else len(items)
    items[place : place + 1] = [slice(None)] * (rank - taken)
    return items


def bounds(item: Any, size: int | Dimension) -> Window:
    """Start, stop and step of an index or a slice, counted from the front."""
    if not isinstance(item, slice):
        start = _place(item, size, "an index")
        if isinstance(start, int) and (start < 0 or (isinstance(size, int) and start >= size)):
            raise ValueError(f"index {item} of an axis of size {size}")
        return start, start + 1, 1
    start = 0 if item.start is None else _place(item.start, size, "a slice's start")
    stop = size if item.stop is None else _place(item.stop, size, "a slice's stop")
    step = 1 if item.step is None else whole_number(item.step, "a slice's step")
    for bound, given in ((start, item.start), (stop, item.stop)):
        if isinstance(bound, int) and bound < 0:
            raise ValueError(f"{given} lies before the first element of an axis of size {size}")
    if isinstance(stop, int) and isinstance(size, int):
        stop = min(stop, size)
    return start, stop, step


def _place(item: Any, size: int | Dimension, what: str) -> int | Dimension:
    if isinstance(item, Dimension):
        return item
    if isinstance(item, Node | np.ndarray | list):
        raise ValueError(
            f"{what} is an integer, not {type(item).__name__}; fix: take elements with "
            "gather(x, indices) or take_along_axis(x, indices, axis), or where(mask, x, 0.0)"
        )
    place = whole_number(item, what)
    return size + place if place < 0 else place


def bad_key(x: Node, key: Any, problem: ValueError) -> DeclarationError:
    """The error for a key that makes no sense."""
    reason, _, fix = str(problem).partition("; fix: ")
    return DeclarationError(
        f"slice {key!r:.80} of {shown_name(x)}: {x.type}: {reason}",
        current_origin(),
        fix,
    )
