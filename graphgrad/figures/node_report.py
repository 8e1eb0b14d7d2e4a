"""Reports the figures of values, deltas and contributions of one batch, node by node.

The batch is evaluated once (see `evaluation`); a report is strict JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from graphgrad.backprop.formula import (
    contribution_formula,
    cuts_of,
    delta_formula,
    operated,
    value_formula,
)
from graphgrad.backprop.selection import matching, parts_of
from graphgrad.errors import UnknownNameError
from graphgrad.figures.array_figures import Figures, figures_of
from graphgrad.figures.axes import WHOLE, Parts, axes_of_graph, parts_along
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
    by: str = "",
) -> tuple[NodeReport, ...]:
    """Reports on every node of a derived graph that a name or pattern matches, in order.

    Patterns choose among the forward nodes except constants; an exact name can be that of any node.
    With an axis `by`, a node that has it gets a report for each index (`scores[head=0]`), which has
    no contributions. Raises UnknownNameError for a pattern that matches nothing, and for an axis
    that no chosen node has.
    """
    axes = axes_of_graph(graph) if by else {}
    named = {graph.name_of(node): names for node, names in axes.items()}
    graph = specialise(graph, sizes_of(graph, feeds))
    kinds = parts_of(graph)
    shown = [
        node for node in graph.nodes if kinds[node] == "forward" and node.operation is not constant
    ]
    chosen = matching(graph, patterns, shown)
    parts = {
        node: parts_along(graph, node, named.get(graph.name_of(node), ()), by) for node in chosen
    }
    if by and not any(parts.values()):
        known = dict.fromkeys(axis for node in chosen for axis in named[graph.name_of(node)])
        raise UnknownNameError(
            f"no chosen node has an axis {by!r}", fix=f"axes: {', '.join(known)}"
        )
    figures = _figures(graph, parts, feeds, state or {}, passes, backend)
    return tuple(
        report for node in chosen for report in _reports(graph, node, parts[node], figures)
    )


def _needed(graph: Graph, chosen: Iterable[Node]) -> Iterator[Node]:
    """The chosen nodes, their deltas, and the contributions to these."""
    for node in chosen:
        yield node
        delta = graph.delta_or_none(node)
        if delta is not None:
            yield delta
        yield from (item.value for item in graph.sent_back(node))


_Table = dict[tuple[Node, str], Figures]
"""Figures by node and the name of a part; the whole is named by the empty text."""


def _figures(
    graph: Graph,
    parts: Mapping[Node, Parts],
    feeds: Arrays,
    state: Arrays,
    passes: Sequence[Pass],
    backend: str,
) -> _Table:
    """The figures of each needed node, from one evaluation of the optimised graph."""
    indices: dict[Node, Parts] = dict.fromkeys(_needed(graph, parts), WHOLE)
    for node, some in parts.items():
        for whole in (node, graph.delta_or_none(node)):
            if whole is not None and some:
                indices[whole] = (*WHOLE, *some)
    found: _Table = {}
    for nodes, value in distinct_values(graph, indices, feeds, state, passes, backend):
        known: dict[str, Figures] = {}
        for node in nodes:
            for name, index in indices[node]:
                if name not in known:
                    known[name] = figures_of(value[index])
                found[node, name] = known[name]
    return found


def _reports(graph: Graph, node: Node, parts: Parts, figures: _Table) -> Iterator[NodeReport]:
    """The report of a node, or one for each of its parts."""
    whole = _report(graph, node, figures)
    if not parts:
        yield whole
        return
    delta = graph.delta_or_none(node)
    for name, _ in parts:
        yield replace(
            whole,
            name=whole.name + name,
            shape=figures[node, name].shape,
            value=figures[node, name],
            delta=None if delta is None else figures[delta, name],
            delta_formula="",
            contributions=(),
            delta_name=whole.delta_name and whole.delta_name + name,
        )


def _report(graph: Graph, node: Node, figures: _Table) -> NodeReport:
    delta, sent = graph.delta_or_none(node), graph.sent_back(node)
    total = sum(figures[item.value, ""].norm for item in sent)
    return NodeReport(
        name=graph.name_of(node),
        operation=node.operation.name,
        shape=node.type.sizes,
        origin=str(node.origin or ""),
        value=figures[node, ""],
        delta=None if delta is None else figures[delta, ""],
        formula=value_formula(graph, node),
        delta_formula=delta_formula(graph, node),
        contributions=tuple(
            SentReport(
                graph.name_of(item.tail),
                operated(
                    contribution_formula(graph, item.tail, item.position),
                    cuts_of(graph, item.changes),
                ),
                figures[item.value, ""].norm,
                figures[item.value, ""].norm / total if total else 0.0,
            )
            for item in sent
        ),
        delta_name="" if delta is None else graph.delta_name(node),
    )
