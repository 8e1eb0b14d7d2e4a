"""A node as one line of mathematics: `(p - y) / N`, over the names of what it is made of.

The text goes down from a node through its heads until it meets an atom: a node that has a symbol, a
named node that the reader knows, a constant number. Parentheses stand only where the mathematics
needs them. What leaves elements as they are (a reshape, a broadcast, a cast, a check) is not
written: a textbook does not write it either. The text is made for people and never parsed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from graphgrad import ops
from graphgrad.backprop.formula import short_name
from graphgrad.graph import Graph, Node, constant, extent, iota
from graphgrad.graph.text import attributes_text
from graphgrad.ops import equal, less, less_equal, logical_and, logical_not, not_equal, where
from graphgrad.ops.arithmetic import (
    add,
    cast,
    divide,
    multiply,
    negative,
    reciprocal,
    stop_gradient,
    subtract,
)
from graphgrad.ops.contraction import matmul
from graphgrad.ops.functions import power, rsqrt, sqrt
from graphgrad.ops.indexing import checked
from graphgrad.ops.movement import broadcast_to, copy, reshape, transpose
from graphgrad.text import printable

CHOICE, COMPARISON, TERM, FACTOR, PRODUCT, POWER, ATOM = range(7)
"""How strongly a text holds together: a sum is a TERM, a product a FACTOR, a name an ATOM."""

SILENT = (reshape, broadcast_to, copy, stop_gradient, cast, checked)
_DEEPEST = 60

Bound = tuple[str, int]
"""A text and how strongly it holds together."""

_INFIX = {
    add: ("{0} + {1}", TERM, TERM, TERM),
    subtract: ("{0} - {1}", TERM, TERM, FACTOR),
    multiply: ("{0} · {1}", FACTOR, FACTOR, FACTOR),
    divide: ("{0} / {1}", FACTOR, FACTOR, PRODUCT),
    equal: ("{0} = {1}", COMPARISON, TERM, TERM),
    not_equal: ("{0} ≠ {1}", COMPARISON, TERM, TERM),
    less: ("{0} < {1}", COMPARISON, TERM, TERM),
    less_equal: ("{0} ≤ {1}", COMPARISON, TERM, TERM),
    logical_and: ("{0} ∧ {1}", COMPARISON, POWER, POWER),
    negative: ("-{0}", TERM, FACTOR, ATOM),
    logical_not: ("¬{0}", POWER, ATOM, ATOM),
    reciprocal: ("1 / {0}", FACTOR, PRODUCT, ATOM),
    rsqrt: ("1 / √{0}", FACTOR, ATOM, ATOM),
    sqrt: ("√{0}", POWER, ATOM, ATOM),
    ops.sum: ("Σ {0}", TERM, PRODUCT, ATOM),
    power: ("{0}^{1}", POWER, ATOM, ATOM),
}
"""For an operation: the text, how it holds together, and what its heads must at least hold."""


@dataclass(frozen=True)
class Writer:
    """Writes nodes of a graph in one scope; `symbols` are atoms by node, `known` atoms by name."""

    graph: Graph
    scope: str
    symbols: Mapping[Node, str] = field(default_factory=dict)
    known: Collection[Node] = frozenset()

    def text(self, node: Node, opened: bool = False) -> str:
        """The expression; `opened` looks into the node itself even where it is an atom."""
        return self._bound(node, 0, opened)[0]

    def is_atom(self, node: Node) -> bool:
        """Whether the text stops at this node."""
        return node in self.symbols or node in self.known or not node.heads

    def _bound(self, node: Node, depth: int, opened: bool = False) -> Bound:
        if (self.is_atom(node) and not (opened and node.heads)) or depth > _DEEPEST:
            return self._atom(node)
        special = _SPECIAL.get(node.operation)
        if node.operation in SILENT:
            return self._silent(node, depth)
        if node.operation in _INFIX:
            return self._infix(node, depth)
        if special is not None:
            return special(self, node, depth)
        heads = ", ".join(self._bound(head, depth + 1)[0] for head in node.heads)
        return f"{node.operation.name}({heads})", ATOM

    def _atom(self, node: Node) -> Bound:
        if node in self.symbols:
            return self.symbols[node], ATOM
        if node.operation is extent:
            return str(node.attributes["size"]), ATOM
        if node.operation is iota:
            return "(0, 1, 2, …)", ATOM
        if node.operation is constant and node.attributes["value"].array.size > 1:
            return f"[{attributes_text(node)}]", ATOM
        if node in self.graph:
            text = short_name(self.graph, node, self.scope)
        elif node.operation is constant:
            text = f"{node.attributes['value'].array.reshape(()).item():.6g}"
        else:
            text = printable(node.name, 60)
        return text, TERM if text.startswith("-") else ATOM

    def held(self, node: Node, least: int, depth: int) -> str:
        """The expression, in parentheses where it holds together less than `least`."""
        text, strength = self._bound(node, depth + 1)
        return text if strength >= least else f"({text})"

    def _silent(self, node: Node, depth: int) -> Bound:
        (inner,) = node.heads
        if node.operation is cast and inner.operation is equal and _is_one_hot(inner):
            return f"one_hot({self._bound(inner.heads[0], depth + 1)[0]})", ATOM
        return self._bound(inner, depth + 1)

    def _infix(self, node: Node, depth: int) -> Bound:
        if node.operation is multiply and node.heads[0] is node.heads[1]:
            return f"{self.held(node.heads[0], ATOM, depth)}²", POWER
        form, strength, *least = _INFIX[node.operation]
        if node.operation is less and node.heads[0].operation is constant:
            first, second = (self.held(head, TERM, depth) for head in node.heads)
            return f"{second} > {first}", COMPARISON
        heads = [self.held(h, w, depth) for h, w in zip(node.heads, least, strict=False)]
        return form.format(*heads), strength

    def _where(self, node: Node, depth: int) -> Bound:
        condition, chosen, other = node.heads
        first, second = self.held(chosen, TERM, depth), self.held(other, TERM, depth)
        return f"{first} where {self.held(condition, COMPARISON, depth)}, else {second}", CHOICE

    def _product(self, node: Node, depth: int) -> Bound:
        flags = (node.attributes["transpose_a"], node.attributes["transpose_b"])
        heads = [
            f"{self.held(head, ATOM, depth)}ᵀ" if flag else self.held(head, PRODUCT, depth)
            for head, flag in zip(node.heads, flags, strict=True)
        ]
        return " ".join(heads), PRODUCT

    def _transpose(self, node: Node, depth: int) -> Bound:
        axes = node.attributes["axes"]
        last = len(axes)
        if axes != (*range(last - 2), last - 1, last - 2):
            return self._bound(node.heads[0], depth + 1)
        return f"{self.held(node.heads[0], ATOM, depth)}ᵀ", POWER


_SPECIAL: dict[object, Callable[[Writer, Node, int], Bound]] = {
    where: Writer._where,
    matmul: Writer._product,
    transpose: Writer._transpose,
}


def _is_one_hot(comparison: Node) -> bool:
    """Whether rows of numbers are compared with 0, 1, 2, …: True at one place of each row."""
    _, places = comparison.heads
    if places.operation is iota:
        return True
    if places.operation is not constant or places.rank != 1:
        return False
    array = np.asarray(places.attributes["value"].array)
    return array.dtype.kind == "i" and array.tolist() == list(range(array.size))


def is_one_hot(node: Node) -> bool:
    """Whether the node is the one-hot form of integers, as numbers."""
    return (
        node.operation is cast and node.heads[0].operation is equal and _is_one_hot(node.heads[0])
    )
