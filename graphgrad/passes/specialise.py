"""Specialises: puts integers in the place of named dimensions, in shapes and attributes alike.

Inputs become inputs of known shape; every other node is rebuilt, so its shape is inferred anew, and
what only depended on sizes (positions, masks, the n of a mean) becomes a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphgrad.errors import UnknownNameError
from graphgrad.graph import Dimension, Graph, Node, placed
from graphgrad.graph.dimension import substitute
from graphgrad.graph.node import apply, rebuilt


def free_dimensions(graph: Graph) -> tuple[str, ...]:
    """The names of dimensions that the graph leaves open, sorted."""
    names: set[str] = set()
    for node in graph.nodes:
        for value in (node.shape, *node.attributes.values()):
            for size in _open_sizes(value):
                names |= size.names
    return tuple(sorted(names))


def _open_sizes(value: Any) -> Iterator[Dimension]:
    if isinstance(value, Dimension):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _open_sizes(item)


def is_open(value: Any) -> bool:
    """Whether an attribute, or an item of one, is a size that is not known yet."""
    if isinstance(value, tuple):
        return any(map(is_open, value))
    return isinstance(value, Dimension)


def specialise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph for these sizes; every dimension of the graph must be among them."""
    needed = free_dimensions(graph)
    missing = [name for name in needed if name not in sizes]
    if missing:
        raise UnknownNameError(
            f"no size is given for the dimension(s) {', '.join(missing)}",
            fix=f"give each a size: {', '.join(f'{name}=32' for name in needed)}",
        )
    if not needed:
        return graph
    replacement: dict[Node, Node] = {}
    for old in graph.nodes:
        sized_anew = any(map(is_open, old.attributes.values()))
        if not sized_anew and replacement.keys().isdisjoint(old.heads):
            continue
        heads = tuple([replacement.get(head, head) for head in old.heads])
        with placed(graph.name_of(old), old.origin):
            if sized_anew:
                attributes = {k: _substituted(v, sizes) for k, v in old.attributes.items()}
                replacement[old] = apply(old.operation, heads, attributes, None)
            else:
                replacement[old] = rebuilt(old, heads)
    return graph.replaced(replacement)


def _substituted(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dimension):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_substituted(item, sizes) for item in value)
    return value
