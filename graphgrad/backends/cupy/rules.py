"""Which kernels compute an operation that is in no loop nest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphgrad import ops
from graphgrad.backends.cupy.copies import pack_width, packed
from graphgrad.backends.cupy.expressions import number
from graphgrad.backends.cupy.kernel_files import kernel_text
from graphgrad.backends.cupy.launches import Array
from graphgrad.backends.cupy.lowering import Lowering
from graphgrad.backends.cupy.summary import summarised
from graphgrad.fusion.builder import build_nest
from graphgrad.fusion.reading import Role, broadcast_source, is_generator
from graphgrad.fusion.region import Region
from graphgrad.fusion.statements import (
    Argument,
    ColumnLoop,
    Load,
    Loops,
    Read,
    Reduce,
    RowSums,
    Store,
    Value,
)
from graphgrad.graph import Node, Operation, TensorType
from graphgrad.ops.frames import unslice_all
from graphgrad.ops.indexing import checked
from graphgrad.ops.measurement import Measurement
from graphgrad.ops.movement import copy
from graphgrad.ops.random import dropout_mask_of_part
from graphgrad.ops.slices import stops_of, unslice
from graphgrad.philox import dropout_scale, dropout_threshold

RUN = 1024
"""Positions that four blocks sort."""
LINES = 8
"""Lines that one block of `argmax` looks through."""


def viewed(array: Array, view: Callable[[np.ndarray], np.ndarray]) -> Array:
    """The array as a view operation shows it."""
    ghost = np.lib.stride_tricks.as_strided(
        np.empty(1, array.dtype), array.shape, array.strides, writeable=False
    )
    seen = view(ghost)
    offset = int(seen.ctypes.data - ghost.ctypes.data) if seen.size else 0
    return Array(array.memory, array.offset + offset, array.dtype, seen.shape, seen.strides)


def windowed(array: Array, key: tuple[slice, ...]) -> Array:
    """A window of the array."""
    return viewed(array, lambda whole: whole[key])


def _copied(lowering: Lowering, node: Node) -> None:
    source, target = lowering.array(node.heads[0]), lowering.array(node)
    if node.operation is ops.reshape:
        target = viewed(target, lambda y: y.reshape(source.shape))
    elif node.operation.view is not None:
        its_view = node.operation.view
        source = viewed(source, lambda x: its_view(x, **node.attributes))
    lowering.copy(node, source, target)


def _concatenated(lowering: Lowering, node: Node) -> None:
    axis, start = node.attributes["axis"], 0
    for head in node.heads:
        end = start + head.type.sizes[axis]
        key = (*[slice(None)] * axis, slice(start, end))
        place = windowed(lowering.array(node), key)
        lowering.copy(node, lowering.array(head), place)
        start = end


def _unsliced(lowering: Lowering, node: Node) -> None:
    starts, steps = node.attributes["starts"], node.attributes["steps"]
    several = node.operation is unslice_all
    places = list(zip(starts, steps, strict=True)) if several else [(starts, steps)]
    whole = lowering.array(node)
    if node.heads[0].shape != node.shape:
        lowering.zeros(node, whole)
    for number_of, (head, (start, step)) in enumerate(zip(node.heads, places, strict=True)):
        key = tuple(map(slice, start, stops_of(start, step, head.type.sizes), step))
        place = windowed(whole, key)
        first = number_of == 0 and head.shape == node.shape
        source = lowering.array(head)
        if not (first and source == place):  # else it lies there already
            lowering.copy(node, source, place, adds=several and not first)


def _gathered(lowering: Lowering, node: Node) -> None:
    table, indices = (lowering.contiguous(node, lowering.array(head)) for head in node.heads)
    target = lowering.array(node)
    width = int(np.prod(table.shape[1:], dtype=np.int64))
    together = pack_width(table.dtype, (table, target), (width,))
    element, width = packed(table.dtype, together), width // together
    text = kernel_text("gather", element=element, index=indices.dtype)
    words = (
        *(indices.size, width, table.shape[0]),
        *(table.read, indices.read, target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, indices.size * width, words)


def _scatter_added(lowering: Lowering, node: Node) -> None:
    indices, rows = (lowering.contiguous(node, lowering.array(head)) for head in node.heads)
    target, count = lowering.array(node), indices.size
    lowering.zeros(node, target)
    order, other = (lowering.scratch(TensorType((count,), np.dtype("int32"))) for _ in range(2))
    sort = kernel_text("sort_runs", index=indices.dtype)
    grid = 4 * -(-count // RUN)
    lowering.launch(node, sort, grid, (count, indices.read, order.written), block=RUN)
    run = RUN
    while run < count:
        merge, merged = kernel_text("merge_runs", index=indices.dtype), other.written
        lowering.elementwise(node, merge, count, (count, run, indices.read, order.read, merged))
        order, other, run = other, order, 2 * run
    width = int(np.prod(target.shape[1:], dtype=np.int64))
    text = kernel_text("add_rows", element=rows.dtype, index=indices.dtype)
    words = (
        *(count, width, target.shape[0], indices.read, order.read, rows.read),
        *(target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, count * width, words)


def _around(shape: tuple[int, ...], axis: int) -> int:
    """How many elements lie behind each other for one step along the axis."""
    return int(np.prod(shape[axis + 1 :], dtype=np.int64))


def _taken_along(lowering: Lowering, node: Node) -> None:
    x, indices = (lowering.contiguous(node, lowering.array(head)) for head in node.heads)
    axis, target = node.attributes["axis"], lowering.array(node)
    text = kernel_text("take_along_axis", element=x.dtype, index=indices.dtype)
    words = (
        *(target.size, target.shape[axis], _around(target.shape, axis), x.shape[axis]),
        *(x.read, indices.read, target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, target.size, words)


def _put_along(lowering: Lowering, node: Node) -> None:
    indices, values = (lowering.contiguous(node, lowering.array(head)) for head in node.heads)
    axis, target = node.attributes["axis"], lowering.array(node)
    lowering.zeros(node, target)
    taken = values.shape[axis]
    lines = values.size // taken if taken else 0
    text = kernel_text("put_along_axis", element=values.dtype, index=indices.dtype)
    words = (
        *(lines, taken, _around(target.shape, axis), target.shape[axis]),
        *(indices.read, values.read, target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, lines, words)


def _argmax(lowering: Lowering, node: Node) -> None:
    x, target = lowering.contiguous(node, lowering.array(node.heads[0])), lowering.array(node)
    axis = node.attributes["axis"]
    text = kernel_text("argmax", element=x.dtype, index=target.dtype)
    words = (target.size, x.shape[axis], _around(x.shape, axis), x.read, target.written)
    lowering.launch(node, text, -(-target.size // LINES), words, block=32 * LINES)


def _top(lowering: Lowering, node: Node) -> None:
    x, target = lowering.contiguous(node, lowering.array(node.heads[0])), lowering.array(node)
    text, size = kernel_text("top", element=x.dtype), x.shape[-1]
    words = (size, node.attributes["k"], x.read, target.written)
    lowering.launch(node, text, x.size // size if size else 0, words, block=256)


def _rows_written(lowering: Lowering, node: Node) -> None:
    """Into a copy, unless the result has the place of what is written to."""
    x, target = lowering.array(node.heads[0]), lowering.array(node)
    rows, places = (lowering.contiguous(node, lowering.array(head)) for head in node.heads[1:])
    if x != target:
        lowering.copy(node, x, target)
    width = int(np.prod(rows.shape[2:], dtype=np.int64))
    text = kernel_text("write_rows", element=rows.dtype, index=places.dtype)
    words = (
        *(places.size, width, places.shape[1], x.shape[1]),
        *(rows.read, places.read, target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, places.size * width, words)


def _checked(lowering: Lowering, node: Node) -> None:
    indices, target = lowering.contiguous(node, lowering.array(node.heads[0])), lowering.array(node)
    ignored = node.attributes["ignored"]
    text = kernel_text("checked", index=indices.dtype)
    words = (
        *(indices.size, node.attributes["size"], int(ignored is not None), ignored or 0),
        *(indices.read, target.written, lowering.refused(node)),
    )
    lowering.elementwise(node, text, indices.size, words)


def _mask(lowering: Lowering, node: Node) -> None:
    seed, step, *first = map(lowering.array, node.heads)
    target, rate = lowering.array(node), node.attributes["rate"]
    text = kernel_text(
        node.operation.name,
        element=target.dtype,
        seed=seed.dtype,
        step=step.dtype,
        threshold=f"{dropout_threshold(rate)}u",
        scale=number(dropout_scale(rate), target.dtype),
        **({"first": first[0].dtype} if first else {}),
    )
    each = (node.attributes["each"],) if first else ()
    words = (target.size, node.attributes["stream"], *each)
    pointers = (seed.read, step.read, *(its.read for its in first), target.written)
    threads = target.size if first else -(-target.size // 4)
    lowering.elementwise(node, text, threads, (*words, *pointers))


def _elementwise(lowering: Lowering, node: Node) -> None:
    """A loop nest of the one operation; what a kernel cannot read is put in order before."""
    space = node.type.sizes or (1,)
    if 0 in space:
        return
    moved = {}
    for head in node.heads:
        source = broadcast_source(head)
        if not (is_generator(source) or lowering.plan.layouts.contiguous(source)):
            moved[source] = lowering.contiguous(node, lowering.array(source))
    nest = build_nest(Region(space, roles={node: Role.FULL}), [node], lowering.plan.graph)
    lowering.nest(node, nest, moved=moved)


def _reduced(lowering: Lowering, node: Node) -> None:
    """A sum, maximum or minimum: the axes that stay become rows, the others columns."""
    x, axes = lowering.array(node.heads[0]), node.attributes["axes"]
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    ordered = viewed(x, lambda x: x.transpose(*kept, *axes))
    rows, columns = (int(np.prod([x.shape[a] for a in its], dtype=int)) for its in (kept, axes))
    target = lowering.array(node)
    if not columns or not rows:
        lowering.zeros(node, target)
        return
    step = Reduce(1, node.operation, Read(0))
    kind = RowSums if node.operation is ops.sum else ColumnLoop
    loops = Loops(
        (rows, columns),
        (Value(x.dtype, Role.FULL), Value(node.dtype, Role.ROW)),
        (Argument(0),),
        ((kind((Load(0), step)), Store(1)),),
        (1,),
        (),
        (),
    )
    source = lowering.contiguous(node, ordered)
    lowering.loops(node, loops, {0: source, 1: target})


RULES: Mapping[Operation, Callable[[Lowering, Node], None]] = {
    **dict.fromkeys((ops.reshape, ops.transpose, ops.broadcast_to, ops.slice, copy), _copied),
    ops.concatenate: _concatenated,
    unslice: _unsliced,
    unslice_all: _unsliced,
    ops.gather: _gathered,
    ops.scatter_add: _scatter_added,
    ops.take_along_axis: _taken_along,
    ops.put_along_axis: _put_along,
    ops.argmax: _argmax,
    ops.top: _top,
    ops.write_rows: _rows_written,
    checked: _checked,
    **dict.fromkeys((ops.dropout_mask, dropout_mask_of_part), _mask),
    **dict.fromkeys((ops.sum, ops.max, ops.min), _reduced),
}
"""By operation; an elementwise one needs no entry. What has no rule is computed by the array module
as its block says, or, a collective of several ranks, by what connects their devices."""


def rule_of(operation: Operation) -> Callable[[Lowering, Node], None] | None:
    """What adds the launches of an operation, if kernels compute it."""
    if isinstance(operation, Measurement):
        return summarised
    if operation.kernel and operation not in RULES:
        return _elementwise
    return RULES.get(operation)
