"""Compiles a training step that also returns the figures of its values and deltas.

    training graph --PASSES--> optimised --+ summary(u) for each recorded u--> a second program

The summaries are inserted into the optimised graph of the plain step, each right after its value.
So the step computes the same nodes as the plain step: the parameters are equal to the byte, and a
value is measured while it is still in cache. The program returns all figures as one array. (With
fusion the regions are the same; a kernel that also has to store a value is other machine code, but
rounds alike: see fusion/statements.py.)

- Every forward node except constants is recorded, and its delta, if the step computes it. A value
  that the passes have removed is not computed and has no figures.
- Equal values, and the same elements in another shape, are measured once.
- The update of a parameter is measured after the guards, with the other updates, and stored in a
  state of the recorder; recording does not change when anything is updated.
- The figures of parameters are those before their update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphgrad.backends import Rates, joined
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.compile import compile
from graphgrad.errors import UnknownNameError
from graphgrad.figures.array_figures import FIGURES, Figures
from graphgrad.figures.axes import WHOLE, axes_of_graph, parts_along
from graphgrad.figures.evaluation import Arrays
from graphgrad.figures.node_report import inspect_values
from graphgrad.figures.summary import SUMMARY
from graphgrad.graph import Graph, Node, constant, declared_at, leaf_name, parameter, state
from graphgrad.ops import concatenate, gather, subtract
from graphgrad.ops.contraction import matmul
from graphgrad.ops.indexing import scatter_add
from graphgrad.ops.movement import copy, reshape, reshape_to, transpose
from graphgrad.passes import PASSES, optimise

UPDATE_RATIO = "update_ratio"
RECORDED_FIGURES = (*FIGURES, UPDATE_RATIO)
"""The figures that are recorded of each value; `update_ratio` is ‖Δw‖ / ‖w‖ of a parameter."""

_FIGURES, _UPDATES = "recording.figures", "recording.updates"
_NORM = FIGURES.index("norm")
_SAME_ELEMENTS = (reshape, transpose, copy)
_ENDING = (matmul, scatter_add, gather)


def recorded_names(graph: Graph, patterns: Sequence[str] = (), by: str = "") -> dict[str, str]:
    """The names of the nodes that patterns choose and of their deltas, each with its node's name.

    Without a pattern all nodes are chosen. `by` is the name of an axis: instead of a node that has
    it, its parts are chosen, `scores[head=0]`, `scores[head=1]`, …. Raises UnknownNameError for a
    pattern that matches nothing and for an axis that no chosen node has, DeclarationError for an
    axis whose size differs from batch to batch.
    """
    return {part.name: part.of for part in _chosen(graph, patterns, by)}


@dataclass(frozen=True)
class _Part:
    """What is recorded under a name: a value or a delta, or its part at an index of an axis."""

    name: str
    whole: str
    """The name of the value or the delta."""
    of: str
    """The name of the node, with the index, that this is or is the delta of."""
    index: tuple[Any, ...] = ()


def _chosen(graph: Graph, patterns: Sequence[str], by: str) -> list[_Part]:
    kinds = parts_of(graph)
    shown = [
        node for node in graph.nodes if kinds[node] == "forward" and node.operation is not constant
    ]
    axes = axes_of_graph(graph) if by else {}
    chosen: list[_Part] = []
    found = False
    for node in matching(graph, patterns or ("*",), shown):
        name = graph.name_of(node)
        names = [name]
        if graph.delta_or_none(node) is not None:
            names.append(graph.delta_name(node))
        parts = parts_along(graph, node, axes[node], by) if by else ()
        found = found or bool(parts)
        for each in names:
            chosen += [_Part(each + end, each, name + end, index) for end, index in parts or WHOLE]
    if by and not found:
        raise UnknownNameError(
            f"no chosen node has an axis {by!r}",
            fix="axes: " + ", ".join(dict.fromkeys(a for node in shown for a in axes[node])),
        )
    return chosen


def figure_table(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    patterns: Sequence[str] = ("*",),
) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...], np.ndarray]:
    """Computes, from one batch, the figures that training would record at a step.

    Returns the names of the forward nodes of a derived graph and of their deltas, the node's name
    for each name of a delta, the names of the figures, and the figures, float64 [names, figures].
    """
    rows: dict[str, list[float]] = {}
    deltas: dict[str, str] = {}
    for report in inspect_values(graph, feeds, state, patterns):
        rows[report.name] = _row(report.value)
        if report.delta is not None:
            rows[report.delta_name] = _row(report.delta)
            deltas[report.delta_name] = report.name
    return tuple(rows), deltas, FIGURES, np.array(list(rows.values()))


def _row(found: Figures) -> list[float]:
    figures = (getattr(found, name) for name in FIGURES)
    return [math.nan if figure is None else figure for figure in figures]


@dataclass(frozen=True)
class _Recording:
    """A step with summaries, and the rows that the figures of each name have in its output."""

    graph: Graph
    names: tuple[str, ...]
    rows: np.ndarray
    """For each name the row of its figures, int64 [names]."""
    weights: np.ndarray
    """For each updated parameter the row of its figures, int64 [parameters]."""
    positions: np.ndarray
    """For each updated parameter its position among the names, int64 [parameters]."""


class Recorder:
    """A training graph (`training_step`) that is compiled to also return figures of its values.

    `patterns` choose the nodes, by default all; `by` is an axis along which the chosen nodes are
    divided (`recorded_names`). `names` are the names of the recorded nodes and
    deltas; `deltas` maps each name of a delta to the name of its node.
    """

    figures = RECORDED_FIGURES

    def __init__(
        self,
        graph: Graph,
        patterns: Sequence[str] = (),
        fuse: bool = False,
        backend: str = "numpy",
        by: str = "",
        precision: str = "fp32",
        product_rates: Rates | None = None,
    ) -> None:
        chosen = _chosen(graph, patterns, by)
        optimised, _ = optimise(graph, PASSES)
        self.recording = _insert_summaries(optimised, chosen, fuse)
        self.names = self.recording.names
        of = {part.name: part.of for part in chosen}
        self.deltas = {name: of[name] for name in self.names if of[name] != name}
        self._compiled = compile(
            self.recording.graph,
            guards=("loss", "gradient_norm"),
            passes=(),
            fuse=fuse,
            backend=backend,
            precision=precision,
            product_rates=product_rates,
        )
        updates = np.zeros(len(self.recording.weights) * len(FIGURES))
        self._own = self._compiled.on_device({_UPDATES: updates} if updates.size else {})
        self._states: tuple[Arrays, Arrays] = ({}, {})
        """The state of the last step, and the same with the recorder's own."""

    def run(self, state: Arrays, feeds: Arrays) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Runs a step, with the same result as the plain program, and also returns the figures.

        They are float64 [names, figures]; a figure that does not exist is NaN.
        """
        results = self._compiled(self._with_own(state), **feeds)
        figures = results.pop(_FIGURES).reshape(-1, len(FIGURES))
        values = np.full((len(self.names), len(RECORDED_FIGURES)), math.nan)
        values[:, : len(FIGURES)] = figures[self.recording.rows]
        updates = self._own.get(_UPDATES, np.zeros(0))
        changes = updates.reshape(-1, len(FIGURES))[:, _NORM]
        norms = figures[self.recording.weights, _NORM]
        ratios = np.full(len(norms), math.nan)  # a parameter that is 0 has no ratio
        np.divide(changes, norms, out=ratios, where=norms > 0)
        values[self.recording.positions, -1] = ratios
        return results, values

    def _with_own(self, state: Arrays) -> Arrays:
        """The state with the recorder's own."""
        if isinstance(state, dict):  # its arrays may be others in each step
            return joined(state, self._own)
        if self._states[0] is not state:
            self._states = state, joined(state, self._own)
        return self._states[1]


