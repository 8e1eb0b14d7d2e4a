"""Figures of values and deltas, node by node, of one batch (see evaluation.py).

- Figures are over the finite elements, in float64; NaN and infinite elements are counted apart.
- A figure that does not exist (the mean of nothing) is None, never NaN: a report is strict JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphgrad.backprop.formula import (
    contribution_formula,
    cuts_of,
    delta_formula,
    operated,
    value_formula,
)
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.figures.evaluation import Arrays, values_seen
from graphgrad.graph import Graph, Node, constant
from graphgrad.passes import PASSES, Pass, sizes_of, specialise

FIGURES = ("mean", "std", "norm", "minimum", "maximum", "zeros", "non_finite")
"""The figures of `Statistics` that reports can be sorted by."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of one array, over its finite elements."""

    shape: tuple[int, ...]
    mean: float | None
    std: float | None
    """The root of the mean squared distance from the mean (divided by n)."""
    norm: float
    """The root of the sum of squares."""
    minimum: float | None
    maximum: float | None
    zeros: float
    """The share of all elements that are exactly 0."""
    non_finite: int
    """How many elements are NaN or infinite."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape)}


def statistics_of(array: np.ndarray) -> Statistics:
    """The figures of an array of numbers or booleans (False is 0, True is 1)."""
    numbers = np.asarray(array, np.float64)
    finite = numbers[np.isfinite(numbers)]
    zeros = float(np.count_nonzero(numbers == 0)) / max(numbers.size, 1)
    lost = numbers.size - finite.size
    if not finite.size:
        return Statistics(numbers.shape, None, None, 0.0, None, None, zeros, lost)
    low, high = float(finite.min()), float(finite.max())
    scale = max(abs(low), abs(high)) or 1.0  # so that no square overflows
    with np.errstate(under="ignore"):
        scaled = finite / scale
        mean, deviation = float(scaled.mean()), float(scaled.std())
        norm = float(np.sqrt(np.sum(scaled * scaled)))
    return Statistics(
        numbers.shape, mean * scale, deviation * scale, norm * scale, low, high, zeros, lost
    )


@dataclass(frozen=True, slots=True)
class SentReport:
    """What one tail sends back: its norm, and its share of the norms of all tails together."""

    tail: str
    formula: str
    norm: float
    share: float


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node: what it is, the figures of its value and of its delta, and where δ comes from."""

    name: str
    operation: str
    shape: tuple[int, ...]
    origin: str
    value: Statistics
    delta: Statistics | None
    formula: str
    """`tanh hidden.a`; empty for a leaf."""
    delta_formula: str
    """`δ[output.product] · output.w + …`; empty where there is no delta."""
    contributions: tuple[SentReport, ...]
    delta_name: str = ""
    """The name of the delta; empty where there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "operation": self.operation,
            "shape": list(self.shape),
            "origin": self.origin,
            "value": self.value.to_dict(),
            "delta": self.delta.to_dict() if self.delta else None,
            "formula": self.formula,
            "delta_formula": self.delta_formula,
            "contributions": [asdict(sent) for sent in self.contributions],
        }


def inspect_values(
    graph: Graph,
    feeds: Arrays,
    state: Arrays | None = None,
    patterns: Sequence[str] = ("*",),
    passes: Sequence[Pass] = PASSES,
) -> tuple[NodeReport, ...]:
    """A report for every node of a derived graph that a name or pattern means, in order.

    Patterns choose among the forward nodes that are no constants; an exact name means any node.
    Raises UnknownNameError for a pattern that means nothing.
    """
    graph = specialise(graph, sizes_of(graph, feeds))
    parts = parts_of(graph)
    shown = [
        node for node in graph.nodes if parts[node] == "forward" and node.operation is not constant
    ]
    chosen = matching(graph, patterns, shown)
    figures = _figures(graph, _asked(graph, chosen), feeds, state or {}, passes)
    return tuple(_report(graph, node, figures) for node in chosen)


def _asked(graph: Graph, chosen: Iterable[Node]) -> Iterator[Node]:
    """The chosen nodes, their deltas, and what their tails send back."""
    for node in chosen:
        yield node
        delta = graph.delta_or_none(node)
        if delta is not None:
            yield delta
        yield from (item.value for item in graph.sent_back(node))


def _figures(
    graph: Graph, asked: Iterable[Node], feeds: Arrays, state: Arrays, passes: Sequence[Pass]
) -> dict[Node, Statistics]:
    """The statistics of each asked node, from one run of the optimised graph."""
    found: dict[Node, Statistics] = {}
    for nodes, value in values_seen(graph, asked, feeds, state, passes):
        found.update(dict.fromkeys(nodes, statistics_of(value)))
    return found


def _report(graph: Graph, node: Node, figures: Mapping[Node, Statistics]) -> NodeReport:
    delta, sent = graph.delta_or_none(node), graph.sent_back(node)
    total = sum(figures[item.value].norm for item in sent)
    return NodeReport(
        name=graph.name_of(node),
        operation=node.operation.name,
        shape=node.type.sizes,
        origin=str(node.origin or ""),
        value=figures[node],
        delta=None if delta is None else figures[delta],
        formula=value_formula(graph, node),
        delta_formula=delta_formula(graph, node),
        contributions=tuple(
            SentReport(
                graph.name_of(item.tail),
                operated(
                    contribution_formula(graph, item.tail, item.place),
                    cuts_of(graph, item.changes),
                ),
                figures[item.value].norm,
                figures[item.value].norm / total if total else 0.0,
            )
            for item in sent
        ),
        delta_name="" if delta is None else graph.delta_name(node),
    )
