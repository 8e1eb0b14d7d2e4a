"""Reductions: many elements become one.

`axis` is one axis or several, negative ones counted from the back; None means all. With `keepdims`
the reduced axes stay with size 1. In the attributes of a node, `axes` are counted from the front
and sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphgrad.graph.dimension import product
from graphgrad.graph.front import operation
from graphgrad.graph.node import Node, Operation, extent
from graphgrad.graph.samples import real, sample
from graphgrad.graph.types import (
    INT32,
    INT64,
    DType,
    Shape,
    TensorType,
    as_dtype,
    normal_axes,
    normal_axis,
    truth,
)
from graphgrad.ops.arithmetic import (
    cast,
    divide,
    equal,
    is_finite,
    maximum,
    stop_gradient,
    where,
)
from graphgrad.ops.functions import exp
from graphgrad.ops.movement import broadcast_to, reshape_to
from graphgrad.ops.rules import need_floats, need_numbers

Axes = int | Iterable[int] | None

_AXES = (
    sample(real(3, 4), axes=(1,), keepdims=False),
    sample(real(2, 3, 4), axes=(0, 2), keepdims=True),
    sample(real(3, 4), axes=(0, 1), keepdims=False),
)


def _infer(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    normal_axes(axes, len(x.shape))
    kept = [
        1 if axis in axes else size
        for axis, size in enumerate(x.shape)
        if keepdims or axis not in axes
    ]
    return TensorType(tuple(kept), x.dtype)


def _infer_float(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    need_floats(x)
    return _infer(x, axes, keepdims)


def _infer_sum(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    need_numbers(x)
    return _infer(x, axes, keepdims)


def _infer_extreme(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    if any(x.shape[axis] == 0 for axis in axes):
        raise ValueError("an axis of size 0 has no largest or smallest element")
    return _infer(x, axes, keepdims)


def _expanded(value: Node, y: Node, x: Node) -> Node:
    """`value`, of the shape of the reduction `y`, with the axes of x back as size 1."""
    axes = y.attributes["axes"]
    return reshape_to(value, tuple(1 if a in axes else s for a, s in enumerate(x.shape)))


def _count(x: Any, axes: tuple[int, ...]) -> int:
    """How many elements are reduced to one."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def _over_axes(operation: Operation, x: Node, axis: Axes, keepdims: bool, name: str | None) -> Node:
    """The reduction of x over `axis` as a user gives it."""
    axes = normal_axes(axis, x.rank)
    return operation.node(x, axes=axes, keepdims=truth(keepdims, "keepdims"), name=name)


# ---------------------------------------------------------------- sum, mean, variance


