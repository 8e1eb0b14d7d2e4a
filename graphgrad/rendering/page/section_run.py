"""The section `run` of a page: figures of every value and every delta from one real batch.

The graph goes through the passes of training and is evaluated once, node by node (see
`inspection.statistics`); what is shown is therefore what a run computes.

    rows     one for each distinct value: figures, size, histogram of binades
    nodes    name -> {"value": row, "delta": row, "contributions": […], "unit": …, "update": …}
    outputs  the scalar outputs: the loss, the norm of the gradient, the learning rate

Of the nodes that only updates need there are the states and their next values.

- Each contribution δ_{u←t} comes with its norm, its share of all norms, its cosine with δ_u and
  `along` = ⟨δ_{u←t}, δ_u⟩ / ⟨δ_u, δ_u⟩, which sums to 1 over the tails: a branch that works against
  the others has a negative one. `pairs` are the cosines between contributions.
- A histogram counts elements by the power of two of their magnitude, which is exact, with negative
  and positive elements apart. Zeros and what is not finite are counted by their own figures.
- Whatever does not exist (the mean of nothing) is null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphgrad.graph import CONSTANT, PARAMETER, Graph, Node, Operation, leaf_name
from graphgrad.inspection.formula import contribution_formula
from graphgrad.inspection.selection import parts_of
from graphgrad.inspection.statistics import (
    FIGURES,
    Arrays,
    NonFinite,
    first_non_finite,
    statistics_of,
    walk,
)
from graphgrad.ops import relu, sigmoid, tanh
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise
from graphgrad.rendering.page.encoding import number, ratio

COLUMNS = (*FIGURES, "size", "lowest", "positive", "negative")
"""What a row holds; `lowest` is the exponent of the first bin, the last two are its counts."""
BINS = 44  # binades of one histogram; what is smaller counts in the first
SATURATED = 0.01  # how near to its bounds a sigmoid is called saturated
LISTED_UNITS = 24
PAIRED = 8  # contributions of which all cosines are given
ANCESTORS = 30  # of the first node that is not finite

Row = list[Any]


def run_section(
    graph: Graph,
    feeds: Arrays,
    state: Arrays,
    label: str = "",
    step: int = 0,
    batch: int = 0,
    passes: Sequence[Pass] = PASSES,
) -> dict[str, Any]:
    """The section for a derived graph (with or without updates) and one batch of inputs.

    `label` names the run, `step` is what its state has behind it and `batch` which batch it is.
    Raises what `inspect_values` raises for feeds or states that do not fit.
    """
    known = specialise(graph, sizes_of(graph, feeds))
    figures = _Figures(known, state)
    optimised, _ = optimise(known.with_outputs(figures.wanted(), {}), passes)
    figures.follow(optimised)
    walk(optimised, feeds, state, figures.note)
    rows, place = _rows(figures)
    nodes = {known.name_of(node): _entry(figures, node, place) for node in figures.shown}
    found = first_non_finite(_with_deltas(known), feeds, state, passes) if _lost(rows) else None
    return {
        "run": label,
        "step": step,
        "batch": batch,
        "sizes": sizes_of(graph, feeds),
        "outputs": _scalars(figures),
        "columns": list(COLUMNS),
        "rows": rows,
        "nodes": nodes,
        "saturated": SATURATED,
        "non_finite": None if found is None else _explained(known, found),
    }


def histogram_of(array: np.ndarray) -> tuple[int, list[int], list[int]]:
    """The exponent of the first bin, and how many positive and negative elements each bin has.

    Bin number k counts the elements x with 2^(first + k) <= |x| < 2^(first + k + 1); the first also
    those that are smaller. Empty for an array without finite elements other than 0.
    """
    numbers = np.asarray(array, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    if not numbers.size:
        return 0, [], []
    exponents = np.frexp(numbers)[1].astype(np.int64) - 1
    last = int(exponents.max())
    first = max(int(exponents.min()), last - BINS + 1)
    places, count = np.maximum(exponents, first) - first, last - first + 1
    positive = np.bincount(places[numbers > 0], minlength=count)
    negative = np.bincount(places[numbers < 0], minlength=count)
    return first, positive.tolist(), negative.tolist()


def row_of(array: np.ndarray) -> Row:
    """The figures of an array in the order of `COLUMNS`."""
    found = statistics_of(array)
    figures = [number(getattr(found, name)) for name in FIGURES[:-1]]
    return [*figures, found.non_finite, int(np.size(array)), *histogram_of(array)]


# ---------------------------------------------------------------- one evaluation


@dataclass
class _Sum:
    """A delta with what each of its tails sends back, until all of them have been seen."""

    delta: Node
    sent: list[Node]
    values: dict[Node, np.ndarray] = field(default_factory=dict)
    products: np.ndarray | None = None
    """Inner products of the contributions and, last, the delta."""

    def note(self, node: Node, value: np.ndarray) -> None:
        self.values[node] = np.asarray(value, np.float64).ravel()
        if len(self.values) == len({self.delta, *self.sent}):
            vectors = [self.values[item] for item in (*self.sent, self.delta)]
            with np.errstate(all="ignore"):
                self.products = np.array([[np.dot(a, b) for b in vectors] for a in vectors])
            self.values.clear()


class _Figures:
    """What one evaluation is asked for, and what it found, by node of the specialised graph."""

    def __init__(self, graph: Graph, state: Arrays) -> None:
        self.graph, self.state = graph, state
        parts = parts_of(graph)
        kept = {*graph.updates, *graph.updates.values(), *graph.outputs.values()}
        self.shown = [
            node
            for node in graph.nodes
            if (parts[node] != "update" or node in kept) and node.operation is not CONSTANT
        ]
        self.next = {
            node: leaf for leaf, node in graph.updates.items() if leaf.operation is PARAMETER
        }
        self.sums: dict[Node, _Sum] = {}
        for node in self.shown:
            delta, sent = graph.delta_or_none(node), graph.sent_back(node)
            if delta is not None and len(sent) > 1:
                self.sums[node] = _Sum(delta, [item.value for item in sent])
        self.rows: dict[Node, Row] = {}
        self.units: dict[Node, dict[str, Any]] = {}
        self.updates: dict[Node, dict[str, Any]] = {}
        self._asked: dict[Node, list[Node]] = {}
        self._sums: dict[Node, list[_Sum]] = {}

    def wanted(self) -> dict[str, Node]:
        """The nodes to compute, as outputs under their positions: names may be anything."""
        nodes = dict.fromkeys(self.shown)
        for node in self.shown:
            delta = self.graph.delta_or_none(node)
            if delta is not None:
                nodes[delta] = None
            nodes.update(dict.fromkeys(item.value for item in self.graph.sent_back(node)))
        nodes.update(dict.fromkeys(self.next))
        return {str(self.graph.position(node)): node for node in nodes}

    def follow(self, optimised: Graph) -> None:
        """Notes which node of the optimised graph has the value of which asked ones."""
        stands_for: dict[Node, Node] = {}
        for key, node in optimised.outputs.items():
            asked = self.graph.nodes[int(key)]
            stands_for[asked] = node
            self._asked.setdefault(node, []).append(asked)
        for item in self.sums.values():
            item.delta = stands_for[item.delta]
            item.sent = [stands_for[node] for node in item.sent]
            for node in {item.delta, *item.sent}:
                self._sums.setdefault(node, []).append(item)

    def note(self, node: Node, value: np.ndarray) -> None:
        """Called with each value of the optimised graph while it is there."""
        if node not in self._asked:
            return
        row = row_of(value)
        for asked in self._asked[node]:
            self.rows[asked] = row
            if asked.operation in _UNITS:
                self.units[asked] = _UNITS[asked.operation](asked, value)
            if asked in self.next:
                leaf = self.next[asked]
                self.updates[leaf] = _update(self.state[leaf_name(leaf)], value)
        for item in self._sums.get(node, ()):
            item.note(node, value)


def _update(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    """How far one step moves a parameter, beside the parameter's own norm."""
    before = np.asarray(old, np.float64)
    change = float(np.linalg.norm(np.asarray(new, np.float64) - before))
    weight = float(np.linalg.norm(before))
    return {"norm": number(change), "ratio": number(ratio(change, weight))}


