"""Replaces named dimensions by integers, in shapes and attributes alike.

The sizes are read off the arrays that are fed. Inputs get a known shape. Every other node is
made again, so its shape is inferred anew, and what depended on sizes alone (positions, masks, the n
of a mean) becomes a constant.

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
from graphgrad.graph import Dimension, Graph, Node, placed
from graphgrad.graph.arrays import given_array
from graphgrad.graph.dimension import substitute
from graphgrad.graph.node import apply, rebuilt
from graphgrad.graph.scope import current_origin
from graphgrad.graph.types import as_size, shape_text


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


def sizes_of(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of the named dimensions, read off the shapes of the inputs."""
    sizes: dict[str, int] = {}
    open_sizes: list[tuple[str, Node, Dimension, int]] = []
    for name, node in graph.inputs.items():
        if name not in feeds:
            continue  # the program says which inputs are missing
        shape = given_array(f"input {name!r}", feeds[name]).shape
        if len(shape) != node.rank:
            raise DeclarationError(
                f"input {name!r} has shape {shape_text(shape)}, declared is {node.type}",
                node.origin,
            )
        for declared, size in zip(node.shape, shape, strict=True):
            if not isinstance(declared, Dimension):
                continue
            if str(declared) not in declared.names:  # 2 * n: when all plain names are known
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
    """The sizes read off the inputs; UnknownNameError where they do not show those of all names."""
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
        f"no input shows the size of the dimension(s) {', '.join(unknown)}",
        fix=f"{_with_sizes(names)} runs the program for sizes of your own",
    )


def _with_sizes(names: Sequence[str]) -> str:
    """How a program is asked for by sizes."""
    return f"compiled.program({', '.join(f'{name}=…' for name in names)})(state, …)"


def _solve(
    name: str, node: Node, declared: int | Dimension, size: int, sizes: dict[str, int]
) -> None:
    """Adds to `sizes` what follows of `declared` = `size` for the one name that is not known."""
    if isinstance(declared, Dimension):
        coefficients = dict(declared.terms)
        constant = coefficients.pop((), 0)
        (names, factor), *more = coefficients.items()
        if more or len(names) != 1:
            return  # two unknown names, or a square: another input may give them
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
    """The graph for these sizes; every dimension of the graph must be among them."""
    sizes = {name: _known(name, size) for name, size in sizes.items()}
    needed = free_dimensions(graph)
    missing = [name for name in needed if name not in sizes]
    if missing:
        raise UnknownNameError(
            f"no size is given for the dimension(s) {', '.join(missing)}",
            fix="an input whose shape holds the dimension gives its size; without one, say it: "
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
    raise DeclarationError(f"the dimension {name!r}: {reason}", current_origin())


def _substituted(value: Any, sizes: Mapping[str, int]) -> Any:
    if isinstance(value, Dimension):
        return substitute(value, sizes)
    if isinstance(value, tuple):
        return tuple(_substituted(item, sizes) for item in value)
    return value
