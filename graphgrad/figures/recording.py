"""Recording: a training step that also returns the figures of its values and deltas.

    training graph --PASSES--> optimised --+ summary(u) for each recorded u--> compiled beside it

The summaries are appended to the optimised graph of the plain step, each right behind its value.
So what the step computes stays, node for node, what the plain step computes: the parameters are the
same to the byte, and a value is measured while it is still in cache. All figures leave the program
as one array. (Where kernels fuse, the same regions are computed; a kernel that also has to keep a
value is other machine code, but rounds alike: see fusion/statements.py.)

- Recorded is every forward node that is no constant, and its delta, where the step computes it; a
  value that the optimiser has removed does not exist in a training step and has no figures.
- Values that are the same, or the same elements in another shape, are measured once.
- The update of a parameter is measured behind the guards, with the other updates, and kept in a
  state of the recorder's own; recording it does not change when anything is updated.
- Figures belong to the step as it is computed: parameters are those before their update.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from graphgrad.backprop.selection import matching, parts_of
from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.statistics import FIGURES, Statistics, inspect_values
from graphgrad.figures.summary import SUMMARY
from graphgrad.graph import Graph, Node, constant, leaf_name, parameter, placed, state
from graphgrad.ops import concatenate, gather, subtract
from graphgrad.ops.contraction import matmul
from graphgrad.ops.indexing import scatter_add
from graphgrad.ops.movement import copy, reshape, reshape_to, transpose
from graphgrad.passes import PASSES, optimise

UPDATE_RATIO = "update_ratio"
STATISTICS = (*FIGURES, UPDATE_RATIO)
"""What is recorded of each value; `update_ratio` is ‖Δw‖ / ‖w‖ of parameters."""

_FIGURES, _UPDATES = "recording.figures", "recording.updates"
_NORM = FIGURES.index("norm")
_SAME_ELEMENTS = (reshape, transpose, copy)
_ENDING = (matmul, scatter_add, gather)


def recorded_names(graph: Graph, patterns: Sequence[str] = ()) -> dict[str, str]:
    """The names whose figures a pattern asks for, those of nodes and of their deltas, each with the
    name of the node that it is the value or the delta of.

    Without a pattern all of them. Raises UnknownNameError for a pattern that means nothing.
    """
    parts = parts_of(graph)
    shown = [
        node for node in graph.nodes if parts[node] == "forward" and node.operation is not constant
    ]
    names: dict[str, str] = {}
    for node in matching(graph, patterns or ("*",), shown):
        name = graph.name_of(node)
        names[name] = name
        if graph.delta_or_none(node) is not None:
            names[graph.delta_name(node)] = name
    return names


def recorded_figures(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    patterns: Sequence[str] = ("*",),
) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...], np.ndarray]:
    """Names, which of them are those of deltas and of which node, statistics and figures [names,
    statistics] of one batch, computed now and not recorded in training: of every forward node of a
    derived graph and its delta."""
    rows: dict[str, list[float]] = {}
    deltas: dict[str, str] = {}
    for report in inspect_values(graph, feeds, state, patterns):
        rows[report.name] = _row(report.value)
        if report.delta is not None:
            rows[report.delta_name] = _row(report.delta)
            deltas[report.delta_name] = report.name
    return tuple(rows), deltas, FIGURES, np.array(list(rows.values()))


def _row(found: Statistics) -> list[float]:
    figures = (getattr(found, name) for name in FIGURES)
    return [math.nan if figure is None else figure for figure in figures]


@dataclass(frozen=True)
class _Recording:
    """A step with summaries, and where the figures of each name stand in what it returns."""

    graph: Graph
    names: tuple[str, ...]
    rows: np.ndarray
    """For each name the row of the figures, int64 [names]."""
    weights: np.ndarray
    """For each updated parameter the row of its own figures, int64 [parameters]."""
    places: np.ndarray
    """For each updated parameter its place among the names, int64 [parameters]."""


class Recorder:
    """A training graph (`training_step`), compiled to also return figures of what it computes.

    `patterns` choose the nodes, by default all; `names` are what is recorded of them, and `deltas`
    says which of those are names of deltas, and of which nodes.
    """

    statistics = STATISTICS

    def __init__(self, graph: Graph, patterns: Sequence[str] = (), fuse: bool = False) -> None:
        asked = recorded_names(graph, patterns)
        optimised, _ = optimise(graph, PASSES)
        self.recording = _append(optimised, tuple(asked), fuse)
        self.names = self.recording.names
        self.deltas = {name: asked[name] for name in self.names if asked[name] != name}
        self._compiled = compile(
            self.recording.graph, guards=("loss", "gradient_norm"), passes=(), fuse=fuse
        )
        self._updates = np.zeros(len(self.recording.weights) * len(FIGURES))

    def run(self, state: Arrays, feeds: Arrays) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Does what the plain program of a step does, to the same result, and also returns the
        figures: float64 [names, statistics], NaN where there is none."""
        own = {_UPDATES: self._updates} if self._updates.size else {}
        results = self._compiled({**state, **own}, **feeds)
        figures = results.pop(_FIGURES).reshape(-1, len(FIGURES))
        values = np.full((len(self.names), len(STATISTICS)), math.nan)
        values[:, : len(FIGURES)] = figures[self.recording.rows]
        changes = self._updates.reshape(-1, len(FIGURES))[:, _NORM]
        norms = figures[self.recording.weights, _NORM]
        ratios = np.full(len(norms), math.nan)  # of a parameter that is 0 there is no ratio
        np.divide(changes, norms, out=ratios, where=norms > 0)
        values[self.recording.places, -1] = ratios
        return results, values


