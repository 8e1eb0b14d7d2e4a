"""Slices, pads, splits and joins values.

`slice` is a view: it selects a window. `unslice` is its opposite: it writes a value into a window
of zeros, a frame; `pad` uses it.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any

from graphgrad.graph.decorators import operation, with_example
from graphgrad.graph.dimension import Dimension, quotient
from graphgrad.graph.node import Node, Operand, Operation, as_nodes
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import (
    Shape,
    TensorType,
    as_shape,
    normal_axis,
    shape_text,
    whole_number,
)
from graphgrad.ops.keys import Window, expanded_key, key_error, window_of
from graphgrad.ops.movement import expand_dims, reshape_to

Slice = builtins.slice
"""Python's `slice`; the name is that of the operation in this module."""

# ---------------------------------------------------------------- slice and unslice


def _infer_slice(x: TensorType, starts: Shape, stops: Shape, steps: tuple[int, ...]) -> TensorType:
    if not len(starts) == len(stops) == len(steps) == len(x.shape):
        raise ValueError(f"needs a start, stop and step for each of {len(x.shape)} axes")
    windows = zip(starts, stops, steps, x.shape, strict=True)
    return TensorType(tuple(_length(*window) for window in windows), x.dtype)


def _length(start: Any, stop: Any, step: int, size: int | Dimension) -> int | Dimension:
    """The number of elements of `start:stop:step`; raises ValueError if it is not in the axis."""
    known = [bound for bound in (start, stop, size) if isinstance(bound, int)]
    if step < 1 or any(bound < 0 for bound in known):
        raise ValueError("slices count from the front, with a positive step")
    for low, high in ((start, stop), (stop, size)):
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise ValueError(f"slice {start}:{stop} is not within an axis of size {size}")
    span: int | Dimension = stop - start
    if step == 1:
        return span
    return (span + step - 1) // step if isinstance(span, int) else quotient(span, step)


def window(starts: Any, stops: Any, steps: Any) -> tuple[Slice, ...]:
    """The key of a window of an array."""
    return tuple(map(Slice, starts, stops, steps))


def _compute_slice(xp: Any, out: Any, x: Any, starts: Any, stops: Any, steps: Any) -> None:
    xp.copyto(out, x[window(starts, stops, steps)])


def _delta_slice(delta: Node, y: Node, x: Node) -> tuple[Node]:
    window = y.attributes
    return (unslice(delta, shape=x.shape, starts=window["starts"], steps=window["steps"]),)


@operation(
    infer=_infer_slice,
    formula="a window of x",
    compute=_compute_slice,
    takes_halves=True,
    arity=1,
    delta=_delta_slice,
    delta_formula="δ inside the window, 0 outside",
    view=lambda x, starts, stops, steps: x[window(starts, stops, steps)],
    samples=(
        sample(real(4, 5), starts=(1, 0), stops=(3, 5), steps=(1, 2)),
        sample(real(4), starts=(2,), stops=(2,), steps=(1,)),
    ),
    example=("x[1:, :2]", "float32[2, 2]"),
)
def slice(x: Node, key: Any, name: str | None = None) -> Node:
    """`x[key]` for integers, slices with a positive step, None and `...`, as in NumPy.

    Start and stop may be dimensions. The function form can name the node.
    """
    windows: list[Window] = []
    shape: list[int | Dimension] = []
    try:
        for item in expanded_key(key, x.rank):
            if item is None:
                shape.append(1)
                continue
            size = x.shape[len(windows)]
            windows.append(window_of(item, size))
            if isinstance(item, Slice):
                shape.append(_length(*windows[-1], size))
    except ValueError as problem:
        raise key_error(x, key, problem) from None
    starts, stops, steps = zip(*windows, strict=True) if windows else ((), (), ())
    whole = all(w == (0, size, 1) for w, size in zip(windows, x.shape, strict=True))
    part = x if whole else slice.node(x, starts=starts, stops=stops, steps=steps)
    return reshape_to(part, tuple(shape), name)


def _infer_unslice(
    x: TensorType, shape: Shape, starts: Shape, steps: tuple[int, ...]
) -> TensorType:
    if not len(x.shape) == len(shape) == len(starts) == len(steps):
        raise ValueError(f"needs a size, start and step for each of {len(x.shape)} axes")
    for size, start, step, whole in zip(x.shape, starts, steps, shape, strict=True):
        end = start + (size - 1) * step
        if step < 1 or any(isinstance(s, int) and s < 0 for s in (start, whole)):
            raise ValueError("a frame counts from the front, with a positive step")
        if isinstance(end, int) and isinstance(whole, int) and size and end >= whole:
            raise ValueError(f"{size} elements from {start} do not fit into an axis of {whole}")
    return TensorType(shape, x.dtype)


def _compute_unslice(xp: Any, out: Any, x: Any, shape: Shape, starts: Any, steps: Any) -> None:
    out.fill(0)
    xp.copyto(out[window(starts, stops_of(starts, steps, x.shape), steps)], x)


def _delta_unslice(delta: Node, y: Node, x: Node) -> tuple[Node]:
    starts, steps = y.attributes["starts"], y.attributes["steps"]
    stops = stops_of(starts, steps, x.shape)
    return (slice.node(delta, starts=starts, stops=stops, steps=steps),)


