"""The first value or delta of a batch that is not finite, and from what it was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from graphgrad.backprop.selection import Part, parts_of
from graphgrad.figures.evaluation import Arrays, walk
from graphgrad.graph import Graph, Node, constant
from graphgrad.graph.types import shape_text
from graphgrad.passes import PASSES, Pass, optimise, sizes_of, specialise
from graphgrad.text import printable


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

    for node, value in walk(optimised, feeds, state or {}):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            lost[node] = int(np.isnan(value).sum()), int(np.isinf(value).sum())
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
    if node.operation is constant:
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