def _insert_summaries(graph: Graph, parts: Sequence[_Part], fuse: bool) -> _Recording:
    """The optimised graph of a step with a summary after each named value that it computes."""
    computed = graph.ancestors([*graph.outputs.values(), *graph.updates.values()])
    kept = [part for part in parts if _is_computed(graph, part.whole, computed)]
    if not kept:
        raise UnknownNameError(
            f"a training step computes no value of {', '.join(part.name for part in parts[:3])}",
            fix="record other nodes; constants have no figures",
        )
    measured = {part.name: _measured(graph, part) for part in kept}
    names = tuple(measured)
    whole = {_origin_of(graph.names[part.whole]) for part in kept}
    pieces: dict[Node, list[Node]] = {node: [] for node in whole}
    for part in kept:
        node = _origin_of(graph.names[part.whole])
        pieces[node] += [measured[part.name]] if measured[part.name] not in pieces[node] else []
    groups = _groups(graph, pieces, fuse)
    row_of = {node: row for row, node in enumerate(n for group in groups.values() for n in group)}
    leaves = [
        leaf
        for leaf in graph.updates
        if leaf.operation is parameter and leaf_name(leaf) in measured
    ]
    inserted = {node: [_summary(group)] for node, group in groups.items()}
    summaries = [each for found in inserted.values() for each in found]
    changes = _summaries_of_changes(graph, leaves, inserted, fuse)
    updates = dict(graph.updates)
    with declared_at("", None):
        outputs = {**graph.outputs, _FIGURES: concatenate(summaries, name=_FIGURES)}
        if changes:
            own = state(_UPDATES, (len(leaves) * len(FIGURES),), dtype="float64")
            updates[own] = concatenate(changes, name=f"{_UPDATES}.next")
    order = [each for node in graph.nodes for each in (node, *inserted.get(node, ()))]
    return _Recording(
        graph.changed(outputs, updates, order=order),
        names,
        np.array([row_of[measured[name]] for name in names], np.int64),
        np.array([row_of[_origin_of(leaf)] for leaf in leaves], np.int64),
        np.array([names.index(leaf_name(leaf)) for leaf in leaves], np.int64),
    )


