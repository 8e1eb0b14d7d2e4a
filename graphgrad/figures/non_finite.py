"""Finds the first value or delta of a batch that is not finite, and what it was computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from graphgrad.backprop.selection import Part, parts_of
from graphgrad.figures.evaluation import Arrays, values_in_order
from graphgrad.graph import Graph, Node, constant
from graphgrad.graph.types import shape_text
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise
from graphgrad.text import printable


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first value or delta that is not finite although its heads are."""

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
        """One sentence: the value or delta, how many elements, its heads, the user's line."""
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
    """The first node in order where NaN or ∞ arises; None if everything is finite.

    NaN arises in a node whose heads have no NaN, ∞ in a node whose heads are finite. A constant -∞,
    as in masks, does not count. If an output or next value of the graph is not finite, only nodes
    that it was computed from count.
    """
    graph = specialise(graph, sizes_of(graph, feeds))
    parts = {graph.name_of(node): part for node, part in parts_of(graph).items()}
    optimised, _ = optimise(graph, passes)
    counts: dict[Node, tuple[int, int]] = {}
    for node, value in values_in_order(optimised, feeds, state or {}):
        if node.type.is_float and not np.isfinite(value).all():
            counts[node] = int(np.isnan(value).sum()), int(np.isinf(value).sum())
    roots = [*optimised.outputs.values(), *optimised.updates.values()]
    suspects = _leading_to([node for node in roots if node in counts], counts) or counts.keys()
    for node in optimised.nodes:
        if node in suspects and _arises(node, counts):
            return _non_finite(optimised, node, counts[node], parts)
    return None


def _leading_to(ends: Sequence[Node], counts: Mapping[Node, object]) -> set[Node]:
    """The non-finite nodes from which a chain of non-finite nodes leads to one of the ends."""
    seen, stack = set(ends), list(ends)
    while stack:
        for head in stack.pop().heads:
            if head in counts and head not in seen:
                seen.add(head)
                stack.append(head)
    return seen


def _arises(node: Node, counts: Mapping[Node, tuple[int, int]]) -> bool:
    """Whether the node is not finite although its heads are, or has NaN although they do not."""
    if node.operation is constant:
        return False
    heads = [counts[head] for head in node.heads if head in counts]
    return not heads or (counts[node][0] > 0 and not any(nan for nan, _ in heads))


def _non_finite(
    graph: Graph, node: Node, counts: tuple[int, int], parts: Mapping[str, Part]
) -> NonFinite:
    nan, infinite = counts
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
