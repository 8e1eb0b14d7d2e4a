"""Figures of values and deltas, node by node, and the first node that is not finite.

The graph goes through the same passes as for training and is then evaluated node by node by the
reference engine. So the figures are those of the values that a run computes, in the form in which
it computes them (a stabilised log-softmax, say), yet no program with hundreds of outputs has to be
planned and compiled, each value is dropped after its last reader, and no state is updated.

- Figures are over the finite elements, in float64; NaN and infinite elements are counted apart.
- A figure that does not exist (the mean of nothing) is None, never NaN: a report is strict JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from graphgrad.errors import UnknownNameError
from graphgrad.graph import CONSTANT, INPUT, STATEFUL, Graph, Node, leaf_name
from graphgrad.graph.types import shape_text
from graphgrad.inspection.formula import (
    contribution_formula,
    cuts_of,
    delta_formula,
    operated,
    value_formula,
)
from graphgrad.inspection.selection import Part, matching, parts_of
from graphgrad.ops.evaluate import evaluate_node
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise
from graphgrad.text import printable

Arrays = Mapping[str, np.ndarray]
Each = Callable[[Node, np.ndarray], None]

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
class Sent:
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
    contributions: tuple[Sent, ...]
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
        node for node in graph.nodes if parts[node] == "forward" and node.operation is not CONSTANT
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
    wanted = {graph.name_of(node): node for node in asked}
    optimised, _ = optimise(graph.with_outputs(wanted, {}), passes)
    needed, found = set(optimised.outputs.values()), {}

    def note(node: Node, value: np.ndarray) -> None:
        if node in needed:
            found[node] = statistics_of(value)

    walk(optimised, feeds, state, note)
    return {node: found[optimised.outputs[name]] for name, node in wanted.items()}


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
            Sent(
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


def walk(graph: Graph, feeds: Arrays, state: Arrays, each: Each) -> None:
    """Evaluates a specialised graph in order; `each` sees every value once, while it is there."""
    last = {head: node for node in graph.nodes for head in node.heads}
    values: dict[Node, np.ndarray] = {}
    for node in graph.nodes:
        value = _value(node, values, feeds, state)
        each(node, value)
        if node in last:
            values[node] = value
        for head in node.heads:
            if last[head] is node:
                values.pop(head, None)


def _value(
    node: Node, values: Mapping[Node, np.ndarray], feeds: Arrays, state: Arrays
) -> np.ndarray:
    if node.operation is CONSTANT:
        return node.attributes["value"].array
    if node.operation is INPUT or node.operation in STATEFUL:
        source = feeds if node.operation is INPUT else state
        if leaf_name(node) not in source:
            raise UnknownNameError(f"no value is given for {leaf_name(node)!r}")
        return np.asarray(source[leaf_name(node)], node.dtype)
    return evaluate_node(node, [values[head] for head in node.heads])


# ---------------------------------------------------------------- where it stopped being finite


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first value or delta that is not finite although what it is computed from is."""

    name: str
    part: Part
    operation: str
    shape: tuple[int, ...]
    kind: Literal["NaN", "infinite"]
    nan: int
    infinite: int
    heads: tuple[str, ...]
    origin: str

    def __str__(self) -> str:
        """One sentence: which value or delta, how much of it, from what, declared where."""
        what = {"forward": "value", "delta": "delta", "update": "next value"}[self.part]
        counts = [
            f"{count} {kind}"
            for count, kind in ((self.nan, "NaN"), (self.infinite, "infinite"))
            if count
        ]
        source = f"computed by {self.operation} from {', '.join(map(printable, self.heads))}"
        text = (
            f"the {what} {printable(self.name)} {shape_text(self.shape)} is the first that is not "
            f"finite: {' and '.join(counts)} elements, "
            f"{source if self.heads else f'given as {self.operation}'}"
        )
        return f"{text}, declared at {self.origin}" if self.origin else text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "shape": list(self.shape), "heads": list(self.heads)}


def first_non_finite(
    graph: Graph, feeds: Arrays, state: Arrays | None = None, passes: Sequence[Pass] = PASSES
) -> NonFinite | None:
    """The first node in order where NaN or ∞ arises; None where everything is finite.

    A node is to blame where it has NaN and its heads have none, or ∞ while its heads are finite; a
    constant -∞, as masks have, is to blame for nothing. Where an output or next value of the graph
    is not finite, only nodes that led to one of those count.
    """
    graph = specialise(graph, sizes_of(graph, feeds))
    parts = {graph.name_of(node): part for node, part in parts_of(graph).items()}
    optimised, _ = optimise(graph, passes)
    lost: dict[Node, tuple[int, int]] = {}

    def note(node: Node, value: np.ndarray) -> None:
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            lost[node] = int(np.isnan(value).sum()), int(np.isinf(value).sum())

    walk(optimised, feeds, state or {}, note)
    roots = [*optimised.outputs.values(), *optimised.updates.values()]
    suspects = _leading_to([node for node in roots if node in lost], lost) or lost.keys()
    for node in optimised.nodes:
        if node in suspects and _arises(node, lost):
            return _non_finite(optimised, node, lost[node], parts)
    return None


def _leading_to(ends: Sequence[Node], lost: Mapping[Node, object]) -> set[Node]:
    """The non-finite nodes from which a chain of non-finite nodes leads to one of the ends."""
    seen, stack = set(ends), list(ends)
    while stack:
        for head in stack.pop().heads:
            if head in lost and head not in seen:
                seen.add(head)
                stack.append(head)
    return seen


def _arises(node: Node, lost: Mapping[Node, tuple[int, int]]) -> bool:
    if node.operation is CONSTANT:
        return False
    heads = [lost[head] for head in node.heads if head in lost]
    return not heads or (lost[node][0] > 0 and not any(nan for nan, _ in heads))


def _non_finite(
    graph: Graph, node: Node, lost: tuple[int, int], parts: Mapping[str, Part]
) -> NonFinite:
    nan, infinite = lost
    known = [parts[name] for name in graph.names_of(node) if name in parts]
    return NonFinite(
        graph.name_of(node),
        known[0] if known else "forward",
        node.operation.name,
        node.type.sizes,
        "NaN" if nan else "infinite",
        nan,
        infinite,
        tuple(graph.name_of(head) for head in node.heads),
        str(node.origin or ""),
    )