def _measured(graph: Graph, part: _Part) -> Node:
    """The node of a part: the one that computes the elements, or a slice of it."""
    node = graph.names[part.whole]
    if not part.index:
        return _origin_of(node)
    with declared_at("recording", node.origin):
        return node[part.index]


def _groups(
    graph: Graph, pieces: Mapping[Node, Sequence[Node]], fuse: bool
) -> dict[Node, list[Node]]:
    """The nodes after which values are measured: each value after itself, while it is in cache.

    With fusion, values are measured after the next product, gather or scatter: a reader of a value
    ends the kernel that computes it, and such an operation has ended it anyway. So the kernels are
    those of the plain step.
    """
    groups: dict[Node, list[Node]] = {}
    waiting: list[Node] = []
    for node in graph.nodes:
        waiting += pieces.get(node, ())
        if waiting and (not fuse or node.operation in _ENDING or node is graph.nodes[-1]):
            groups[node] = waiting
            waiting = []
    return groups


def _summaries_of_changes(
    graph: Graph, leaves: Sequence[Node], inserted: dict[Node, list[Node]], fuse: bool
) -> list[Node]:
    """Summaries of the change of each parameter, inserted after its update; with fusion at the
    end."""
    changes = [_change(graph, leaf) for leaf in leaves]
    if fuse and changes:
        found = [_summary(changes)]
        inserted.setdefault(graph.nodes[-1], []).extend(found)
        return found
    found = [_summary([change]) for change in changes]
    for leaf, summary in zip(leaves, found, strict=True):
        inserted.setdefault(graph.updates[leaf], []).append(summary)
    return found


def _is_computed(graph: Graph, name: str, computed: set[Node]) -> bool:
    node = graph.names.get(name)
    return node is not None and node in computed and node.operation is not constant


def _origin_of(node: Node) -> Node:
    """The node that computes these elements, perhaps in another shape or order."""
    while node.operation in _SAME_ELEMENTS:
        node = node.heads[0]
    return node


def _summary(nodes: Sequence[Node]) -> Node:
    with declared_at("recording", nodes[0].origin):
        return SUMMARY(*nodes, name="summary")


def _change(graph: Graph, leaf: Node) -> Node:
    """The change of a parameter, up to the sign: Δ itself, as w' = w - Δ has lost digits of it."""
    after = graph.updates[leaf]
    if after.operation is subtract and after.heads[0] is leaf:
        return after.heads[1]
    with declared_at(leaf_name(leaf), leaf.origin):
        return subtract(reshape_to(after, leaf.shape), leaf, name="change")
