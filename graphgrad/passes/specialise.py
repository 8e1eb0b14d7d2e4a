"""Replaces named dimensions by integers, in shapes and attributes alike.

The sizes are read from the shapes of the input arrays. Inputs get a known shape, and the types of
all other nodes are inferred again. Nodes that depend on sizes only (positions, masks, the n of a
mean) can then be folded to constants.

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

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphgrad.errors import DeclarationError, UnknownNameError
from graphgrad.graph import Dimension, Graph, Node, declared_at
from graphgrad.graph.arrays import given_array
from graphgrad.graph.dimension import substitute
from graphgrad.graph.node import make_node, with_heads
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import as_size, shape_text


def free_dimensions(graph: Graph) -> tuple[str, ...]:
    """The names of the dimensions of the graph, sorted."""
    names: set[str] = set()
    for node in graph.nodes:
        for value in (node.shape, *node.attributes.values()):
            if isinstance(value, (tuple, Dimension)):
                for size in _open_sizes(value):
                    names |= size.names
    return tuple(sorted(names))


def _open_sizes(value: Dimension | tuple[Any, ...]) -> Iterator[Dimension]:
    if isinstance(value, Dimension):
        yield value
        return
    for item in value:
        if isinstance(item, (tuple, Dimension)):  # most are numbers
            yield from _open_sizes(item)


def is_open(value: Any) -> bool:
    """Whether an attribute, or an item of one, is a size that is not known yet."""
    if isinstance(value, tuple):
        return any(map(is_open, value))
    return isinstance(value, Dimension)


def sizes_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of the named dimensions, read from the shapes of the inputs."""
    sizes: dict[str, int] = {}
    open_sizes: list[tuple[str, Node, Dimension, int]] = []
    for name, node in graph.inputs.items():
        if name not in feeds:
            continue  # the program reports missing inputs
        shape = given_array(f"input {name!r}", feeds[name]).shape
        if len(shape) != node.rank:
            raise DeclarationError(
                f"input {name!r} has shape {shape_text(shape)}, declared is {node.type}",
                node.origin,
            )
        for declared, size in zip(node.shape, shape, strict=True):
            if not isinstance(declared, Dimension):
                continue
            if str(declared) not in declared.names:  # 2 * n: after all plain names
                open_sizes.append((name, node, declared, size))
                continue
            known = sizes.setdefault(str(declared), size)
            if known != size:
                raise DeclarationError(
                    f"the dimension '{declared}' is {known} in one input and {size} in {name!r}",
                    node.origin,
                )
    for name, node, declared, size in open_sizes:
        _solve(name, node, substitute(declared, sizes), size, sizes)
    return sizes


def all_sizes_of(graph: Graph, names: Sequence[str], feeds: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of all names, read from the inputs; raises UnknownNameError if one is missing."""
    sizes = sizes_of(graph, feeds)
    unknown = [name for name in names if name not in sizes]
    if not unknown:
        return sizes
    missing = [name for name in graph.inputs if name not in feeds]
    if missing:
        raise UnknownNameError(
            f"the inputs do not fit the program: missing {', '.join(missing)}",
            fix=f"it takes {', '.join(graph.inputs)}",
        )
    raise UnknownNameError(
        f"no input has the size of the dimension(s) {', '.join(unknown)}",
        fix=f"{_with_sizes(names)} runs the program for sizes of your own",
    )


def _with_sizes(names: Sequence[str]) -> str:
    """The text of a call of a program for given sizes."""
    return f"compiled.program({', '.join(f'{name}=…' for name in names)})(state, …)"


def _solve(
    name: str, node: Node, declared: int | Dimension, size: int, sizes: dict[str, int]
) -> None:
    """Solves `declared` = `size` for the one unknown name, and adds it to `sizes`."""
    if isinstance(declared, Dimension):
        coefficients = dict(declared.terms)
        constant = coefficients.pop((), 0)
        (names, factor), *more = coefficients.items()
        if more or len(names) != 1:
            return  # two unknown names, or a square: another input may have them
        left, rest = divmod(size - constant, factor)
        if not rest and left >= 0:
            sizes[names[0]] = left
            return
    elif declared == size:
        return
    raise DeclarationError(
        f"input {name!r} has an axis of size {size}; declared is {node.type}"
        + (f", so {declared}" if str(declared) not in str(node.type) else ""),
        node.origin,
    )


def specialise(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph for these sizes; raises UnknownNameError if one of a dimension is missing."""
    sizes = {name: _known(name, size) for name, size in sizes.items()}
    needed = free_dimensions(graph)
    missing = [name for name in needed if name not in sizes]
    if missing:
        raise UnknownNameError(
            f"no size is given for the dimension(s) {', '.join(missing)}",
            fix="an input with the dimension in its shape gives the size; without one, pass it: "
            f"{_with_sizes(needed)}",
        )
    if not needed:
        return graph
    replacement: dict[Node, Node] = {}
    for old in graph.nodes:
        sized_anew = any(map(is_open, old.attributes.values()))
        if not sized_anew and replacement.keys().isdisjoint(old.heads):
            continue
        heads = tuple([replacement.get(head, head) for head in old.heads])
        with declared_at(graph.name_of(old), old.origin):
            if sized_anew:
                attributes = {k: _substituted(v, sizes) for k, v in old.attributes.items()}
                replacement[old] = make_node(old.operation, heads, attributes, None)
            else:
                replacement[old] = with_heads(old, heads)
    return graph.replace_nodes(replacement)


def _known(name: str, size: Any) -> int:
    """A size as Python's own integer."""
    try:
        known = as_size(size)
        if isinstance(known, int):
            return known
        reason = f"a size is an integer here, not {known}"
    except ValueError as problem:
        reason = str(problem)
    raise DeclarationError(f"the dimension {name!r}: {reason}", current_origin())


def _substituted(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dimension):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_substituted(item, sizes) for item in value)
    return value