# ---------------------------------------------------------------- units of an activation


def _units(node: Node, stuck: np.ndarray) -> tuple[int, np.ndarray]:
    """How many units the node has, and the numbers of those that are stuck for the whole batch.

    A unit is a place along the last axis; of a node with one axis, the batch, all is one unit.
    """
    wide = node.rank > 1
    table = stuck.reshape(-1, stuck.shape[-1]) if wide else stuck.reshape(-1, 1)
    return table.shape[1], np.flatnonzero(table.all(axis=0))


def _unit_figures(node: Node, stuck: np.ndarray, kind: str) -> dict[str, Any]:
    count, units = _units(node, stuck)
    return {
        "kind": kind,
        "units": count,
        "stuck": len(units),
        "first": units[:LISTED_UNITS].tolist(),
        "share": number(float(np.mean(stuck)) if stuck.size else None),
    }


def _relu_units(node: Node, value: np.ndarray) -> dict[str, Any]:
    return _unit_figures(node, value == 0, "relu")


def _sigmoid_units(node: Node, value: np.ndarray) -> dict[str, Any]:
    return _unit_figures(node, np.minimum(value, 1 - value) < SATURATED, "sigmoid")


def _tanh_units(node: Node, value: np.ndarray) -> dict[str, Any]:
    return _unit_figures(node, 1 - np.abs(value) < SATURATED, "tanh")


