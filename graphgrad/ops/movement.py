"""Movement: the same elements in another shape, order or frame.

`reshape`, `transpose`, `broadcast_to` and `slice` are views: they cost nothing where the engine can
see the head's memory in the new way. `embed` is the opposite of `slice`: it puts a value into a
frame of zeros; `pad` is written with it. Sizes may be dimensions wherever they may be integers.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphgrad.errors import DeclarationError
from graphgrad.graph.dimension import Dimension, product, quotient
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, Operation, front
from graphgrad.graph.samples import real, sample
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import (
    Shape,
    TensorType,
    as_shape,
    broadcast,
    normal_axis,
    shape_text,
)

Slice = builtins.slice
"""Python's own; the name `slice` is the operation's here."""

# ---------------------------------------------------------------- reshape


def _infer_reshape(x: TensorType, shape: Shape) -> TensorType:
    if product(shape) != x.size:
        raise ValueError(
            f"{shape_text(x.shape)} has {x.size} elements, {shape_text(shape)} has {product(shape)}"
        )
    return TensorType(shape, x.dtype)


def _compute_reshape(xp: Any, out: Any, x: Any, shape: Shape) -> None:
    xp.copyto(out.reshape(x.shape), x)


RESHAPE = Operation(
    "reshape", _infer_reshape, "x in another shape", _compute_reshape, arity=1,
    delta=lambda delta, y, x: (reshape_to(delta, x.shape),),
    delta_formula="δ in the shape of x",
    view=lambda x, shape: x.reshape(shape, copy=False),
    samples=(sample(real(3, 4), shape=(2, 6)), sample(real(0, 3), shape=(3, 0)),
             sample(real(), shape=(1, 1))),
)  # fmt: skip


@front
def reshape(x: Node, shape: Sizes, name: str | None = None) -> Node:
    """x with another shape of as many elements; one size may be -1: what is left."""
    sizes = (shape,) if isinstance(shape, int | str | Dimension) else tuple(shape)
    if -1 in sizes:
        place = sizes.index(-1)
        others = as_shape((*sizes[:place], *sizes[place + 1 :]))
        try:
            left = quotient(product(x.shape), product(others))
        except ValueError as problem:
            raise ValueError(f"to {shape_text(sizes)}: {problem}") from None
        sizes = (*sizes[:place], left, *sizes[place + 1 :])
    return reshape_to(x, as_shape(sizes), name)


def reshape_to(x: Node, shape: Shape, name: str | None = None) -> Node:
    """x with exactly this shape; x itself where it has it already."""
    return x if x.shape == shape and name is None else RESHAPE(x, shape=shape, name=name)


@front
def expand_dims(x: Node, axis: int, name: str | None = None) -> Node:
    """x with one more axis of size 1 before `axis` of the result."""
    place = normal_axis(axis, x.rank + 1)
    return reshape_to(x, (*x.shape[:place], 1, *x.shape[place:]), name)


@front
def squeeze(x: Node, axis: int, name: str | None = None) -> Node:
    """x without `axis`, whose size must be 1."""
    place = normal_axis(axis, x.rank)
    return reshape_to(x, (*x.shape[:place], *x.shape[place + 1 :]), name)


# ---------------------------------------------------------------- transpose


def _infer_transpose(x: TensorType, axes: tuple[int, ...]) -> TensorType:
    if sorted(axes) != list(range(len(x.shape))):
        raise ValueError(f"axes {axes} are not an order of the {len(x.shape)} axes of x")
    return TensorType(tuple(x.shape[axis] for axis in axes), x.dtype)


def _compute_transpose(xp: Any, out: Any, x: Any, axes: tuple[int, ...]) -> None:
    xp.copyto(out, x.transpose(axes))


def _delta_transpose(delta: Node, y: Node, x: Node) -> tuple[Node]:
    axes = y.attributes["axes"]
    inverse = tuple(sorted(range(len(axes)), key=axes.__getitem__))
    return (TRANSPOSE(delta, axes=inverse),)


TRANSPOSE = Operation(
    "transpose", _infer_transpose, "x with its axes in another order", _compute_transpose, arity=1,
    delta=_delta_transpose,
    delta_formula="δ with the axes back in order",
    view=lambda x, axes: x.transpose(axes),
    samples=(sample(real(3, 4), axes=(1, 0)), sample(real(2, 3, 4), axes=(1, 2, 0))),
)  # fmt: skip


@front
def transpose(x: Node, axes: Sequence[int] | None = None, name: str | None = None) -> Node:
    """x with its axes in the given order; without `axes`, in reverse order."""
    order = tuple(range(x.rank))[::-1] if axes is None else axes
    return TRANSPOSE(x, axes=tuple(normal_axis(axis, x.rank) for axis in order), name=name)


# ---------------------------------------------------------------- broadcast


def _infer_broadcast(x: TensorType, shape: Shape) -> TensorType:
    if broadcast([x.shape, shape]) != shape:
        raise ValueError(f"{shape_text(x.shape)} does not broadcast to {shape_text(shape)}")
    return TensorType(shape, x.dtype)


def _compute_broadcast(xp: Any, out: Any, x: Any, shape: Shape) -> None:
    xp.copyto(out, x)


BROADCAST_TO = Operation(
    "broadcast_to", _infer_broadcast, "x repeated", _compute_broadcast, arity=1,
    delta=lambda delta, y, x: (delta,),
    delta_formula="Σ δ over the repeated axes",
    view=lambda x, shape: np.broadcast_to(x, shape),
    samples=(sample(real(3, 1), shape=(2, 3, 4)), sample(real(), shape=(3,))),
)  # fmt: skip


@front
def broadcast_to(x: Node, shape: Sizes, name: str | None = None) -> Node:
    """x repeated along new axes in front and along axes of size 1."""
    return BROADCAST_TO(x, shape=as_shape(shape), name=name)


# ---------------------------------------------------------------- slice and embed


def _infer_slice(x: TensorType, starts: Shape, stops: Shape, steps: tuple[int, ...]) -> TensorType:
    if not len(starts) == len(stops) == len(steps) == len(x.shape):
        raise ValueError(f"needs a start, stop and step for each of {len(x.shape)} axes")
    windows = zip(starts, stops, steps, x.shape, strict=True)
    return TensorType(tuple(_length(*window) for window in windows), x.dtype)


def _length(start: Any, stop: Any, step: int, size: int | Dimension) -> int | Dimension:
    """How many elements `start:stop:step` takes of an axis; ValueError outside of it."""
    known = [bound for bound in (start, stop, size) if isinstance(bound, int)]
    if step < 1 or any(bound < 0 for bound in known):
        raise ValueError("slices count from the front, with a positive step")
    for low, high in ((start, stop), (stop, size)):
        if isinstance(low, int) and isinstance(high, int) and low > high:
            raise ValueError(f"slice {start}:{stop} does not lie within an axis of size {size}")
    span = stop - start
    if step == 1:
        return span
    return (span + step - 1) // step if isinstance(span, int) else quotient(span, step)


def window(starts: Any, stops: Any, steps: Any) -> tuple[Slice, ...]:
    """The key by which an array gives the elements of a window."""
    return tuple(map(Slice, starts, stops, steps))


def _compute_slice(xp: Any, out: Any, x: Any, starts: Any, stops: Any, steps: Any) -> None:
    xp.copyto(out, x[window(starts, stops, steps)])


def _delta_slice(delta: Node, y: Node, x: Node) -> tuple[Node]:
    window = y.attributes
    return (EMBED(delta, shape=x.shape, starts=window["starts"], steps=window["steps"]),)


SLICE = Operation(
    "slice", _infer_slice, "a window of x", _compute_slice, arity=1,
    delta=_delta_slice,
    delta_formula="δ inside the window, 0 outside",
    view=lambda x, starts, stops, steps: x[window(starts, stops, steps)],
    samples=(sample(real(4, 5), starts=(1, 0), stops=(3, 5), steps=(1, 2)),
             sample(real(4), starts=(2,), stops=(2,), steps=(1,))),
)  # fmt: skip


def _infer_embed(x: TensorType, shape: Shape, starts: Shape, steps: tuple[int, ...]) -> TensorType:
    if not len(x.shape) == len(shape) == len(starts) == len(steps):
        raise ValueError(f"needs a size, start and step for each of {len(x.shape)} axes")
    for size, start, step, whole in zip(x.shape, starts, steps, shape, strict=True):
        end = start + (size - 1) * step
        if step < 1 or any(isinstance(s, int) and s < 0 for s in (start, whole)):
            raise ValueError("a frame counts from the front, with a positive step")
        if isinstance(end, int) and isinstance(whole, int) and size and end >= whole:
            raise ValueError(f"{size} elements from {start} do not fit into an axis of {whole}")
    return TensorType(shape, x.dtype)


def _compute_embed(xp: Any, out: Any, x: Any, shape: Shape, starts: Any, steps: Any) -> None:
    out.fill(0)
    xp.copyto(out[window(starts, stops_of(starts, steps, x.shape), steps)], x)


def _delta_embed(delta: Node, y: Node, x: Node) -> tuple[Node]:
    starts, steps = y.attributes["starts"], y.attributes["steps"]
    stops = stops_of(starts, steps, x.shape)
    return (SLICE(delta, starts=starts, stops=stops, steps=steps),)


def stops_of(starts: Shape, steps: Sequence[int], sizes: Shape) -> Shape:
    """Where windows of these sizes end, just behind their last element."""
    return tuple(
        start + (size - 1) * step + 1 if step > 1 and size != 0 else start + size
        for start, size, step in zip(starts, sizes, steps, strict=True)
    )


EMBED = Operation(
    "embed", _infer_embed, "x inside a frame of zeros", _compute_embed, arity=1,
    delta=_delta_embed,
    delta_formula="the window of δ where x lies",
    samples=(sample(real(2, 3), shape=(4, 5), starts=(1, 0), steps=(1, 2)),),
)  # fmt: skip


def slice(x: Node, key: Any, name: str | None = None) -> Node:
    """`x[key]` with integers, slices with a positive step, None and `...`; no negative steps."""
    items = list(key) if isinstance(key, tuple) else [key]
    taken = sum(item is not None and item is not Ellipsis for item in items)
    if taken > x.rank:
        raise _bad_key(x, key, f"{taken} indices for {x.rank} axes")
    if Ellipsis not in items:
        items.append(Ellipsis)
    place = items.index(Ellipsis)
    items[place : place + 1] = [Slice(None)] * (x.rank - taken)
    windows: list[tuple[Any, Any, int]] = []
    shape: list[int | Dimension] = []
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        size = x.shape[axis]
        try:
            start, stop, step = _bounds(item, size)
            if isinstance(item, Slice):
                shape.append(_length(start, stop, step, size))
        except (TypeError, ValueError) as problem:
            raise _bad_key(x, key, str(problem)) from None
        windows.append((start, stop, step))
        axis += 1
    starts, stops, steps = zip(*windows, strict=True) if windows else ((), (), ())
    whole = all(w == (0, size, 1) for w, size in zip(windows, x.shape, strict=True))
    part = x if whole else SLICE(x, starts=starts, stops=stops, steps=steps)
    return reshape_to(part, tuple(shape), name)


def _bounds(item: Any, size: int | Dimension) -> tuple[Any, Any, int]:
    """Start, stop and step, counted from the front, of an index or a slice."""
    if not isinstance(item, Slice):
        if not isinstance(item, int | Dimension) or isinstance(item, bool):
            raise ValueError("an index is an integer; take elements by nodes with gather()")
        start = size + item if isinstance(item, int) and item < 0 else item
        if isinstance(start, int) and isinstance(size, int) and not 0 <= start < size:
            raise ValueError(f"index {item} of an axis of size {size}")
        return start, start + 1, 1
    start = 0 if item.start is None else item.start
    stop = size if item.stop is None else item.stop
    start = size + start if isinstance(start, int) and start < 0 else start
    stop = size + stop if isinstance(stop, int) and stop < 0 else stop
    if isinstance(stop, int) and isinstance(size, int):
        stop = min(stop, size)
    return start, stop, 1 if item.step is None else item.step


def _bad_key(x: Node, key: Any, reason: str) -> DeclarationError:
    return DeclarationError(f"slice {key!r} of {x.name}: {x.type}: {reason}",
                            str(current_origin() or ""))  # fmt: skip


@front
def pad(x: Node, widths: Sequence[tuple[Any, Any]], name: str | None = None) -> Node:
    """x with zeros around it; `widths` gives (before, after) for every axis."""
    if len(widths) != x.rank:
        raise ValueError(f"needs (before, after) for each of {x.rank} axes, not {len(widths)}")
    shape = tuple(before + size + after
                  for (before, after), size in zip(widths, x.shape, strict=True))  # fmt: skip
    starts = tuple(before for before, _ in widths)
    return EMBED(x, shape=shape, starts=starts, steps=(1,) * x.rank, name=name)


@front
def split(x: Node, sections: int | Sequence[int], axis: int = -1) -> tuple[Node, ...]:
    """x cut along `axis`: into `sections` equal parts, or into parts of the given sizes."""
    axis = normal_axis(axis, x.rank)
    whole = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1:
            raise ValueError(f"cannot split into {sections} parts")
        sizes: list[Any] = [quotient(whole, sections)] * sections
    else:
        sizes = list(sections)
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
        same = [a == b for i, (a, b) in enumerate(zip(head.shape, first.shape, strict=False))
                if i != axis]  # fmt: skip
        if len(head.shape) != len(first.shape) or not all(same) or head.dtype != first.dtype:
            raise ValueError(f"{head} does not join {first} along axis {axis}")
        total = total + head.shape[axis]
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _compute_concatenate(xp: Any, out: Any, *heads: Any, axis: int) -> None:
    xp.concatenate(heads, axis=axis, out=out)


def _delta_concatenate(delta: Node, y: Node, *heads: Node) -> tuple[Node, ...]:
    axis = y.attributes["axis"]
    return split(delta, [head.shape[axis] for head in heads], axis)


CONCATENATE = Operation(
    "concatenate", _infer_concatenate, "x₁, x₂, … one after another", _compute_concatenate,
    delta=_delta_concatenate,
    delta_formula="δᵢ = the part of δ where xᵢ lies",
    samples=(sample(real(3, 2), real(3, 4), axis=1), sample(real(2), real(0), real(1), axis=0)),
)  # fmt: skip


@front
def concatenate(values: Sequence[Node], axis: int = 0, name: str | None = None) -> Node:
    """The values one after another along an axis that exists."""
    axis = normal_axis(axis, values[0].rank) if values else axis
    return CONCATENATE(*values, axis=axis, name=name)


@front
def stack(values: Sequence[Node], axis: int = 0, name: str | None = None) -> Node:
    """The values one after another along a new axis."""
    return concatenate([expand_dims(value, axis) for value in values], axis, name)


# ---------------------------------------------------------------- copy


def _infer_copy(x: TensorType) -> TensorType:
    return x


def _compute_copy(xp: Any, out: Any, x: Any) -> None:
    xp.copyto(out, x)


COPY = Operation(
    "copy", _infer_copy, "x", _compute_copy, arity=1,
    delta=lambda delta, y, x: (delta,),
    delta_formula="δ",
    samples=(sample(real(3, 4)),),
)  # fmt: skip
"""x in memory of its own; what the plan takes a snapshot with."""

OPERATIONS = (RESHAPE, TRANSPOSE, BROADCAST_TO, SLICE, EMBED, CONCATENATE, COPY)
