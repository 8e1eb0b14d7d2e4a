"""Turns a sum of values that each fill a part of a frame of zeros into one operation.

The T slices of one value send back T contributions of its whole size, which are zero except for a
window each. Adding them costs T² where laying them side by side costs T. The same holds for rows
that are looked up one by one. The contributions stay in the graph for whoever asks for them; their
sum no longer needs them:

    unslice + unslice + …         → concatenate where the windows tile an axis, else unslice_all
    scatter_add + scatter_add …   → one scatter_add of all rows; put_along_axis in the same way

    >>> import graphgrad as gg
    >>> from graphgrad.passes import prune
    >>> x = gg.input("x", (2, 3))
    >>> loss = gg.sum(gg.tanh(x[:, :1])) + gg.sum(gg.exp(x[:, 1:]))
    >>> graph = gg.derive(gg.Graph({"loss": loss}), "loss")
    >>> graph = prune(graph.with_outputs({"x.delta": graph.delta(x)}))

Before and after, the last lines:

    >>> print("\\n".join(str(graph).splitlines()[-4:]))
    %13 = unslice(%8, starts=(0, 1), steps=(1, 1)) : float32[2, 3]    # x.delta<-slice_1
    %14 = unslice(%12, starts=(0, 0), steps=(1, 1)) : float32[2, 3]    # x.delta<-slice
    %15 = add(%13, %14) : float32[2, 3]    # x.delta
    output x.delta = %15
    >>> print("\\n".join(str(prune(join_frames(graph))).splitlines()[-2:]))
    %13 = concatenate(%12, %8, axis=1) : float32[2, 3]    # x.delta
    output x.delta = %13
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphgrad.graph import Graph, Node, Operation, placed
from graphgrad.graph.dimension import product
from graphgrad.graph.node import rebuilt
from graphgrad.ops import add, concatenate, reshape
from graphgrad.ops.frames import unslice_all
from graphgrad.ops.indexing import put_along_axis, scatter_add
from graphgrad.ops.slices import unslice

FEWEST = 2
"""Frames in one sum that are worth joining."""


def join_frames(graph: Graph) -> Graph:
    """The graph with the sums of frames joined."""
    sums = _sums(graph)
    if not sums:
        return graph
    replacement: dict[Node, Node] = {}
    for old in graph.nodes:
        terms = sums.get(old)
        if terms is None and replacement.keys().isdisjoint(old.heads):
            continue
        with placed(graph.name_of(old), old.origin):
            if terms is None:
                new = rebuilt(old, tuple(replacement.get(head, head) for head in old.heads))
            else:
                new = _joined([replacement.get(term, term) for term in terms])
        replacement[old] = new
    return graph.replaced(replacement)


def _sums(graph: Graph) -> Mapping[Node, Sequence[Node]]:
    """The terms of the needed sums that have frames among them."""
    if not any(node.operation in _JOINERS for node in graph):
        return {}
    kept = {*graph.outputs.values(), *graph.updates.values()}
    needed = graph.ancestors(kept)

    def is_part(node: Node) -> bool:
        """Whether nothing but one other sum reads the node."""
        if node.operation is not add or node in kept or node.heads[0] is node.heads[1]:
            return False
        tails = [tail for tail in graph.tails(node) if tail in needed]
        return len(tails) == 1 and tails[0].operation is add and tails[0].type == node.type

    found = {}
    for node in graph.nodes:
        if node.operation is add and node in needed and not is_part(node):
            terms = _terms(node, is_part)
            if sum(term.operation in _JOINERS for term in terms) >= FEWEST:
                found[node] = terms
    return found


def _terms(top: Node, is_part: Callable[[Node], bool]) -> list[Node]:
    """What a sum of sums adds up, from left to right."""
    terms, stack = [], [*reversed(top.heads)]
    while stack:
        node = stack.pop()
        if is_part(node):
            stack.extend(reversed(node.heads))
        else:
            terms.append(node)
    return terms


def _joined(terms: Sequence[Node]) -> Node:
    """The sum of the terms, with those frames joined that can be."""
    groups: dict[tuple[object, ...], list[Node]] = {}
    for term in terms:
        groups.setdefault(_kind(term), []).append(term)
    total = _total(groups.pop((), []))
    for group in groups.values():
        operation = group[0].operation
        if len(group) < FEWEST:
            total = _total([*([] if total is None else [total]), *group])
        elif operation is unslice:
            total = _join_windows(group, total)
        else:
            joined = _JOINERS[operation](group)
            total = joined if total is None else total + joined
    assert total is not None
    return total


def _kind(term: Node) -> tuple[object, ...]:
    """Frames of one kind can be joined; () is any other value."""
    if term.operation is unslice and term.heads[0].shape != term.shape:
        return (unslice, term.shape)
    if term.operation in (scatter_add, put_along_axis):
        axis = term.attributes.get("axis")
        return (term.operation, term.shape, axis, term.heads[0].dtype)
    return ()


def _total(terms: Sequence[Node]) -> Node | None:
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total


def _join_windows(frames: Sequence[Node], whole: Node | None) -> Node:
    """The sum of framed values and of a value as large as the frame, where there is one."""
    shape = frames[0].shape
    axis = _tiled_axis(frames)
    if axis is not None:
        parts = sorted(frames, key=lambda frame: frame.attributes["starts"][axis])
        tiled = concatenate([part.heads[0] for part in parts], axis)
        return tiled if whole is None else whole + tiled
    places = [(f.heads[0], f.attributes["starts"], f.attributes["steps"]) for f in frames]
    if whole is not None and whole.shape == shape:
        places.insert(0, (whole, (0,) * len(shape), (1,) * len(shape)))
    values, starts, steps = zip(*places, strict=True)
    joined = unslice_all(*values, shape=shape, starts=starts, steps=steps)
    return joined if whole is None or whole.shape == shape else whole + joined


def _tiled_axis(frames: Sequence[Node]) -> int | None:
    """The axis along which the windows lie side by side and fill the frame, where they do."""
    shape = frames[0].shape
    inner = [frame.heads[0].shape for frame in frames]
    axes = [axis for axis, size in enumerate(shape) if any(sizes[axis] != size for sizes in inner)]
    if len(axes) != 1:
        return None
    (axis,) = axes
    ends = []
    for frame, sizes in zip(frames, inner, strict=True):
        starts, steps = frame.attributes["starts"], frame.attributes["steps"]
        if not isinstance(starts[axis], int) or not isinstance(sizes[axis], int):
            return None
        if any(step != 1 for step in steps) or any(s for a, s in enumerate(starts) if a != axis):
            return None
        ends.append((starts[axis], starts[axis] + sizes[axis]))
    ends.sort()
    joints = zip(
        [0, *(stop for _, stop in ends)], [*(start for start, _ in ends), shape[axis]], strict=True
    )
    return axis if all(stop == start for stop, start in joints) else None


def _join_rows(frames: Sequence[Node]) -> Node:
    """One scatter_add of all rows."""
    indices, rows = [], []
    for frame in frames:
        places, values = frame.heads
        count = product(places.shape)
        indices.append(reshape(places, (count,)))
        rows.append(reshape(values, (count, *values.shape[places.rank :])))
    return scatter_add.node(concatenate(indices), concatenate(rows), **frames[0].attributes)


def _join_elements(frames: Sequence[Node]) -> Node:
    """One put_along_axis of all elements."""
    axis = frames[0].attributes["axis"]
    heads = zip(*(frame.heads for frame in frames), strict=True)
    return put_along_axis.node(
        *(concatenate(parts, axis) for parts in heads), **frames[0].attributes
    )


_JOINERS: Mapping[Operation, Callable[[Sequence[Node]], Node]] = {
    unslice: lambda frames: _join_windows(frames, None),
    scatter_add: _join_rows,
    put_along_axis: _join_elements,
}
