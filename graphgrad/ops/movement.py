"""Movement: the same elements in another shape, order or frame.

`reshape`, `transpose`, `broadcast_to` and `slice` are views: they cost nothing where the engine can
see the head's memory in the new way. `embed` is the opposite of `slice`: it puts a value into a
frame of zeros; `pad` is written with it. Sizes may be dimensions wherever they may be integers.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphgrad.graph.dimension import Dimension, product, quotient
from graphgrad.graph.front import front_of
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, Operand, Operation, as_nodes
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import (
    Shape,
    TensorType,
    as_shape,
    broadcast,
    normal_axes,
    normal_axis,
    shape_text,
    whole_number,
)
from graphgrad.ops.keys import Window, bad_key, bounds, whole_key

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


@front_of(RESHAPE, "gg.reshape(x, (2, -1))", "float32[2, 6]")
def reshape(x: Node, shape: Sizes, name: str | None = None) -> Node:
    """x with another shape of as many elements; one size may be -1: what is left."""
    sizes = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)
    unknown = [place for place, size in enumerate(sizes)
               if isinstance(size, int | np.integer) and size == -1]  # fmt: skip
    if unknown:
        place = unknown[0]
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


@front_of(None, "gg.expand_dims(x, 0)", "float32[1, 3, 4]")
def expand_dims(x: Node, axis: int | Sequence[int], name: str | None = None) -> Node:
    """x with one more axis of size 1 at `axis` of the result, or at each of several."""
    axes = axis if isinstance(axis, Sequence) else [whole_number(axis, "an axis")]
    count = len(axes)
    places = normal_axes(axes, x.rank + count)
    left = iter(x.shape)
    shape = tuple(1 if place in places else next(left) for place in range(x.rank + count))
    return reshape_to(x, shape, name)


@front_of(None, "gg.squeeze(x[:, :1], 1)", "float32[3]")
def squeeze(x: Node, axis: int | Sequence[int] | None = None, name: str | None = None) -> Node:
    """x without `axis` (or each of several), whose size must be 1; by default, without all such."""
    places = normal_axes(axis, x.rank)
    if axis is None:
        places = tuple(place for place in places if x.shape[place] == 1)
    for place in places:
        if x.shape[place] != 1:
            raise ValueError(f"axis {place} has size {x.shape[place]}, not 1")
    return reshape_to(x, tuple(s for place, s in enumerate(x.shape) if place not in places), name)


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


@front_of(TRANSPOSE, "gg.transpose(x)", "float32[4, 3]")
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


@front_of(BROADCAST_TO, 'gg.broadcast_to(x, ("batch", 3, 4))', "float32[batch, 3, 4]")
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


@front_of(SLICE, "x[1:, :2]", "float32[2, 2]")
def slice(x: Node, key: Any, name: str | None = None) -> Node:
    """`x[key]` with integers, slices with a positive step, None and `...`; no negative steps."""
    windows: list[Window] = []
    shape: list[int | Dimension] = []
    try:
        for item in whole_key(key, x.rank):
            if item is None:
                shape.append(1)
                continue
            size = x.shape[len(windows)]
            windows.append(bounds(item, size))
            if isinstance(item, Slice):
                shape.append(_length(*windows[-1], size))
    except ValueError as problem:
        raise bad_key(x, key, problem) from None
    starts, stops, steps = zip(*windows, strict=True) if windows else ((), (), ())
    whole = all(w == (0, size, 1) for w, size in zip(windows, x.shape, strict=True))
    part = x if whole else SLICE(x, starts=starts, stops=stops, steps=steps)
    return reshape_to(part, tuple(shape), name)


@front_of(EMBED, "gg.pad(x, [(0, 0), (1, 1)])", "float32[3, 6]")
def pad(x: Node, widths: Sequence[tuple[Any, Any]], name: str | None = None) -> Node:
    """x with zeros around it; `widths` gives (before, after) for every axis."""
    if len(widths) != x.rank:
        raise ValueError(f"needs (before, after) for each of {x.rank} axes, not {len(widths)}")
    pairs = [as_shape(width) for width in widths]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("every axis has two widths: (before, after)")
    shape = tuple(before + size + after
                  for (before, after), size in zip(pairs, x.shape, strict=True))  # fmt: skip
    starts = tuple(before for before, _ in pairs)
    return EMBED(x, shape=shape, starts=starts, steps=(1,) * x.rank, name=name)


@front_of(None, "gg.split(x, 2)[0]", "float32[3, 2]")
def split(x: Node, sections: int | Sequence[int], axis: int = -1) -> tuple[Node, ...]:
    """x cut along `axis`: into `sections` equal parts, or into parts of the given sizes."""
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


@front_of(CONCATENATE, "gg.concatenate([x, x], axis=1)", "float32[3, 8]")
def concatenate(values: Sequence[Operand], axis: int = 0, name: str | None = None) -> Node:
    """The values one after another along an axis that exists."""
    nodes = as_nodes(CONCATENATE, _several(values))
    axis = normal_axis(axis, nodes[0].rank) if nodes else whole_number(axis, "an axis")
    return CONCATENATE(*nodes, axis=axis, name=name)


@front_of(None, "gg.stack([x, x])", "float32[2, 3, 4]")
def stack(values: Sequence[Operand], axis: int = 0, name: str | None = None) -> Node:
    """The values one after another along a new axis."""
    nodes = as_nodes(CONCATENATE, _several(values))
    for node in nodes:
        if node.shape != nodes[0].shape:
            raise ValueError("the values must have one shape")
    return concatenate([expand_dims(node, axis) for node in nodes], axis, name)


def _several(values: Any) -> tuple[Any, ...]:
    """The values of a list, or of anything that gives one after another."""
    if isinstance(values, Node) or not isinstance(values, Iterable):
        raise ValueError("takes several values in a list; fix: write [x, y]")
    return tuple(values)


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
