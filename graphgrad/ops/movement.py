"""Changes the shape or the order of elements.

`reshape`, `transpose` and `broadcast_to` are views: they cost nothing if the backend can use the
head's memory in the new shape. Sizes are integers or dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphgrad.graph.decorators import operation, with_example
from graphgrad.graph.dimension import product, quotient
from graphgrad.graph.leaves import Sizes
from graphgrad.graph.node import Node, Operation
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

# ---------------------------------------------------------------- reshape


def _infer_reshape(x: TensorType, shape: Shape) -> TensorType:
    if product(shape) != x.size:
        raise ValueError(
            f"{shape_text(x.shape)} has {x.size} elements, {shape_text(shape)} has {product(shape)}"
        )
    return TensorType(shape, x.dtype)


def _compute_reshape(xp: Any, out: Any, x: Any, shape: Shape) -> None:
    xp.copyto(out.reshape(x.shape), x)


@operation(
    infer=_infer_reshape,
    formula="x in another shape",
    compute=_compute_reshape,
    takes_halves=True,
    arity=1,
    delta=lambda delta, y, x: (reshape_to(delta, x.shape),),
    delta_formula="δ in the shape of x",
    view=lambda x, shape: x.reshape(shape, copy=False),
    samples=(
        sample(real(3, 4), shape=(2, 6)),
        sample(real(0, 3), shape=(3, 0)),
        sample(real(), shape=(1, 1)),
    ),
    example=("gg.reshape(x, (2, -1))", "float32[2, 6]"),
)
def reshape(x: Node, shape: Sizes, name: str | None = None) -> Node:
    """x in another shape with the same number of elements; one size may be -1, for the rest."""
    sizes = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else (shape,)
    unknown = [
        axis for axis, size in enumerate(sizes) if isinstance(size, int | np.integer) and size == -1
    ]
    if unknown:
        axis = unknown[0]
        others = as_shape((*sizes[:axis], *sizes[axis + 1 :]))
        try:
            left = quotient(product(x.shape), product(others))
        except ValueError as problem:
            raise ValueError(f"to {shape_text(sizes)}: {problem}") from None
        sizes = (*sizes[:axis], left, *sizes[axis + 1 :])
    return reshape_to(x, as_shape(sizes), name)


def reshape_to(x: Node, shape: Shape, name: str | None = None) -> Node:
    """x with exactly this shape; x itself if it has this shape already."""
    return x if x.shape == shape and name is None else reshape.node(x, shape=shape, name=name)


@with_example("gg.expand_dims(x, 0)", "float32[1, 3, 4]")
def expand_dims(x: Node, axis: int | Sequence[int], name: str | None = None) -> Node:
    """x with a new axis of size 1 at the position `axis` of the result, or at several."""
    axes = axis if isinstance(axis, Sequence) else [whole_number(axis, "an axis")]
    count = len(axes)
    new = normal_axes(axes, x.rank + count)
    left = iter(x.shape)
    shape = tuple(1 if each in new else next(left) for each in range(x.rank + count))
    return reshape_to(x, shape, name)


@with_example("gg.squeeze(x[:, :1], 1)", "float32[3]")
def squeeze(x: Node, axis: int | Sequence[int] | None = None, name: str | None = None) -> Node:
    """x without the axis or axes `axis`, of size 1; by default, without all axes of size 1."""
    removed = normal_axes(axis, x.rank)
    if axis is None:
        removed = tuple(each for each in removed if x.shape[each] == 1)
    for each in removed:
        if x.shape[each] != 1:
            raise ValueError(f"axis {each} has size {x.shape[each]}, not 1")
    return reshape_to(x, tuple(s for each, s in enumerate(x.shape) if each not in removed), name)


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
    return (transpose.node(delta, axes=inverse),)


@operation(
    infer=_infer_transpose,
    formula="x with its axes in another order",
    compute=_compute_transpose,
    takes_halves=True,
    arity=1,
    delta=_delta_transpose,
    delta_formula="δ with the axes back in order",
    view=lambda x, axes: x.transpose(axes),
    samples=(sample(real(3, 4), axes=(1, 0)), sample(real(2, 3, 4), axes=(1, 2, 0))),
    example=("gg.transpose(x)", "float32[4, 3]"),
)
def transpose(x: Node, axes: Sequence[int] | None = None, name: str | None = None) -> Node:
    """x with its axes in the order `axes`, by default in reverse order."""
    order = tuple(range(x.rank))[::-1] if axes is None else axes
    return transpose.node(x, axes=tuple(normal_axis(axis, x.rank) for axis in order), name=name)


# ---------------------------------------------------------------- broadcast


def _infer_broadcast(x: TensorType, shape: Shape) -> TensorType:
    if broadcast([x.shape, shape]) != shape:
        raise ValueError(f"{shape_text(x.shape)} does not broadcast to {shape_text(shape)}")
    return TensorType(shape, x.dtype)


def _compute_broadcast(xp: Any, out: Any, x: Any, shape: Shape) -> None:
    xp.copyto(out, x)


@operation(
    infer=_infer_broadcast,
    formula="x repeated",
    compute=_compute_broadcast,
    takes_halves=True,
    arity=1,
    delta=lambda delta, y, x: (delta,),
    delta_formula="Σ δ over the repeated axes",
    view=lambda x, shape: np.broadcast_to(x, shape),
    samples=(sample(real(3, 1), shape=(2, 3, 4)), sample(real(), shape=(3,))),
    example=('gg.broadcast_to(x, ("batch", 3, 4))', "float32[batch, 3, 4]"),
)
def broadcast_to(x: Node, shape: Sizes, name: str | None = None) -> Node:
    """x repeated to this shape, along new first axes and along axes of size 1."""
    return broadcast_to.node(x, shape=as_shape(shape), name=name)


# ---------------------------------------------------------------- copy


def _infer_copy(x: TensorType) -> TensorType:
    return x


def _compute_copy(xp: Any, out: Any, x: Any) -> None:
    xp.copyto(out, x)


copy = Operation(
    "copy",
    _infer_copy,
    "x",
    _compute_copy,
    arity=1,
    delta=lambda delta, y, x: (delta,),
    delta_formula="δ",
    samples=(sample(real(3, 4)),),
    takes_halves=True,
)
"""x in memory of its own, for snapshots in the plan."""

OPERATIONS: tuple[Operation, ...] = (reshape, transpose, broadcast_to, copy)
