"""Gives values and deltas of a graph, chosen by names or patterns, as arrays with axis names.

    watch(graph, patterns) -> Watch        chooses the nodes, derives deltas if any are asked for
    Watch(state, inputs) -> Watched        one run: forward and deltas together, by name

- A name finds any node of the graph. A pattern with `*` or `?` chooses among forward nodes except
  constants; one that contains `.delta` among deltas and contributions (`*.scores.delta`,
  `x.delta<-*`).
- Nothing that is not asked for is kept: the program computes the asked nodes and what they need.
  What is asked for is never removed by a pass or hidden in a kernel.
- Nothing is changed: a watched graph has no updates.
- A graph that was derived more than once (`gg.derive(…, label=…)`, `gg.hessian_vector`) is watched
  by the names of its nodes: deltas of any order are nodes like any other.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from graphgrad.backprop import derive
from graphgrad.backprop.derive import has_deltas
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.figures.axes import axes_of_graph
from graphgrad.graph import Graph, Node, constant
from graphgrad.graph.deltas import delta_name, edge_name
from graphgrad.graph.interface import Given
from graphgrad.graph.verify import need_graph
from graphgrad.interpret.named_array import NamedArray
from graphgrad.text import did_you_mean

_DELTA = delta_name("")
"""What a pattern for deltas has in it."""
_WILD = frozenset("*?[")


class Watched(Mapping[str, NamedArray]):
    """The result of a run of a `Watch`: named arrays by the names of their nodes.

    `outputs` are the outputs of the graph. A mapping; `print` lists names, axes and sizes.
    """

    def __init__(self, arrays: Mapping[str, NamedArray], outputs: Mapping[str, np.ndarray]) -> None:
        self._arrays, self.outputs = dict(arrays), dict(outputs)

    def __getitem__(self, name: str) -> NamedArray:
        if name not in self._arrays:
            raise UnknownNameError(
                f"{name!r} is not watched",
                fix=did_you_mean(name, self._arrays, f"watched: {', '.join(self._arrays)}", 3),
            )
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __repr__(self) -> str:
        return "\n".join(repr(array) for array in self._arrays.values())


class Watch:
    """A graph that is compiled to return chosen values and deltas: the result of `gg.watch`.

    `names` are those of the watched nodes, in the order of the graph; `graph` is the graph with the
    deltas; `compiled` is what runs.

    >>> import graphgrad as gg
    >>> x = gg.input("x", ("batch", 2))
    >>> gg.watch(gg.Graph({"y": gg.tanh(x, name="y")}), "y").names
    ('y',)
    """

    def __init__(self, graph: Graph, names: tuple[str, ...], backend: str) -> None:
        self.graph, self.names = graph, names
        axes = axes_of_graph(graph)
        self._axes = {name: axes[graph[name]] for name in names}
        wanted = graph.with_outputs(graph.outputs, {})
        self.compiled = compile(wanted, fetch=names, backend=backend)

    def __repr__(self) -> str:
        return f"Watch({', '.join(map(repr, self.names))})"

    def __call__(
        self,
        state: Mapping[str, np.ndarray] | None = None,
        feeds: Given | None = None,
        /,
        **inputs: Any,
    ) -> Watched:
        """Runs the graph for a state and inputs, as a compiled graph is called; the state may have
        more entries than the graph needs."""
        own = {name: (state or {})[name] for name in self.graph.states if name in (state or {})}
        found = self.compiled(own, feeds, **inputs)
        arrays = {name: NamedArray(name, self._axes[name], found[name]) for name in self.names}
        outputs = {name: found[name] for name in self.graph.outputs}
        return Watched(arrays, outputs)


def watch(graph: Graph, *patterns: str | Node, of: str = "loss", backend: str = "numpy") -> Watch:
    """Chooses values and deltas of a graph by name or pattern, to be computed together.

    `patterns` are names, nodes, or patterns with `*` and `?`; `u.delta` is the delta of u and
    `u.delta<-t` what tail t contributes to it. If deltas are asked for and the graph has none yet,
    they are those of its scalar output `of`. Returns a `Watch`, which is called with the state and
    the inputs; each result has the names of its axes. Raises UnknownNameError for a name or pattern
    without a match, DeclarationError where `of` has no deltas.

    >>> x = gg.input("x", ("batch", 2))
    >>> graph = gg.Graph({"loss": gg.sum(gg.tanh(x, name="z"), name="loss")})
    >>> found = gg.watch(graph, "z", "*.delta")(x=[[0.0, 1.0]])
    >>> found
    NamedArray('z', batch=1, feature=2)
    NamedArray('x.delta', batch=1, feature=2)
    NamedArray('z.delta', batch=1, feature=2)
    NamedArray('loss.delta')
    >>> found["z"].pick(feature=0).array
    array([0.], dtype=float32)
    """
    need_graph(graph, "watch")
    if not patterns:
        raise UnknownNameError(
            "nothing is chosen to be watched",
            fix="name values and deltas, or patterns of them such as *.scores*",
        )
    asked = tuple(graph.name_of(item) if isinstance(item, Node) else item for item in patterns)
    wants_deltas = any(_DELTA in pattern for pattern in asked)
    known = all(pattern in graph.names for pattern in asked)
    if wants_deltas and not known and not has_deltas(graph):
        graph = derive(graph, of)
    return Watch(graph, tuple(_chosen(graph, asked)), backend)


def _chosen(graph: Graph, patterns: Iterable[str]) -> Iterator[str]:
    """The names that the patterns choose, each node once, those of one pattern in order."""
    parts = parts_of(graph)
    forward = [
        node for node in graph.nodes if parts[node] == "forward" and node.operation is not constant
    ]
    deltas = tuple(_delta_names(graph, forward))
    seen: set[str] = set()
    for pattern in patterns:
        if pattern in graph.names or pattern in graph.outputs or pattern in deltas:
            found = [pattern]
        elif _DELTA in pattern:
            found = [name for name in deltas if fnmatch.fnmatchcase(name, pattern)]
            if not found:
                raise UnknownNameError(
                    f"no delta has a name like {pattern!r}",
                    fix=did_you_mean(pattern, deltas, "a node that the loss needs has a delta", 3),
                )
        elif not _WILD & set(pattern):
            graph[pattern]  # raises with the nearest names
            found = [pattern]
        else:
            found = [graph.name_of(node) for node in matching(graph, [pattern], forward)]
        yield from (name for name in found if name not in seen)
        seen.update(found)


def _delta_names(graph: Graph, forward: Iterable[Node]) -> Iterator[str]:
    """The names of all deltas and of the contributions to them."""
    for node in forward:
        if graph.delta_or_none(node) is not None:
            yield graph.delta_name(node)
            for tail in graph.contributions(node):
                yield edge_name(graph.delta_name(node), tail)