def _compute_sum(xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> None:
    xp.sum(x, axis=axes, out=out, keepdims=keepdims)


@operation(
    infer=_infer_sum,
    formula="Σ x",
    compute=_compute_sum,
    arity=1,
    delta=lambda delta, y, x: (broadcast_to(_expanded(delta, y, x), x.shape),),
    delta_formula="δ, repeated along the summed axes",
    samples=(*_AXES, sample(real(0, 3), axes=(0,), keepdims=False)),
    example=("gg.sum(x, axis=1)", "float32[3]"),
)
def sum(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """Σ x over the axes."""
    return _over_axes(sum, x, axis, keepdims, name)


def _compute_mean(xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> None:
    xp.sum(x, axis=axes, out=out, keepdims=keepdims)
    xp.divide(out, _count(x, axes), out=out)


def _delta_mean(delta: Node, y: Node, x: Node) -> tuple[Node]:
    return (broadcast_to(_expanded(delta, y, x) / _extent(y, x), x.shape),)


def _extent(y: Node, x: Node) -> Node:
    """n, the number of elements of x that are reduced to one of y."""
    return extent(product(x.shape[axis] for axis in y.attributes["axes"]), x.dtype)


@operation(
    infer=_infer_float,
    formula="1/n Σ x",
    compute=_compute_mean,
    arity=1,
    delta=_delta_mean,
    delta_formula="δ / n, repeated along the reduced axes",
    samples=_AXES,
    example=("gg.mean(x, axis=1, keepdims=True)", "float32[3, 1]"),
)
def mean(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """The mean of x over the axes."""
    return _over_axes(mean, x, axis, keepdims, name)


def _variance_scratch(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> Any:
    return _infer(x, axes, True), x


def _compute_variance(
    xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool, scratch: Any
) -> None:
    average, centred = scratch
    _compute_mean(xp, average, x, axes, True)
    xp.subtract(x, average, out=centred)
    # the mean was rounded; what it leaves has a mean of its own, which makes constant rows 0
    _compute_mean(xp, average, centred, axes, True)
    xp.subtract(centred, average, out=centred)
    xp.multiply(centred, centred, out=centred)
    _compute_mean(xp, out, centred, axes, keepdims)


def _delta_variance(delta: Node, y: Node, x: Node) -> tuple[Node]:
    centred = x - mean(x, y.attributes["axes"], keepdims=True)
    return (_expanded(delta, y, x) * (2.0 / _extent(y, x)) * centred,)


@operation(
    infer=_infer_float,
    formula="1/n Σ (x - mean x)²",
    compute=_compute_variance,
    arity=1,
    delta=_delta_variance,
    delta_formula="δ · 2/n · (x - mean x)",
    scratch=_variance_scratch,
    samples=_AXES,
    example=("gg.variance(x, axis=-1)", "float32[3]"),
)
def variance(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """The mean of the squared distances from the mean, divided by n (not by n - 1)."""
    return _over_axes(variance, x, axis, keepdims, name)


# ---------------------------------------------------------------- max, min, argmax


def _compute_max(xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> None:
    xp.amax(x, axis=axes, out=out, keepdims=keepdims)


def _compute_min(xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> None:
    xp.amin(x, axis=axes, out=out, keepdims=keepdims)


def _delta_extreme(delta: Node, y: Node, x: Node) -> tuple[Node]:
    chosen = cast(equal(x, _expanded(y, y, x)), x.dtype)
    winners = sum(chosen, y.attributes["axes"], keepdims=True)
    return (_expanded(delta, y, x) * divide(chosen, winners),)


@operation(
    infer=_infer_extreme,
    formula="max x",
    compute=_compute_max,
    arity=1,
    delta=_delta_extreme,
    delta_formula="δ shared equally among the largest elements, 0 elsewhere",
    samples=_AXES,
    example=("gg.max(x, axis=0)", "float32[4]"),
)
def max(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """The largest element; elements that tie share the delta equally."""
    return _over_axes(max, x, axis, keepdims, name)


@operation(
    infer=_infer_extreme,
    formula="min x",
    compute=_compute_min,
    arity=1,
    delta=_delta_extreme,
    delta_formula="δ shared equally among the smallest elements, 0 elsewhere",
    samples=_AXES,
    example=("gg.min(x)", "float32[]"),
)
def min(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """The smallest element; elements that tie share the delta equally."""
    return _over_axes(min, x, axis, keepdims, name)


def _infer_along(x: TensorType, axis: int) -> TensorType:
    normal_axis(axis, len(x.shape))
    if x.shape[axis] == 0:
        raise ValueError("an axis of size 0 has no largest element")
    return TensorType((*x.shape[:axis], *x.shape[axis + 1 :]), x.dtype)


def _infer_argmax(x: TensorType, axis: int, dtype: DType) -> TensorType:
    if dtype not in (INT32, INT64):
        raise ValueError(f"an index is int32 or int64, not {dtype}")
    return TensorType(_infer_along(x, axis).shape, dtype)


def _argmax_scratch(x: TensorType, axis: int, dtype: DType) -> tuple[TensorType, ...]:
    return (TensorType(_infer_along(x, axis).shape, INT64),)


def _compute_argmax(xp: Any, out: Any, x: Any, axis: int, dtype: DType, scratch: Any) -> None:
    (places,) = scratch  # NumPy counts in int64 only
    xp.argmax(x, axis=axis, out=places)
    xp.copyto(out, places, casting="unsafe")


@operation(
    infer=_infer_argmax,
    formula="the first index of the largest x",
    compute=_compute_argmax,
    arity=1,
    scratch=_argmax_scratch,
    samples=(
        sample(real(3, 4), axis=1, dtype=INT32, smooth=False),
        sample(real(3, 4), axis=0, dtype=INT64, smooth=False),
    ),
    example=("gg.argmax(x, axis=1)", "int32[3]"),
)
def argmax(
    x: Node,
    axis: int | None = -1,
    keepdims: bool = False,
    dtype: Any = "int32",
    name: str | None = None,
) -> Node:
    """The index of the largest element along one axis, the first on a tie; of all elements, in
    order, where `axis` is None.

    The dtype is that of all indices here (`iota`, integer constants): int32, so that
    `mean(cast(equal(argmax(x), ids), "float32"))` is an accuracy. For ids in int64, say so.
    """
    keepdims = truth(keepdims, "keepdims")
    whole, axis = (x, axis) if axis is not None else (reshape_to(x, (x.type.size,)), 0)
    place = normal_axis(axis, whole.rank)
    kept = [1] * x.rank if whole is not x else [*x.shape[:place], 1, *x.shape[place + 1 :]]
    y = argmax.node(whole, axis=place, dtype=as_dtype(dtype), name=None if keepdims else name)
    return reshape_to(y, tuple(kept), name) if keepdims else y


# ---------------------------------------------------------------- log-sum-exp


def _infer_logsumexp(x: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    need_floats(x)
    return _infer_extreme(x, axes, keepdims)


def _compute_logsumexp(
    xp: Any, out: Any, x: Any, axes: tuple[int, ...], keepdims: bool, scratch: Any
) -> None:
    largest, shifted = scratch
    xp.amax(x, axis=axes, out=largest, keepdims=True)
    xp.copyto(largest, 0, where=xp.isinf(largest))  # log Σ e^-∞ stays -∞, without ∞ - ∞
    xp.subtract(x, largest, out=shifted)
    xp.exp(shifted, out=shifted)
    xp.sum(shifted, axis=axes, out=out, keepdims=keepdims)
    xp.log(out, out=out)
    xp.add(out, largest.reshape(out.shape), out=out)


def share_of(x: Node, y: Node, axes: tuple[int, ...]) -> Node:
    """eˣ / Σ eˣ for y = log Σ eˣ, kept as axes of size 1; zeros where everything is -∞.

    Divided by its own sum, since y may have been rounded by more than its logarithm is worth.
    """
    level = stop_gradient(where(is_finite(y), y, 0.0))
    part = exp(x - level)
    return part / maximum(sum(part, axes, keepdims=True), float(np.finfo(x.dtype).tiny))


def _delta_logsumexp(delta: Node, y: Node, x: Node) -> tuple[Node]:
    return (_expanded(delta, y, x) * share_of(x, _expanded(y, y, x), y.attributes["axes"]),)


@operation(
    infer=_infer_logsumexp,
    formula="log Σ eˣ",
    compute=_compute_logsumexp,
    arity=1,
    delta=_delta_logsumexp,
    delta_formula="δ · eˣ / Σ eˣ",
    scratch=_variance_scratch,
    samples=_AXES,
    example=("gg.logsumexp(x, axis=1)", "float32[3]"),
)
def logsumexp(x: Node, axis: Axes = None, keepdims: bool = False, name: str | None = None) -> Node:
    """log Σ eˣ, computed without overflow."""
    return _over_axes(logsumexp, x, axis, keepdims, name)


def sum_to(x: Node, shape: Shape) -> Node:
    """x summed along the axes in which `shape` was broadcast to the shape of x."""
    if x.shape == shape:
        return x
    extra = x.rank - len(shape)
    axes = [*range(extra)]
    axes += [extra + a for a, size in enumerate(shape) if size == 1 and x.shape[extra + a] != 1]
    return reshape_to(sum(x, axes) if axes else x, shape)


OPERATIONS: tuple[Operation, ...] = (sum, mean, variance, max, min, argmax, logsumexp)
