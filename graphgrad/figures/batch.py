"""Figures of every value and every delta of one batch, from one evaluation.

- Each value has its statistics and a histogram that counts elements by the power of two of their
  magnitude, which is exact, with negative and positive elements apart.
- Where several tails send back to a node there are the inner products of what they send and of the
  delta, from which cosines and shares follow.
- Of a relu, a sigmoid and a tanh the units are counted that are stuck for the whole batch.
- Of a parameter there is how far its update moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphgrad.backprop.selection import parts_of
from graphgrad.figures.evaluation import Arrays, values_seen
from graphgrad.figures.non_finite import NonFinite, first_non_finite
from graphgrad.figures.statistics import Statistics, statistics_of
from graphgrad.graph import Graph, Node, Operation, constant, leaf_name, parameter
from graphgrad.ops import relu, sigmoid, tanh
from graphgrad.passes import PASSES, Pass

BINS = 44  # binades of one histogram; what is smaller counts in the first
SATURATED = 0.01  # how near to its bounds a sigmoid is called saturated


@dataclass(frozen=True, eq=False)
class ValueFigures:
    """Figures of one value; nodes that have the same value have the same figures."""

    statistics: Statistics
    size: int
    histogram: tuple[int, list[int], list[int]]
    """See `histogram_of`."""


@dataclass(frozen=True)
class Units:
    """The units of an activation: how many, and which of them are stuck for the whole batch."""

    kind: str
    units: int
    stuck: tuple[int, ...]
    share: float | None
    """The share of all elements that are stuck; None where there are no elements."""


class BatchFigures:
    """What one batch gives, by node of a specialised graph.

    `shown` are the nodes that have figures: all but constants, and of the nodes that only updates
    need the states and their next values. `values` are the figures of these, of their deltas and of
    what is sent back. `products` are inner products of the contributions to a delta and, last, the
    delta itself; `updates` are the norms of a parameter's change and of the parameter. `non_finite`
    is where the batch stopped being finite.
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
        asked = dict.fromkeys([*self._asked(), *leaf_of])
        for nodes, value in values_seen(graph, asked, feeds, state, passes):
            found = ValueFigures(statistics_of(value), int(np.size(value)), histogram_of(value))
            for node in nodes:
                self.values[node] = found
                if node.operation in _STUCK:
                    self.units[node] = _units(node, value)
                if node in leaf_of:
                    leaf = leaf_of[node]
                    self.updates[leaf] = _update(state[leaf_name(leaf)], value)
            self._note(sums, nodes, value)
        lost = any(found.statistics.non_finite for found in self.values.values())
        self.non_finite: NonFinite | None = None
        if lost:
            self.non_finite = first_non_finite(_with_deltas(graph), feeds, state, passes)

    def _asked(self) -> Iterator[Node]:
        yield from self.shown
        for node in self.shown:
            delta = self.graph.delta_or_none(node)
            if delta is not None:
                yield delta
            yield from (item.value for item in self.graph.sent_back(node))

    def _sums(self) -> dict[Node, list[_Sum]]:
        """The deltas that several tails send to, by each node whose value they need."""
        sums: dict[Node, list[_Sum]] = {}
        for node in self.shown:
            delta, sent = self.graph.delta_or_none(node), self.graph.sent_back(node)
            if delta is not None and len(sent) > 1:
                found = _Sum(node, [*(item.value for item in sent), delta])
                for part in set(found.parts):
                    sums.setdefault(part, []).append(found)
        return sums

    def _note(
        self, sums: Mapping[Node, list[_Sum]], nodes: Sequence[Node], value: np.ndarray
    ) -> None:
        needed = [(item, node) for node in nodes for item in sums.get(node, ())]
        flat = np.asarray(value, np.float64).ravel() if needed else value
        for item, node in needed:
            products = item.with_value(node, flat)
            if products is not None:
                self.products[item.node] = products


@dataclass
class _Sum:
    """What the tails of a node send back and, last, its delta, until all have been seen."""

    node: Node
    parts: list[Node]
    seen: dict[Node, np.ndarray] = field(default_factory=dict)

    def with_value(self, part: Node, value: np.ndarray) -> np.ndarray | None:
        """The inner products, once this is the last value that was missing."""
        self.seen[part] = value
        if len(self.seen) < len(set(self.parts)):
            return None
        vectors = [self.seen[item] for item in self.parts]
        self.seen.clear()
        with np.errstate(all="ignore"):
            return np.array([[np.dot(a, b) for b in vectors] for a in vectors])


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


def _update(old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """How far one step moves a parameter, and the parameter's own norm."""
    before = np.asarray(old, np.float64)
    change = float(np.linalg.norm(np.asarray(new, np.float64) - before))
    return change, float(np.linalg.norm(before))


_STUCK: Mapping[Operation, Callable[[np.ndarray], np.ndarray]] = {
    relu: lambda value: value == 0,
    sigmoid: lambda value: np.minimum(value, 1 - value) < SATURATED,
    tanh: lambda value: 1 - np.abs(value) < SATURATED,
}
"""Of an activation, which elements no longer move: what is sent back to them is 0, or nearly."""


def _units(node: Node, value: np.ndarray) -> Units:
    """A unit is an index of the last axis; a node with one axis, the batch, is one unit."""
    stuck = _STUCK[node.operation](value)
    table = stuck.reshape(-1, stuck.shape[-1]) if node.rank > 1 else stuck.reshape(-1, 1)
    return Units(
        node.operation.name,
        table.shape[1],
        tuple(np.flatnonzero(table.all(axis=0)).tolist()),
        float(np.mean(stuck)) if stuck.size else None,
    )


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
