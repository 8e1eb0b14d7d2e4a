"""Says which operations treat the examples of a batch one by one, so that a part is computed alone.

Each rule raises ValueError, with the reason, for a node of which an example of the result depends
on other examples of the heads. An operation without a rule is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphgrad.graph import Node, Operation
from graphgrad.graph.dimension import product
from graphgrad.ops import (
    argmax,
    broadcast_to,
    concatenate,
    cross_entropy,
    gather,
    log_softmax,
    logsumexp,
    matmul,
    mean,
    put_along_axis,
    reshape,
    softmax,
    standardise,
    take_along_axis,
    transpose,
    variance,
)
from graphgrad.ops import max as largest
from graphgrad.ops import min as least
from graphgrad.ops import slice as window
from graphgrad.ops import sum as total
from graphgrad.ops.indexing import checked
from graphgrad.ops.movement import copy
from graphgrad.ops.slices import unslice

Axes = Sequence[int | None]
"""The axis of each head that counts examples; None where it has none."""
Rule = Callable[[Node, Axes, int], None]
"""The rule of an operation, for a node, the axes of its heads, and its own axis."""

TWO_AXES = "two axes of it count examples"
_ALONG = "it mixes the elements along the axis of the examples"


def need_rows(node: Node, axes: Axes, axis: int) -> None:
    """Raises ValueError unless each example of the node depends on that example alone."""
    if node.operation.kernel:
        _aligned(node, axes, axis)
        return
    rule = RULES.get(node.operation)
    if rule is None:
        raise ValueError("how it treats the examples of a batch is not known")
    rule(node, axes, axis)


def need_pairs(heads: Sequence[Node], axes: Axes) -> None:
    """Raises ValueError unless heads that are combined element by element have the examples at the
    same place, counted from the last axis, as they are broadcast."""
    places = {its - head.rank for head, its in zip(heads, axes, strict=True) if its is not None}
    if len(places) > 1:
        raise ValueError(TWO_AXES)


def inner_axis(node: Node, side: int) -> int:
    """The axis of a head of a matrix product that is summed over."""
    transposed = node.attributes["transpose_b" if side else "transpose_a"]
    return len(node.heads[side].shape) - (1 if bool(side) == transposed else 2)


def _aligned(node: Node, axes: Axes, axis: int) -> None:
    """Element by element, aligned at the last axis."""
    for head, its in zip(node.heads, axes, strict=True):
        if its is not None and its - head.rank != axis - node.rank:
            raise ValueError(TWO_AXES)


def _moved(node: Node, axes: Axes, axis: int) -> None:
    """Elements keep their example, wherever its axis is."""


def _reshaped(node: Node, axes: Axes, axis: int) -> None:
    if product(node.heads[0].shape[: axes[0]]) != product(node.shape[:axis]):
        raise ValueError("the examples do not stay together in the new shape")


def _reduced(node: Node, axes: Axes, axis: int) -> None:
    if axes[0] in node.attributes["axes"]:
        raise ValueError(_ALONG)


def _along_axis(node: Node, axes: Axes, axis: int) -> None:
    mixed = node.attributes["axis"] % node.heads[0].rank
    if mixed in axes or len({*axes} - {None}) != 1:
        raise ValueError(_ALONG)


def _joined(node: Node, axes: Axes, axis: int) -> None:
    if node.attributes["axis"] == axis or {*axes} != {axis}:
        raise ValueError(_ALONG)


def _along_last(node: Node, axes: Axes, axis: int) -> None:
    if axes[0] is None or axes[0] == node.heads[0].rank - 1:
        raise ValueError(_ALONG)


def _whole(node: Node, axes: Axes, axis: int) -> None:
    """A window has all examples, in their order."""
    start, step = node.attributes["starts"][axis], node.attributes["steps"][axis]
    if start != 0 or step != 1 or node.heads[0].shape[axis] != node.shape[axis]:
        raise ValueError("it takes some of the examples")


def _looked_up(node: Node, axes: Axes, axis: int) -> None:
    if axes[0] is not None:
        raise ValueError("it looks up rows of other examples")


def _multiplied(node: Node, axes: Axes, axis: int) -> None:
    counted = [(side, its) for side, its in enumerate(axes) if its is not None]
    if any(its == inner_axis(node, side) for side, its in counted):
        raise ValueError("it adds up examples")
    places = {its - node.heads[side].rank for side, its in counted}
    if len(counted) > 1 and (len(places) > 1 or max(places) >= -2):
        raise ValueError(TWO_AXES)


RULES: Mapping[Operation, Rule] = {
    **dict.fromkeys((copy, broadcast_to), _aligned),
    **dict.fromkeys((transpose, checked), _moved),
    **dict.fromkeys((total, mean, variance, logsumexp, largest, least), _reduced),
    **dict.fromkeys((softmax, log_softmax, argmax, take_along_axis, put_along_axis), _along_axis),
    **dict.fromkeys((standardise, cross_entropy), _along_last),
    **dict.fromkeys((window, unslice), _whole),
    reshape: _reshaped,
    concatenate: _joined,
    gather: _looked_up,
    matmul: _multiplied,
}
