"""Indexing: elements chosen by integers that are values of the graph themselves.

Indices count from 0; one that is negative or too large is an error when the program runs, never
another element silently.
"""

from __future__ import annotations

from typing import Any

from graphgrad.errors import DataError
from graphgrad.graph.dimension import Dimension
from graphgrad.graph.front import operation, with_example
from graphgrad.graph.leaves import iota
from graphgrad.graph.node import Node, Operation
from graphgrad.graph.samples import integer, real, sample
from graphgrad.graph.types import TensorType, as_size, broadcast, float_dtype, normal_axis
from graphgrad.ops.arithmetic import cast, equal
from graphgrad.ops.movement import broadcast_to, expand_dims
from graphgrad.ops.rules import need_integers

_OR = {
    "scatter_add": " (or the delta of gather)",
    "put_along_axis": " (or the delta of take_along_axis)",
}
"""What else an operation that met a bad index may be: where only deltas are computed, it is the
first to meet it."""


def check_indices(indices: Any, size: int, what: str) -> None:
    """DataError unless all indices are in [0, size)."""
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= size):
        raise DataError(
            f"{what}{_OR.get(what, '')}: an index lies outside [0, {size}): they reach from "
            f"{int(indices.min())} to {int(indices.max())}",
            fix="encode the data with the vocabulary that the model was built for",
        )


def _infer_checked(
    indices: TensorType, size: int | Dimension, ignored: int | None, what: str
) -> TensorType:
    need_integers(indices)
    return indices


def _compute_checked(
    xp: Any, out: Any, indices: Any, size: int, ignored: int | None, what: str
) -> None:
    counted = indices if ignored is None else indices[indices != ignored]
    check_indices(counted, size, what)
    xp.copyto(out, indices)


@operation(
    infer=_infer_checked,
    formula="x, whose elements are indices below n",
    compute=_compute_checked,
    arity=1,
    in_place=True,
    samples=(
        sample(integer(3, 4, below=5), size=5, ignored=None, what="sample"),
        sample(integer(4, below=5), size=4, ignored=4, what="sample"),
    ),
)
def checked(indices: Node, size: int | Dimension, what: str, ignored: int | None = None) -> Node:
    """The indices themselves; where they are computed, DataError unless they are in [0, size).

    What only compares indices (`one_hot`, a cross-entropy written out) would take one that is no
    index as one that is never met. It compares these instead, so the check is part of the graph and
    stays with whatever is computed from it. The index `ignored` passes.
    """
    return checked.node(indices, size=size, ignored=ignored, what=what)


# ---------------------------------------------------------------- rows of a table


def _infer_gather(table: TensorType, indices: TensorType) -> TensorType:
    need_integers(indices)
    if not table.shape:
        raise ValueError("a scalar has no rows to gather")
    return TensorType((*indices.shape, *table.shape[1:]), table.dtype)


def _compute_gather(xp: Any, out: Any, table: Any, indices: Any) -> None:
    check_indices(indices, table.shape[0], "gather")
    xp.take(table, indices, axis=0, out=out, mode="clip")


def _delta_gather(delta: Node, y: Node, table: Node, indices: Node) -> tuple[Node, None]:
    return scatter_add(indices, delta, table.shape[0]), None


@operation(
    infer=_infer_gather,
    formula="rows of x₁ chosen by x₂",
    compute=_compute_gather,
    arity=2,
    delta=_delta_gather,
    delta_formula="δ₁ = Σ of the rows of δ that came from each row",
    one_dtype=False,
    samples=(sample(real(5, 3), integer(2, 4, below=5)), sample(real(5), integer(4, below=5))),
    example=("gg.gather(x, gg.constant([[2, 0]]))", "float32[1, 2, 4]"),
)
def gather(table: Node, indices: Node, name: str | None = None) -> Node:
    """The rows of a table that the indices choose: the shape of the indices, then that of a row."""
    return gather.node(table, indices, name=name)


def _infer_scatter(indices: TensorType, rows: TensorType, size: int | Dimension) -> TensorType:
    need_integers(indices)
    rank = len(indices.shape)
    if rows.shape[:rank] != indices.shape:
        raise ValueError("there must be one row for every index")
    return TensorType((size, *rows.shape[rank:]), rows.dtype)


def _compute_scatter(xp: Any, out: Any, indices: Any, rows: Any, size: int) -> None:
    check_indices(indices, size, "scatter_add")
    out.fill(0)
    flat = rows.reshape(indices.size, *out.shape[1:])
    # row by row in order: the same sum on every run, and many times faster than add.at
    for place, row in zip(indices.reshape(-1).tolist(), flat, strict=True):
        out[place] += row


@operation(
    infer=_infer_scatter,
    formula="rows x₂ added up at the places x₁",
    compute=_compute_scatter,
    arity=2,
    delta=lambda delta, y, indices, rows: (None, gather(delta, indices)),
    delta_formula="δ₂ = the rows of δ at the places x₁",
    samples=(
        sample(integer(2, 4, below=5), real(2, 4, 3), size=5),
        sample(integer(4, below=5), real(4), size=5),
    ),
    example=("gg.scatter_add(gg.iota(3), x, 5)", "float32[5, 4]"),
)
def scatter_add(indices: Node, rows: Node, size: int | Dimension, name: str | None = None) -> Node:
    """A table of `size` rows, zero but for the rows added at the indices; repeated ones add up."""
    return scatter_add.node(indices, rows, size=as_size(size), name=name)


