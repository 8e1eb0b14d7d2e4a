"""Computes figures of every value and every delta of one batch, from one evaluation.

- Every value has its figures, and a histogram that counts positive and negative elements by the
  power of two of their magnitude, which is exact.
- A delta with several contributions has their inner products with each other and with the delta,
  which cosines and shares are computed from.
- The units of a relu, a sigmoid or a tanh that are stuck for the whole batch are listed.
- A parameter has the norm of its update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.figures.array_figures import Figures, figures_of
from graphgrad.figures.evaluation import Arrays, distinct_values
from graphgrad.figures.non_finite import NonFinite, first_non_finite
from graphgrad.graph import Graph, Node, Operation, constant, leaf_name, parameter
from graphgrad.ops import relu, sigmoid, tanh
from graphgrad.passes import PASSES, Pass

BINS = 44  # powers of two in one histogram; smaller elements are counted in the first bin
SATURATED = 0.01  # the distance from its bounds below which a sigmoid is called saturated


@dataclass(frozen=True, eq=False)
class ValueFigures:
    """The figures of one value; nodes with the same value have the same figures."""

    figures: Figures
    size: int
    histogram: tuple[int, list[int], list[int]]
    """See `histogram_of`."""


@dataclass(frozen=True)
class Units:
    """The units of an activation: their number, and which are stuck for the whole batch."""

    kind: str
    units: int
    stuck: tuple[int, ...]
    share: float | None
    """The share of all elements that are stuck; None for an activation without elements."""


class BatchFigures:
    """The figures of one batch, by node of a specialised graph.

    `shown` are the nodes with figures: all but constants; of the nodes that only updates need, the
    states and their next values. `values` are the figures of these nodes, of their deltas and of
    the contributions. `products` are the inner products of all contributions to a delta and, last,
    the delta itself. `updates` are the norms of a parameter's change and of the parameter.
    `non_finite` is the first value that is not finite.
    """

    def __init__(
        self, graph: Graph, feeds: Arrays, state: Arrays, passes: Sequence[Pass] = PASSES
    ) -> None:
        self.graph = graph
        parts = parts_of(graph)
        kept = {*graph.updates, *graph.updates.values(), *graph.outputs.values()}
        self.shown = [
            node
            for node in graph.nodes
            if (parts[node] != "update" or node in kept) and node.operation is not constant
        ]
        self.values: dict[Node, ValueFigures] = {}
        self.products: dict[Node, np.ndarray] = {}
        self.units: dict[Node, Units] = {}
        self.updates: dict[Node, tuple[float, float]] = {}
        leaf_of = {
            node: leaf for leaf, node in graph.updates.items() if leaf.operation is parameter
        }
        sums = self._sums()
        needed = dict.fromkeys([*self._needed(), *leaf_of])
        for nodes, value in distinct_values(graph, needed, feeds, state, passes):
            found = ValueFigures(figures_of(value), int(np.size(value)), histogram_of(value))
            for node in nodes:
                self.values[node] = found
                if node.operation in _STUCK:
                    self.units[node] = _units(node, value)
                if node in leaf_of:
                    leaf = leaf_of[node]
                    self.updates[leaf] = _update(state[leaf_name(leaf)], value)
            self._add_products(sums, nodes, value)
        non_finite = any(found.figures.non_finite for found in self.values.values())
        self.non_finite: NonFinite | None = None
        if non_finite:
            self.non_finite = first_non_finite(_with_deltas(graph), feeds, state, passes)

    def _needed(self) -> Iterator[Node]:
        """The shown nodes, their deltas and the contributions to these."""
        yield from self.shown
        for node in self.shown:
            delta = self.graph.delta_or_none(node)
            if delta is not None:
                yield delta
            yield from (item.value for item in self.graph.sent_back(node))

    def _sums(self) -> dict[Node, list[_Sum]]:
        """The deltas with several contributions, by each node whose value they need."""
        sums: dict[Node, list[_Sum]] = {}
        for node in self.shown:
            delta, sent = self.graph.delta_or_none(node), self.graph.sent_back(node)
            if delta is not None and len(sent) > 1:
                found = _Sum(node, [*(item.value for item in sent), delta])
                for part in set(found.parts):
                    sums.setdefault(part, []).append(found)
        return sums

    def _add_products(
        self, sums: Mapping[Node, list[_Sum]], nodes: Sequence[Node], value: np.ndarray
    ) -> None:
        """Adds a value to the sums that need it, and the products of those that are complete."""
        needed = [(item, node) for node in nodes for item in sums.get(node, ())]
        flat = np.asarray(value, np.float64).ravel() if needed else value
        for item, node in needed:
            products = item.with_value(node, flat)
            if products is not None:
                self.products[item.node] = products


@dataclass
class _Sum:
    """The contributions to a delta and, last, the delta; values are kept until all are computed."""

    node: Node
    parts: list[Node]
    seen: dict[Node, np.ndarray] = field(default_factory=dict)

    def with_value(self, part: Node, value: np.ndarray) -> np.ndarray | None:
        """The inner products if this was the last missing value, else None."""
        self.seen[part] = value
        if len(self.seen) < len(set(self.parts)):
            return None
        vectors = [self.seen[item] for item in self.parts]
        self.seen.clear()
        with np.errstate(all="ignore"):
            return np.array([[np.dot(a, b) for b in vectors] for a in vectors])


def histogram_of(array: np.ndarray) -> tuple[int, list[int], list[int]]:
    """The exponent of the first bin, and the counts of positive and of negative elements by bin.

    Bin k counts the elements x with 2^(first + k) <= |x| < 2^(first + k + 1); the first bin also
    counts smaller ones. Empty for an array without finite elements other than 0.
    """
    numbers = np.asarray(array, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers) & (numbers != 0)]
    if not numbers.size:
        return 0, [], []
    exponents = np.frexp(numbers)[1].astype(np.int64) - 1
    last = int(exponents.max())
    first = max(int(exponents.min()), last - BINS + 1)
    bins, count = np.maximum(exponents, first) - first, last - first + 1
    positive = np.bincount(bins[numbers > 0], minlength=count)
    negative = np.bincount(bins[numbers < 0], minlength=count)
    return first, positive.tolist(), negative.tolist()


def _update(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """The norms of the change of a parameter in one step, and of the parameter before it."""
    before = np.asarray(old, np.float64)
    change = float(np.linalg.norm(np.asarray(new, np.float64) - before))
    return change, float(np.linalg.norm(before))


_STUCK: Mapping[Operation, Callable[[np.ndarray], np.ndarray]] = {
    relu: lambda value: value == 0,
    sigmoid: lambda value: np.minimum(value, 1 - value) < SATURATED,
    tanh: lambda value: 1 - np.abs(value) < SATURATED,
}
"""For an activation, whether each element is stuck: its delta is multiplied by 0, or nearly 0."""


def _units(node: Node, value: np.ndarray) -> Units:
    """Finds stuck units. A unit is an index of the last axis; a node with one axis is one unit."""
    stuck = _STUCK[node.operation](value)
    table = stuck.reshape(-1, stuck.shape[-1]) if node.rank > 1 else stuck.reshape(-1, 1)
    return Units(
        node.operation.name,
        table.shape[1],
        tuple(np.flatnonzero(table.all(axis=0)).tolist()),
        float(np.mean(stuck)) if stuck.size else None,
    )


def _with_deltas(graph: Graph) -> Graph:
    """The graph with its deltas as outputs if no update needs them, so that none is pruned."""
    if graph.updates:
        return graph
    deltas = {
        str(graph.position(node)): delta
        for node in graph.nodes
        if (delta := graph.delta_or_none(node)) is not None
    }
    return graph.with_outputs({**graph.outputs, **deltas})
