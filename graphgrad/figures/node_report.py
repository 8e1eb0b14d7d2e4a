"""Reports the figures of values, deltas and contributions of one batch, node by node.

The batch is evaluated once (see `evaluation`); a report is strict JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from graphgrad.backprop.formula import (
    contribution_formula,
    cuts_of,
    delta_formula,
    operated,
    value_formula,
)
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.figures.array_figures import Figures, figures_of
from graphgrad.figures.evaluation import Arrays, distinct_values
from graphgrad.graph import Graph, Node, constant
from graphgrad.passes import PASSES, Pass, sizes_of, specialise


@dataclass(frozen=True, slots=True)
class SentReport:
    """One contribution: the norm of what a tail sends back, and its share of all norms together."""

    tail: str
    formula: str
    norm: float
    share: float


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The figures of a node's value, of its delta, and of the contributions to the delta."""

    name: str
    operation: str
    shape: tuple[int, ...]
    origin: str
    value: Figures
    delta: Figures | None
    formula: str
    """`tanh hidden.a`; empty for a leaf."""
    delta_formula: str
    """`δ[output.product] · output.w + …`; empty for a node without a delta."""
    contributions: tuple[SentReport, ...]
    delta_name: str = ""
    """The name of the delta; empty for a node without a delta."""

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
    backend: str = "numpy",
) -> tuple[NodeReport, ...]:
    """Reports on every node of a derived graph that a name or pattern matches, in order.

    Patterns choose among the forward nodes except constants; an exact name can be that of any node.
    Raises UnknownNameError for a pattern that matches nothing.
    """
    graph = specialise(graph, sizes_of(graph, feeds))
    parts = parts_of(graph)
    shown = [
        node for node in graph.nodes if parts[node] == "forward" and node.operation is not constant
    ]
    chosen = matching(graph, patterns, shown)
    given = feeds, state or {}, passes, backend
    figures = _figures(graph, _needed(graph, chosen), *given)
    return tuple(_report(graph, node, figures) for node in chosen)


def _needed(graph: Graph, chosen: Iterable[Node]) -> Iterator[Node]:
    """The chosen nodes, their deltas, and the contributions to these."""
    for node in chosen:
        yield node
        delta = graph.delta_or_none(node)
        if delta is not None:
            yield delta
        yield from (item.value for item in graph.sent_back(node))


def _figures(
    graph: Graph,
    needed: Iterable[Node],
    feeds: Arrays,
    state: Arrays,
    passes: Sequence[Pass],
    backend: str,
) -> dict[Node, Figures]:
    """The figures of each needed node, from one evaluation of the optimised graph."""
    found: dict[Node, Figures] = {}
    for nodes, value in distinct_values(graph, needed, feeds, state, passes, backend):
        found.update(dict.fromkeys(nodes, figures_of(value)))
    return found


def _report(graph: Graph, node: Node, figures: Mapping[Node, Figures]) -> NodeReport:
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
                    contribution_formula(graph, item.tail, item.position),
                    cuts_of(graph, item.changes),
                ),
                figures[item.value].norm,
                figures[item.value].norm / total if total else 0.0,
            )
            for item in sent
        ),
        delta_name="" if delta is None else graph.delta_name(node),
    )
