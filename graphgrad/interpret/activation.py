"""Runs a model with one value taken from another run: activation patching, exact, node by node.

    effect(u) = L(corrupt run in which u is u_clean) - L(corrupt run)

(Vig et al. 2020; Meng et al. 2022). Every chosen node u becomes `where(gate, u_clean, u)`, so that
one compiled program serves all nodes: a run opens one gate. Gates can also be opened head by head
or position by position, along axes that are named (axes.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.figures.axes import axes_of_graph
from graphgrad.graph import Graph, Node, input
from graphgrad.interpret.attribution import Feeds, chosen_names, need_equal_sizes
from graphgrad.interpret.substitution import Replacement, substituted
from graphgrad.interpret.watch import watch
from graphgrad.ops import where

_GATE, _CLEAN = "patching.gate", "patching.clean"


@dataclass(frozen=True)
class Patched:
    """One run: the node that had its clean value, at all places or at some, and L."""

    name: str
    place: Mapping[str, int]
    """The index along each axis by which the node was patched; empty for the whole node."""
    loss: float
    effect: float
    """The change of L against the corrupt run."""
    recovered: float
    """The effect as a share of L_clean - L_corrupt; NaN where the two are equal."""


@dataclass(frozen=True)
class Patching:
    """All runs of `activation_patching`, and L without a patch."""

    clean: float
    corrupt: float
    runs: tuple[Patched, ...]

    @property
    def largest(self) -> tuple[Patched, ...]:
        """The runs, the largest effect first."""
        return tuple(sorted(self.runs, key=lambda run: -abs(run.effect)))


def activation_patching(
    graph: Graph,
    clean: Feeds,
    corrupt: Feeds,
    state: Mapping[str, np.ndarray] | None = None,
    patterns: Sequence[str] = ("*",),
    by: Sequence[str] = (),
    of: str = "loss",
) -> Patching:
    """Patches each node that a name or pattern chooses into the corrupt run, one at a time.

    `by` are names of axes: a node is then patched at one index of them at a time. Raises
    UnknownNameError for a pattern without a node and for a node without such an axis,
    DeclarationError for inputs of different sizes.

    >>> import graphgrad as gg
    >>> x = gg.input("x", 2)
    >>> graph = gg.Graph({"loss": gg.sum(gg.multiply(x, 10.0, name="u") ** 2.0)})
    >>> found = activation_patching(graph, {"x": [1.0, 0.0]}, {"x": [0.0, 3.0]})
    >>> [(run.name, run.effect, run.recovered) for run in found.runs]
    [('u', -800.0, 1.0), ('power', -800.0, 1.0)]
    """
    need_equal_sizes(clean, corrupt)
    forward = graph.with_outputs({of: graph[of]}, {})
    names = chosen_names(forward, patterns)
    axes = axes_of_graph(forward)
    for name in names:
        _need_axes(forward[name], name, axes[forward[name]], by)
    values = watch(forward, *names)(state, clean)
    gated = _gated(forward, names, axes, by)
    run = compile(gated)
    own = {name: (state or {})[name] for name in gated.states}
    feeds: dict[str, np.ndarray] = {**corrupt}
    for number, name in enumerate(names):
        feeds[f"{_CLEAN}.{number}"] = values[name].array
        sizes = values[name].sizes
        shape = tuple(sizes[axis] if axis in by else 1 for axis in sizes)
        feeds[f"{_GATE}.{number}"] = np.zeros(shape, np.bool_)

    def loss() -> float:
        return float(run(own, feeds)[of])

    before, after = loss(), float(values.outputs[of])
    runs = []
    for number, name in enumerate(names):
        gate = feeds[f"{_GATE}.{number}"]
        for place, index in _places(values[name].axes, by, gate.shape):
            gate[index] = True
            found = loss()
            gate[index] = False
            effect, whole = found - before, after - before
            share = effect / whole if whole else float("nan")
            runs.append(Patched(name, place, found, effect, share))
    return Patching(after, before, tuple(runs))


def _need_axes(node: Node, name: str, axes: Sequence[str], by: Sequence[str]) -> None:
    """Raises UnknownNameError where a node lacks an axis along which it is to be patched."""
    for axis in by:
        if axis not in axes:
            raise UnknownNameError(
                f"{name!r} has no axis {axis!r}", node.origin, f"its axes: {', '.join(axes)}"
            )


def _gated(
    graph: Graph, names: Sequence[str], axes: Mapping[Node, Sequence[str]], by: Sequence[str]
) -> Graph:
    """The graph in which each named node is its clean value where its gate is open."""

    def replacing(number: int, name: str) -> Replacement:
        node = graph[name]
        sizes = zip(axes[node], node.shape, strict=True)
        shape = tuple(size if axis in by else 1 for axis, size in sizes)
        gate = input(f"{_GATE}.{number}", shape, "bool")
        clean = input(f"{_CLEAN}.{number}", node.shape, node.dtype)
        return lambda value: where(gate, clean, value)

    return substituted(graph, {name: replacing(n, name) for n, name in enumerate(names)})


def _places(
    axes: Sequence[str], by: Sequence[str], shape: Sequence[int]
) -> Iterator[tuple[dict[str, int], tuple[int | slice, ...]]]:
    """Every index along the axes `by`, as names and as an index of the gate."""
    counts = [range(size) if axis in by else (0,) for axis, size in zip(axes, shape, strict=True)]
    for index in itertools.product(*counts):
        yield {axis: n for axis, n in zip(axes, index, strict=True) if axis in by}, index
