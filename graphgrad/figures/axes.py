"""Names the axes of every value of a model: batch, source, head, query, key, feature, vocabulary.

A named dimension names its axis. Sizes that are plain integers get their names from the structure
of the graph, not from the names of nodes:

- scores and weights of attention are [batch, head, query, key], what is multiplied with them
  [batch, head, query or key, feature];
- logits, the head of a cross-entropy, end with the axis `vocabulary`, and so do tables that ids
  choose rows of begin with it;
- the last axis of any other value with two or more axes is `feature`.

An axis that none of this names is `axis_0`, `axis_1`, …; a name that would occur twice in one value
gets a number (`source_2`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from graphgrad.errors import DeclarationError
from graphgrad.figures.attention import Attention, find_attentions
from graphgrad.graph import Dimension, Graph, Node, parameter
from graphgrad.ops.composite import cross_entropy
from graphgrad.ops.contraction import matmul
from graphgrad.ops.indexing import gather

Axes = tuple[str, ...]


def axes_of_graph(graph: Graph) -> dict[Node, Axes]:
    """The names of the axes of each node, and of its delta, in the order of the axes.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 3))
    >>> axes_of_graph(gg.Graph(x))[x]
    ('batch', 'feature')
    """
    known = _known_axes(graph)
    found = {node: known.get(node, _by_shape(node)) for node in graph.nodes}
    for node in graph.nodes:
        delta = graph.delta_or_none(node)
        if delta is not None and delta.rank == node.rank:
            found[delta] = found[node]
    return found


Parts = tuple[tuple[str, tuple[Any, ...]], ...]
"""Parts of a value: a suffix for its name, `[head=0]`, and the index."""
WHOLE: Parts = (("", ()),)
"""The one part of a value that is not divided."""


def parts_along(graph: Graph, node: Node, names: Axes, axis: str) -> Parts:
    """The parts of a node along one of its axes, `names`; none where it has no such axis.

    Raises DeclarationError where the size of the axis is not known before the run.
    """
    if axis not in names:
        return ()
    place = names.index(axis)
    size = node.shape[place]
    if not isinstance(size, int):
        raise DeclarationError(
            f"the axis {axis!r} of {graph.name_of(node)!r} has the size {size}, which differs from "
            "batch to batch",
            node.origin,
            "choose an axis of one size, such as head or feature",
        )
    before = (slice(None),) * place
    return tuple((f"[{axis}={n}]", (*before, n)) for n in range(size))


def _known_axes(graph: Graph) -> dict[Node, Axes]:
    """The names that follow from the structure."""
    found: dict[Node, Axes] = {}
    for attention in find_attentions(graph):
        found.update(_of_attention(graph, attention))
    for node in graph.nodes:
        if node.operation is cross_entropy and node.heads[0].rank:
            for logits in _same_values(graph, node.heads[0]):
                found[logits] = _numbered((*_by_shape(logits)[:-1], "vocabulary"))
        table = node.heads[0] if node.operation is gather else None
        if table is not None and table.operation is parameter and table.rank == 2:
            found[table] = ("vocabulary", "feature")
    return found


def _of_attention(graph: Graph, attention: Attention) -> Iterator[tuple[Node, Axes]]:
    weights = attention.weights
    leading = _leading(weights)
    for node in _same_values(graph, weights):
        yield node, (*leading, "query", "key")
        if node.operation is matmul:
            for head, side in zip(node.heads, ("query", "key"), strict=True):
                if head.rank == weights.rank:
                    yield head, (*leading, side, "feature")
        for tail in graph.tails(node):
            if tail.operation is matmul and tail.heads[0] is node and tail.rank == node.rank:
                yield tail, (*leading, "query", "feature")
                if tail.heads[1].rank == node.rank:
                    yield tail.heads[1], (*leading, "key", "feature")


def _leading(weights: Node) -> Axes:
    """The axes before query and key: the last of several is that of the heads."""
    names = list(_by_shape(weights)[:-2])
    if names and (len(names) > 1 or isinstance(weights.shape[0], int)):
        names[-1] = "head"
    return tuple(names)


def _same_values(graph: Graph, node: Node) -> set[Node]:
    """The node, and those that it is computed from or that are computed from it element by
    element, up to the product before and the products after."""
    seen: set[Node] = set()
    front = [node]
    while front:
        one = front.pop()
        if one in seen or one.shape != node.shape:
            continue
        seen.add(one)
        if one.operation is matmul and one is not node:
            continue
        front += one.heads
        front += [tail for tail in graph.tails(one) if tail.operation is not matmul]
    return seen


def _by_shape(node: Node) -> Axes:
    """The names that the shape alone gives."""
    names = []
    for number, size in enumerate(node.shape):
        if isinstance(size, Dimension) and str(size) in size.names:
            names.append(str(size))
        elif number == node.rank - 1 and (node.rank > 1 or node.operation is parameter):
            names.append("feature")
        else:
            names.append(f"axis_{number}")
    return _numbered(names)


def _numbered(names: Sequence[str]) -> Axes:
    """The names, each once: `source`, `source_2`."""
    found: list[str] = []
    for name in names:
        count = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{count + 1}" if name in found else name)
    return tuple(found)