def stops_of(starts: Shape, steps: Sequence[int], sizes: Shape) -> Shape:
    """The ends of windows of these sizes, directly after their last elements."""
    return tuple(
        start + (size - 1) * step + 1 if step > 1 and size != 0 else start + size
        for start, size, step in zip(starts, sizes, steps, strict=True)
    )


unslice = Operation(
    "unslice",
    _infer_unslice,
    "x inside a frame of zeros",
    _compute_unslice,
    arity=1,
    delta=_delta_unslice,
    delta_formula="the window of δ where x lies",
    samples=(sample(real(2, 3), shape=(4, 5), starts=(1, 0), steps=(1, 2)),),
    takes_halves=True,
)


@with_example("gg.pad(x, [(0, 0), (1, 1)])", "float32[3, 6]", unslice)
def pad(x: Node, widths: Sequence[tuple[Any, Any]], name: str | None = None) -> Node:
    """x with zeros around it; `widths` has the numbers (before, after) for every axis."""
    if len(widths) != x.rank:
        raise ValueError(f"needs (before, after) for each of {x.rank} axes, not {len(widths)}")
    pairs = [as_shape(width) for width in widths]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("every axis has two widths: (before, after)")
    shape = tuple(
        before + size + after for (before, after), size in zip(pairs, x.shape, strict=True)
    )
    starts = tuple(before for before, _ in pairs)
    return unslice(x, shape=shape, starts=starts, steps=(1,) * x.rank, name=name)


@with_example("gg.split(x, 2)[0]", "float32[3, 2]")
def split(x: Node, sections: int | Sequence[int], axis: int = -1) -> tuple[Node, ...]:
    """The parts of x along `axis`: `sections` equal parts, or parts of the sizes `sections`."""
    axis = normal_axis(axis, x.rank)
    whole = x.shape[axis]
    if not isinstance(sections, Iterable):
        count = whole_number(sections, "the number of parts")
        if count < 1:
            raise ValueError(f"cannot split into {count} parts")
        sizes: list[Any] = [quotient(whole, count)] * count
    else:
        sizes = list(as_shape(sections))
        if sum(sizes) != whole:
            raise ValueError(f"the parts {shape_text(sizes)} do not add up to {whole}")
    parts, start = [], 0
    for size in sizes:
        key = [Slice(None)] * x.rank
        key[axis] = Slice(start, start + size)
        parts.append(slice(x, tuple(key)))
        start = start + size
    return tuple(parts)


# ---------------------------------------------------------------- concatenate


def _infer_concatenate(*heads: TensorType, axis: int) -> TensorType:
    if not heads:
        raise ValueError("needs at least one value")
    first = heads[0]
    total: int | Dimension = 0
    for head in heads:
        sizes = zip(head.shape, first.shape, strict=False)
        same = [a == b for number, (a, b) in enumerate(sizes) if number != axis]
        if len(head.shape) != len(first.shape) or not all(same) or head.dtype != first.dtype:
            raise ValueError(f"{head} does not join {first} along axis {axis}")
        total = total + head.shape[axis]
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _compute_concatenate(xp: Any, out: Any, *heads: Any, axis: int) -> None:
    xp.concatenate(heads, axis=axis, out=out)


def _delta_concatenate(delta: Node, y: Node, *heads: Node) -> tuple[Node, ...]:
    axis = y.attributes["axis"]
    return split(delta, [head.shape[axis] for head in heads], axis)


@operation(
    infer=_infer_concatenate,
    formula="x₁, x₂, … one after another",
    compute=_compute_concatenate,
    takes_halves=True,
    delta=_delta_concatenate,
    delta_formula="δᵢ = the part of δ where xᵢ lies",
    samples=(sample(real(3, 2), real(3, 4), axis=1), sample(real(2), real(0), real(1), axis=0)),
    example=("gg.concatenate([x, x], axis=1)", "float32[3, 8]"),
)
def concatenate(values: Sequence[Operand], axis: int = 0, name: str | None = None) -> Node:
    """The values joined along an existing axis."""
    nodes = as_nodes(concatenate, _several(values))
    axis = normal_axis(axis, nodes[0].rank) if nodes else whole_number(axis, "an axis")
    return concatenate.node(*nodes, axis=axis, name=name)


@with_example("gg.stack([x, x])", "float32[2, 3, 4]")
def stack(values: Sequence[Operand], axis: int = 0, name: str | None = None) -> Node:
    """The values, of one shape, joined along a new axis."""
    nodes = as_nodes(concatenate, _several(values))
    for node in nodes:
        if node.shape != nodes[0].shape:
            raise ValueError("the values must have one shape")
    return concatenate([expand_dims(node, axis) for node in nodes], axis, name)


def _several(values: Any) -> tuple[Any, ...]:
    """The values of a list or another iterable."""
    if isinstance(values, Node) or not isinstance(values, Iterable):
        raise ValueError("takes several values in a list; fix: write [x, y]")
    return tuple(values)


OPERATIONS: tuple[Operation, ...] = (slice, unslice, concatenate)
