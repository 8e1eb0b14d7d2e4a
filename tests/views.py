"""Every kind of view of every kind of value, as heads of an operation: a kernel must not mistake
them for contiguous arrays.

`declare_views(operation, sample)` declares the operation on all `VIEWS` of all `SOURCES`; `graph()`
of it has the values and the deltas of every float leaf, `feeds` what it is run with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import graphgrad as gg
from graphgrad import Graph, Node, Operation
from graphgrad.graph.samples import Draw, Sample

Make = Callable[[tuple[int, ...]], Node]
"""Declares a value of a shape, of the kind that a head is drawn from."""


def _transposed(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.transpose(make(shape[::-1]))


def _sliced(make: Make, shape: tuple[int, ...]) -> Node:
    return make((*shape[:-1], shape[-1] + 3))[..., 1 : 1 + shape[-1]]


def _rows(make: Make, shape: tuple[int, ...]) -> Node:
    return make((shape[0] + 2, *shape[1:]))[1 : 1 + shape[0]]


def _stepped(make: Make, shape: tuple[int, ...]) -> Node:
    return make((*shape[:-1], 2 * shape[-1]))[..., ::2]


def _indexed(make: Make, shape: tuple[int, ...]) -> Node:
    return make((*shape, 3))[..., 1]


def _repeated(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.broadcast_to(make((1, *shape[1:])), shape)


def _repeated_columns(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.broadcast_to(make((*shape[:-1], 1)), shape)


def _repeated_and_transposed(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.transpose(_repeated(make, shape[::-1]))


def _reshaped(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.reshape(make((int(np.prod(shape)),)), shape)


def _split(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.split(make((*shape[:-1], 2 * shape[-1])), 2, axis=-1)[1]


def _stacked(make: Make, shape: tuple[int, ...]) -> Node:
    return gg.stack([make(shape), make(shape)], axis=len(shape))[..., 1]


VIEWS: Mapping[str, Callable[[Make, tuple[int, ...]], Node]] = {
    "transposed": _transposed,
    "sliced": _sliced,
    "rows": _rows,
    "stepped": _stepped,
    "indexed": _indexed,
    "repeated": _repeated,
    "repeated columns": _repeated_columns,
    "repeated and transposed": _repeated_and_transposed,
    "reshaped": _reshaped,
    "split": _split,
    "stacked": _stacked,
}

SOURCES = ("input", "computed", "constant")


@dataclass
class Viewed:
    """A graph of views, under construction and then whole."""

    dtype: str
    seed: int = 0
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)

    def leaf(self, draw: Draw, constant: bool = False) -> Node:
        """A value of its own, drawn as the sample says."""
        generator = np.random.default_rng((self.seed, len(self.feeds), constant))
        array = np.asarray(draw.array(generator, self.dtype))
        if constant:
            self.seed += 1
            return gg.constant(array)
        name = f"x{len(self.feeds)}"
        self.feeds[name] = array
        return gg.input(name, array.shape, array.dtype)

    def source(self, kind: str, draw: Draw) -> Make:
        """What declares the values that are viewed."""

        def make(shape: tuple[int, ...]) -> Node:
            leaf = self.leaf(replace(draw, shape=shape), kind == "constant")
            return _computed(leaf) if kind == "computed" else leaf

        return make

    def graph(self) -> Graph:
        """The outputs, and the deltas of all float leaves from a random cotangent each."""
        floats = {n: y for n, y in self.outputs.items() if y.type.is_float and y.operation.delta}
        if not floats:
            return Graph(self.outputs)
        terms = []
        for y in floats.values():
            weight = self.leaf(Draw("real", y.type.sizes))
            terms.append(gg.sum(y * gg.cast(weight, y.dtype)))
        graph = Graph({**self.outputs, "loss": sum(terms[1:], terms[0])})
        leaves = [node for node in graph.inputs.values() if node.type.is_float]
        graph = gg.derive(graph, "loss", leaves)
        deltas = {f"δ {graph.name_of(leaf)}": graph.delta(leaf) for leaf in leaves}
        return graph.with_outputs({**self.outputs, **deltas})


def _computed(x: Node) -> Node:
    """An elementwise value of the sign of x, and hardly larger; an index stays what it was."""
    if x.type.is_float:
        return x * 0.75 + gg.tanh(x) * 0.1
    return gg.logical_not(x) if x.dtype.kind == "b" else gg.maximum(x, 0)


def declare_views(
    operation: Operation,
    sample: Sample,
    dtype: str = "float64",
    sources: Sequence[str] = SOURCES,
    views: Sequence[str] = tuple(VIEWS),
    of_constants: Sequence[str] = tuple(VIEWS),
) -> Viewed:
    """The operation on views of these kinds, all of its heads alike; on those `of_constants` of
    constants, too."""
    found = Viewed(dtype)
    for view in views:
        viewed = VIEWS[view]
        for kind in sources:
            if kind == "constant" and view not in of_constants:
                continue
            heads: list[Any] = []
            for draw in sample.heads:
                if not draw.shape or 0 in draw.shape:
                    heads.append(found.leaf(draw))
                    continue
                heads.append(viewed(found.source(kind, draw), draw.shape))
            found.outputs[f"{view}, {kind}"] = operation.node(*heads, **sample.attributes)
    return found
