"""Writes the labels of the edges of deltas: the terms that a tail sends back, in every format.

δ · z · (1 - z)      one contribution, by the delta rule of the tail
2 · δ · x            x · x sends back the same contribution twice
δ bᵀ + aᵀ δ          matmul(x, x) sends back two contributions: their sum
δ · w[h→t]           an edge that is drawn for a product with a weight
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphgrad.backprop.formula import (
    contribution_formula,
    cuts_of,
    factor_text,
    numbered,
)
from graphgrad.graph import Node
from graphgrad.graph.deltas import Contribution
from graphgrad.rendering.describe import Describer
from graphgrad.rendering.picture import Label

_SUM = re.compile(r" [+-] |, | where ")
_INNER = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class EdgeTerm:
    """One contribution on an edge: `factor` in short, `formula` with the delta of the tail by name.

    `position` is that of the head among the heads of the tail; `cuts` are the cuts of surgery.
    """

    value: Node
    position: int
    factor: str
    formula: str
    cuts: tuple[str, ...] = ()


class EdgeLabels:
    """Finds the contributions of a draft's graph by tail and head, and writes them as labels."""

    def __init__(self, describe: Describer) -> None:
        self.describe, self.graph = describe, describe.graph
        self._contributions: dict[Node, dict[tuple[Node, int], Contribution]] = {}

    def term(self, head: Node, tail: Node, position: int) -> EdgeTerm | None:
        """The contribution of the tail to its head at `position`; None if it sends nothing back."""
        if head not in self._contributions:
            self._contributions[head] = {
                (item.tail, item.place): item for item in self.graph.sent_back(head)
            }
        item = self._contributions[head].get((tail, position))
        if item is None:
            return None
        formula = contribution_formula(self.graph, tail, position)
        cuts = cuts_of(self.graph, item.changes)
        return EdgeTerm(item.value, position, self._factor(tail, position), formula, cuts)

    def label(self, terms: Sequence[EdgeTerm], weight: Label | None) -> Label:
        """The label of an edge: the sum of its terms, and the cuts of surgery."""
        cuts = terms[0].cuts
        if weight is not None:
            return Label(", ".join([*cuts, f"δ · {weight.text}"]), weight.index)
        return Label(", ".join(filter(None, [factors_text(terms), *cuts])))

    def _factor(self, tail: Node, position: int) -> str:
        """The delta rule in short; its remarks on shapes and exceptions are in the formula only."""
        if tail.operation.view is not None:  # another order or shape of the same elements
            return "δ"
        text = factor_text(self.graph, tail, position, self.describe.called)
        return text if text.startswith("0 ") else text.split(", ")[0]


def factors_text(terms: Sequence[EdgeTerm]) -> str:
    """The sum of the factors, one a line; empty if δ is sent back unchanged."""
    if len(terms) == 1:
        return "" if terms[0].factor == "δ" else terms[0].factor
    if len({item.value for item in terms}) == 1:
        factor = terms[0].factor
        return f"{len(terms)} · {f'({factor})' if _is_sum(factor) else factor}"
    return _sum_text(numbered((item.factor, item.position, item.value) for item in terms), "\n")


def formulas_text(terms: Sequence[EdgeTerm]) -> str:
    """The sum of the whole formulas, one a line, for a tooltip."""
    return _sum_text(numbered((item.formula, item.position, item.value) for item in terms), "\n")


def _sum_text(terms: Iterable[str], separator: str) -> str:
    first, *others = terms
    signed = [f"- {term[1:]}" if term.startswith("-") else f"+ {term}" for term in others]
    return separator.join([first, *signed])


def _is_sum(text: str) -> bool:
    """Whether a factor before the text would only multiply its first part."""
    while (shorter := _INNER.sub("", text)) != text:
        text = shorter
    return _SUM.search(text) is not None