def _append(graph: Graph, names: Sequence[str], fuse: bool) -> _Recording:
    """The optimised graph of a step with a summary behind each named value that it computes."""
    computed = graph.ancestors([*graph.outputs.values(), *graph.updates.values()])
    kept = [name for name in names if _is_computed(graph, name, computed)]
    if not kept:
        raise UnknownNameError(
            f"a training step computes no value of {', '.join(names[:3])}",
            fix="record other nodes; constants are none",
        )
    measured = {name: _origin_of(graph.names[name]) for name in kept}
    groups = _groups(graph, set(measured.values()), fuse)
    row_of = {node: row for row, node in enumerate(n for group in groups.values() for n in group)}
    leaves = [
        leaf
        for leaf in graph.updates
        if leaf.operation is parameter and leaf_name(leaf) in measured
    ]
    behind = {node: [_summary(group)] for node, group in groups.items()}
    summaries = [each for found in behind.values() for each in found]
    changes = _summaries_of_changes(graph, leaves, behind, fuse)
    updates = dict(graph.updates)
    with placed("", None):
        outputs = {**graph.outputs, _FIGURES: concatenate(summaries, name=_FIGURES)}
        if changes:
            own = state(_UPDATES, (len(leaves) * len(FIGURES),), dtype="float64")
            updates[own] = concatenate(changes, name=f"{_UPDATES}.next")
    order = [each for node in graph.nodes for each in (node, *behind.get(node, ()))]
    return _Recording(
        graph.changed(outputs, updates, order=order),
        tuple(kept),
        np.array([row_of[measured[name]] for name in kept], np.int64),
        np.array([row_of[_origin_of(leaf)] for leaf in leaves], np.int64),
        np.array([kept.index(leaf_name(leaf)) for leaf in leaves], np.int64),
    )


def _groups(graph: Graph, measured: Set[Node], fuse: bool) -> dict[Node, list[Node]]:
    """Behind which node which values are measured: each behind itself, where it is in cache.

    Where kernels fuse, values wait for the next product, gather or scatter: what reads a value that
    a kernel computes ends that kernel, and such an operation has ended it anyway. So the kernels
    stay those of the plain step.
    """
    groups: dict[Node, list[Node]] = {}
    waiting: list[Node] = []
    for node in graph.nodes:
        if node in measured:
            waiting.append(node)
        if waiting and (not fuse or node.operation in _ENDING or node is graph.nodes[-1]):
            groups[node] = waiting
            waiting = []
    return groups


def _summaries_of_changes(
    graph: Graph, leaves: Sequence[Node], behind: dict[Node, list[Node]], fuse: bool
) -> list[Node]:
    """Summaries of how each parameter changes, placed behind its update, or at the end together."""
    changes = [_change(graph, leaf) for leaf in leaves]
    if fuse and changes:
        found = [_summary(changes)]
        behind.setdefault(graph.nodes[-1], []).extend(found)
        return found
    found = [_summary([change]) for change in changes]
    for leaf, summary in zip(leaves, found, strict=True):
        behind.setdefault(graph.updates[leaf], []).append(summary)
    return found


def _is_computed(graph: Graph, name: str, computed: set[Node]) -> bool:
    node = graph.names.get(name)
    return node is not None and node in computed and node.operation is not constant


def _origin_of(node: Node) -> Node:
    """The node whose elements these are, in whatever shape or order."""
    while node.operation in _SAME_ELEMENTS:
        node = node.heads[0]
    return node


def _summary(nodes: Sequence[Node]) -> Node:
    with placed("recording", nodes[0].origin):
        return SUMMARY(*nodes, name="summary")


def _change(graph: Graph, leaf: Node) -> Node:
    """What is taken from the parameter, up to the sign: w' = w - Δ has lost digits of Δ."""
    after = graph.updates[leaf]
    if after.operation is subtract and after.heads[0] is leaf:
        return after.heads[1]
    with placed(leaf_name(leaf), leaf.origin):
        return subtract(reshape_to(after, leaf.shape), leaf, name="change")