@with_example("gg.one_hot(gg.argmax(x), 4)", "float32[3, 4]")
def one_hot(
    indices: Node, depth: int | Dimension, dtype: Any = None, name: str | None = None
) -> Node:
    """1 at the index and 0 elsewhere along a new last axis of size `depth`."""
    need_integers(indices.type)
    depth = as_size(depth)
    hot = is_at(checked(indices, depth, "one_hot"), depth)
    return cast(hot, float_dtype(dtype), name=name)


def is_at(indices: Node, depth: int | Dimension) -> Node:
    """Where each index is, as truth values along a new last axis of size `depth`."""
    return equal(expand_dims(indices, indices.rank), iota(depth, indices.dtype))


# ---------------------------------------------------------------- elements along an axis


def _infer_take(x: TensorType, indices: TensorType, axis: int) -> TensorType:
    need_integers(indices)
    normal_axis(axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise ValueError("indices need as many axes as x")
    around = [(*t.shape[:axis], *t.shape[axis + 1 :]) for t in (x, indices)]
    if around[0] != around[1]:
        raise ValueError("away from the axis, the sizes of indices and x must be equal")
    return TensorType((*x.shape[:axis], indices.shape[axis], *x.shape[axis + 1 :]), x.dtype)


def _compute_take(xp: Any, out: Any, x: Any, indices: Any, axis: int) -> None:
    check_indices(indices, x.shape[axis], "take_along_axis")
    out[...] = xp.take_along_axis(x, indices, axis)


def _delta_take(delta: Node, y: Node, x: Node, indices: Node) -> tuple[Node, None]:
    axis = y.attributes["axis"]
    return put_along_axis.node(indices, delta, axis=axis, size=x.shape[axis]), None


@operation(
    infer=_infer_take,
    formula="elements of x₁ chosen by x₂ along an axis",
    compute=_compute_take,
    delta=_delta_take,
    delta_formula="δ₁ = δ added up at the chosen places",
    arity=2,
    samples=(
        sample(real(3, 5), integer(3, 2, below=5), axis=1),
        sample(real(4, 2, 3), integer(2, 2, 3, below=4), axis=0),
    ),
    example=("gg.take_along_axis(x, gg.argmax(x, keepdims=True))", "float32[3, 1]"),
)
def take_along_axis(x: Node, indices: Node, axis: int = -1, name: str | None = None) -> Node:
    """Elements of x chosen along `axis`; away from it, indices and x broadcast to each other."""
    axis = normal_axis(axis, x.rank)
    x, indices = _broadcast_around(x, indices, axis)
    return take_along_axis.node(x, indices, axis=axis, name=name)


def _infer_put(
    indices: TensorType, values: TensorType, axis: int, size: int | Dimension
) -> TensorType:
    need_integers(indices)
    if indices.shape != values.shape:
        raise ValueError("there must be one value for every index")
    shape = values.shape
    return TensorType((*shape[:axis], size, *shape[axis + 1 :]), values.dtype)


def _compute_put(xp: Any, out: Any, indices: Any, values: Any, axis: int, size: int) -> None:
    check_indices(indices, size, "put_along_axis")
    out.fill(0)
    places = list(xp.indices(indices.shape, sparse=True))
    places[axis] = indices
    xp.add.at(out, tuple(places), values)


@operation(
    infer=_infer_put,
    formula="x₂ added up at the places x₁ along an axis",
    compute=_compute_put,
    delta=lambda delta, y, indices, values: (
        None,
        take_along_axis.node(delta, indices, axis=y.attributes["axis"]),
    ),
    delta_formula="δ₂ = the elements of δ at the places x₁",
    arity=2,
    samples=(sample(integer(3, 2, below=5), real(3, 2), axis=1, size=5),),
    example=("gg.put_along_axis(gg.iota(3)[:, None], x[:, :1], 5)", "float32[3, 5]"),
)
def put_along_axis(
    indices: Node, values: Node, size: int | Dimension, axis: int = -1, name: str | None = None
) -> Node:
    """Zeros, with the values added at the indices along `axis`, which gets `size` elements.

    Indices and values broadcast to each other.
    """
    shape = broadcast([indices.shape, values.shape])
    axis = normal_axis(axis, len(shape))
    heads = [
        node if node.shape == shape else broadcast_to(node, shape) for node in (indices, values)
    ]
    return put_along_axis.node(*heads, axis=axis, size=as_size(size), name=name)


def _broadcast_around(x: Node, indices: Node, axis: int) -> tuple[Node, Node]:
    """Both with the sizes that they broadcast to on all axes but one."""
    if x.rank != indices.rank:
        return x, indices  # the shape rule says what is wrong
    around = broadcast([(*n.shape[:axis], 1, *n.shape[axis + 1 :]) for n in (x, indices)])
    wide = [(*around[:axis], n.shape[axis], *around[axis + 1 :]) for n in (x, indices)]
    x, indices = (
        n if n.shape == shape else broadcast_to(n, shape)
        for n, shape in zip((x, indices), wide, strict=True)
    )
    return x, indices


OPERATIONS: tuple[Operation, ...] = (checked, gather, scatter_add, take_along_axis, put_along_axis)
