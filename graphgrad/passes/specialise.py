"""Replaces named dimensions by integers, in shapes and attributes alike.

Inputs get a known shape. Every other node is made again, so its shape is inferred anew, and what
depended on sizes alone (positions, masks, the n of a mean) becomes a constant.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 3))
    >>> graph = gg.Graph({"y": gg.divide(gg.sum(x, 0), x.shape[0], name="y")})

Before and after:

    >>> print(graph)
    %0 = input() : float32[batch, 3]    # x
    %1 = sum(%0, axes=(0,), keepdims=False) : float32[3]    # sum
    %2 = extent(size=batch) : float32[]    # ...
    %3 = divide(%1, %2) : float32[3]    # y
    output y = %3
    >>> print(specialise(graph, {"batch": 2}))
    %0 = input() : float32[2, 3]    # x
    %1 = sum(%0, axes=(0,), keepdims=False) : float32[3]    # sum
    %2 = extent(size=2) : float32[]    # ...
    %3 = divide(%1, %2) : float32[3]    # y
    output y = %3
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import Dimension, Graph, Node, placed
from graphgrad.graph.dimension import substitute
from graphgrad.graph.node import apply, rebuilt
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import as_size


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
    sizes = {name: _known(name, size) for name, size in sizes.items()}
    needed = free_dimensions(graph)
    missing = [name for name in needed if name not in sizes]
    if missing:
        raise UnknownNameError(
            f"no size is given for the dimension(s) {', '.join(missing)}",
            fix="an input whose shape holds the dimension gives its size; without one, say it: "
            f"compiled.program({', '.join(f'{name}=…' for name in needed)})(state, …)",
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


def _known(name: str, size: Any) -> int:
    """A size as Python's own integer."""
    try:
        known = as_size(size)
        if isinstance(known, int):
            return known
        reason = f"a size is an integer here, not {known}"
    except ValueError as problem:
        reason = str(problem)
    raise DeclarationError(f"the dimension {name!r}: {reason}", str(current_origin() or ""))


def _substituted(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dimension):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_substituted(item, sizes) for item in value)
    return value
