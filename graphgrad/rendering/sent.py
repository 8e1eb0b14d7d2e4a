"""What is written at an edge of deltas: by what δ is multiplied on its way, for each format alike.

δ · z · (1 - z)      one contribution, by the rule of the tail
2 · δ · x            x · x sends the same back twice
δ bᵀ + aᵀ δ          matmul(x, x) sends back two contributions: their sum
δ · w[h→t]           along an edge that stands for a product with a weight
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
class Sent:
    """One contribution on its way: `factor` in short, `formula` with δ of the tail by name."""

    value: Node
    place: int
    factor: str
    formula: str
    cuts: tuple[str, ...] = ()


class Senders:
    """The contributions of a draft, by who sends them back to whom."""

    def __init__(self, describe: Describer) -> None:
        self.describe, self.graph = describe, describe.graph
        self.known: dict[Node, dict[tuple[Node, int], Contribution]] = {}

    def sent(self, head: Node, tail: Node, place: int) -> Sent | None:
        """What the tail sends back to its head number `place`; None where nothing."""
        if head not in self.known:
            self.known[head] = {
                (item.tail, item.place): item for item in self.graph.sent_back(head)
            }
        item = self.known[head].get((tail, place))
        if item is None:
            return None
        formula = contribution_formula(self.graph, tail, place)
        cuts = cuts_of(self.graph, item.changes)
        return Sent(item.value, place, self._factor(tail, place), formula, cuts)

    def label(self, sent: Sequence[Sent], weight: Label | None) -> Label:
        """What is written at the edge: the sum of what goes this way, and what surgery did."""
        cuts = sent[0].cuts
        if weight is not None:
            return Label(", ".join([*cuts, f"δ · {weight.text}"]), weight.index)
        return Label(", ".join(filter(None, [summed(sent), *cuts])))

    def _factor(self, tail: Node, place: int) -> str:
        """The rule in short: a remark on shapes or exceptions is left to the formula."""
        if tail.operation.view is not None:  # no more than another order or shape
            return "δ"
        text = factor_text(self.graph, tail, place, self.describe.called)
        return text if text.startswith("0 ") else text.split(", ")[0]


def summed(sent: Sequence[Sent]) -> str:
    """The sum of contributions, one a line; nothing where δ comes back as it is."""
    if len(sent) == 1:
        return "" if sent[0].factor == "δ" else sent[0].factor
    if len({item.value for item in sent}) == 1:
        factor = sent[0].factor
        return f"{len(sent)} · {f'({factor})' if _is_sum(factor) else factor}"
    return _added(numbered((item.factor, item.place, item.value) for item in sent), "\n")


def formulas(sent: Sequence[Sent]) -> str:
    """The same in full, for a tooltip."""
    return _added(numbered((item.formula, item.place, item.value) for item in sent), "\n")


def _added(terms: Iterable[str], separator: str) -> str:
    first, *others = terms
    signed = [f"- {term[1:]}" if term.startswith("-") else f"+ {term}" for term in others]
    return separator.join([first, *signed])


def _is_sum(text: str) -> bool:
    """Whether a factor before the text would only multiply its first part."""
    while (shorter := _INNER.sub("", text)) != text:
        text = shorter
    return _SUM.search(text) is not None