_UNITS: Mapping[Operation, Callable[[Node, np.ndarray], dict[str, Any]]] = {
    relu: _relu_units,
    sigmoid: _sigmoid_units,
    tanh: _tanh_units,
}


# ---------------------------------------------------------------- in plain values


def _rows(figures: _Figures) -> tuple[list[Row], dict[Node, int]]:
    """Each row once, and where the row of each node stands."""
    rows: list[Row] = []
    known: dict[int, int] = {}
    place: dict[Node, int] = {}
    for node, row in figures.rows.items():
        if id(row) not in known:
            known[id(row)] = len(rows)
            rows.append(row)
        place[node] = known[id(row)]
    return rows, place


def _with_deltas(graph: Graph) -> Graph:
    """The graph with its deltas as outputs where no update needs them: none is pruned."""
    if graph.updates:
        return graph
    deltas = {
        str(graph.position(node)): delta
        for node in graph.nodes
        if (delta := graph.delta_or_none(node)) is not None
    }
    return graph.with_outputs({**graph.outputs, **deltas})


def _scalars(figures: _Figures) -> dict[str, float | None]:
    """The outputs that are one number: the loss, and what an optimiser gives beside it."""
    mean = FIGURES.index("mean")
    return {
        name: figures.rows[node][mean]
        for name, node in figures.graph.outputs.items()
        if node.shape == () and node in figures.rows
    }


def _lost(rows: Sequence[Row]) -> bool:
    return any(row[COLUMNS.index("non_finite")] for row in rows)


def _entry(figures: _Figures, node: Node, place: Mapping[Node, int]) -> dict[str, Any]:
    entry: dict[str, Any] = {"value": place[node]}
    delta = figures.graph.delta_or_none(node)
    if delta is not None:
        entry["delta"] = place[delta]
        entry |= _contributions(figures, node, place)
    if node in figures.units:
        entry["unit"] = figures.units[node]
    if node in figures.updates:
        entry["update"] = figures.updates[node]
    return entry


def _contributions(figures: _Figures, node: Node, place: Mapping[Node, int]) -> dict[str, Any]:
    """What each tail sends back, and the cosines between them where they are not too many."""
    graph, sent = figures.graph, figures.graph.sent_back(node)
    norms = [figures.rows[item.value][FIGURES.index("norm")] or 0.0 for item in sent]
    item_sum = figures.sums.get(node)
    products = None if item_sum is None else item_sum.products
    listed = [
        {
            "tail": graph.name_of(item.tail),
            "formula": contribution_formula(graph, item.tail, item.place),
            "row": place[item.value],
            "share": number(ratio(norms[k], sum(norms))),
            "cosine": _cosine(products, k, -1),
            "along": 1.0 if products is None else number(ratio(products[k, -1], products[-1, -1])),
        }
        for k, item in enumerate(sent)
    ]
    found: dict[str, Any] = {"contributions": listed}
    if products is not None and 1 < len(sent) <= PAIRED:
        found["pairs"] = [[_cosine(products, a, b) for b in range(a)] for a in range(len(sent))]
    return found


def _cosine(products: np.ndarray | None, a: int, b: int) -> float | None:
    """The cosine of the angle between two of the vectors; a sole contribution is δ itself."""
    if products is None:
        return 1.0
    cosine = ratio(products[a, b], float(np.sqrt(products[a, a]) * np.sqrt(products[b, b])))
    return None if cosine is None else number(min(1.0, max(-1.0, cosine)))


def _explained(graph: Graph, found: NonFinite) -> dict[str, Any]:
    """Where it stopped being finite, and what that was computed from, nearest first."""
    names = [found.name] if found.name in graph.names else list(found.heads)
    steps = {graph.names[name]: 0 for name in names if name in graph.names}
    queue = list(steps)
    for node in queue:
        for head in node.heads:
            if head not in steps and len(steps) < ANCESTORS and head.operation is not CONSTANT:
                steps[head] = steps[node] + 1
                queue.append(head)
    ancestry = [
        {
            "name": graph.name_of(node),
            "operation": node.operation.name,
            "distance": distance,
            "heads": [graph.name_of(head) for head in node.heads],
        }
        for node, distance in steps.items()
    ]
    return {**found.to_dict(), "text": str(found), "ancestry": ancestry}
