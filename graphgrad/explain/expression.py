"""Writes a node as one line of mathematics, such as `(p - y) / N`.

The text descends from a node through its heads to atoms: nodes with a symbol, named nodes that the
reader knows, constant numbers. Parentheses are written only if the mathematics needs them. An
operation that leaves elements as they are (reshape, broadcast, cast, check) is not written, as in a
textbook. The text is for people and is never parsed.
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
from graphgrad.ops.functions import identity, power, rsqrt, sqrt
from graphgrad.ops.indexing import checked
from graphgrad.ops.movement import broadcast_to, copy, reshape, transpose
from graphgrad.text import printable

CHOICE, COMPARISON, TERM, FACTOR, PRODUCT, POWER, ATOM = range(7)
"""The precedence of a text: a sum is a TERM, a product a FACTOR, a name an ATOM."""

SILENT = (reshape, broadcast_to, copy, identity, stop_gradient, cast, checked)
_DEEPEST = 60

TextWithPrecedence = tuple[str, int]

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
"""For an operation: the text, its precedence, and the least precedence of each head."""


@dataclass(frozen=True)
class Writer:
    """Writes nodes of a graph in one scope; `symbols` are atoms by node, `known` atoms by name."""

    graph: Graph
    scope: str
    symbols: Mapping[Node, str] = field(default_factory=dict)
    known: Collection[Node] = frozenset()

    def text(self, node: Node, opened: bool = False) -> str:
        """The expression; with `opened` the node itself is written out even if it is an atom."""
        return self._written(node, 0, opened)[0]

    def is_atom(self, node: Node) -> bool:
        """Whether the expression ends at this node."""
        return node in self.symbols or node in self.known or not node.heads

    def _written(self, node: Node, depth: int, opened: bool = False) -> TextWithPrecedence:
        if (self.is_atom(node) and not (opened and node.heads)) or depth > _DEEPEST:
            return self._atom(node)
        special = _SPECIAL.get(node.operation)
        if node.operation in SILENT:
            return self._silent(node, depth)
        if node.operation in _INFIX:
            return self._infix(node, depth)
        if special is not None:
            return special(self, node, depth)
        heads = ", ".join(self._written(head, depth + 1)[0] for head in node.heads)
        return f"{node.operation.name}({heads})", ATOM

    def _atom(self, node: Node) -> TextWithPrecedence:
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

    def _operand(self, node: Node, least: int, depth: int) -> str:
        """The expression, in parentheses if its precedence is less than `least`."""
        text, precedence = self._written(node, depth + 1)
        return text if precedence >= least else f"({text})"

    def _silent(self, node: Node, depth: int) -> TextWithPrecedence:
        (inner,) = node.heads
        if node.operation is cast and inner.operation is equal and _is_one_hot(inner):
            return f"one_hot({self._written(inner.heads[0], depth + 1)[0]})", ATOM
        return self._written(inner, depth + 1)

    def _infix(self, node: Node, depth: int) -> TextWithPrecedence:
        if node.operation is multiply and node.heads[0] is node.heads[1]:
            return f"{self._operand(node.heads[0], ATOM, depth)}²", POWER
        form, precedence, *least = _INFIX[node.operation]
        if node.operation is less and node.heads[0].operation is constant:
            first, second = (self._operand(head, TERM, depth) for head in node.heads)
            return f"{second} > {first}", COMPARISON
        heads = [self._operand(h, w, depth) for h, w in zip(node.heads, least, strict=False)]
        return form.format(*heads), precedence

    def _where(self, node: Node, depth: int) -> TextWithPrecedence:
        condition, chosen, other = node.heads
        first, second = self._operand(chosen, TERM, depth), self._operand(other, TERM, depth)
        return f"{first} where {self._operand(condition, COMPARISON, depth)}, else {second}", CHOICE

    def _product(self, node: Node, depth: int) -> TextWithPrecedence:
        flags = (node.attributes["transpose_a"], node.attributes["transpose_b"])
        heads = [
            f"{self._operand(head, ATOM, depth)}ᵀ" if flag else self._operand(head, PRODUCT, depth)
            for head, flag in zip(node.heads, flags, strict=True)
        ]
        return " ".join(heads), PRODUCT

    def _transpose(self, node: Node, depth: int) -> TextWithPrecedence:
        axes = node.attributes["axes"]
        last = len(axes)
        if axes != (*range(last - 2), last - 1, last - 2):
            return self._written(node.heads[0], depth + 1)
        return f"{self._operand(node.heads[0], ATOM, depth)}ᵀ", POWER


_SPECIAL: dict[object, Callable[[Writer, Node, int], TextWithPrecedence]] = {
    where: Writer._where,
    matmul: Writer._product,
    transpose: Writer._transpose,
}


def _is_one_hot(comparison: Node) -> bool:
    """Whether numbers are compared with 0, 1, 2, …, so that each row is True at one position."""
    _, positions = comparison.heads
    if positions.operation is iota:
        return True
    if positions.operation is not constant or positions.rank != 1:
        return False
    array = np.asarray(positions.attributes["value"].array)
    return array.dtype.kind == "i" and array.tolist() == list(range(array.size))


def is_one_hot(node: Node) -> bool:
    """Whether the node is the one-hot form of integers, as numbers."""
    return (
        node.operation is cast and node.heads[0].operation is equal and _is_one_hot(node.heads[0])
    )
