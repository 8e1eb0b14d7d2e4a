"""Patterns: what a rewrite rule looks for, as data.

    pattern(log, pattern(softmax, any_node("x")))        matches log(softmax(x)) and binds x

A pattern matches from the tail down its heads, as deep as it is written and no deeper. Commutative
operations are tried both ways. The same variable twice must be the same node, which hash-consing
makes a comparison of identities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graphgrad.graph import Node, Operation, constant

Bindings = dict[str, Node]


@dataclass(frozen=True, eq=False)
class Pattern:
    """An operation on patterns; `bind` gives the matched node a name as well."""

    operation: Operation | None
    heads: tuple[Pattern, ...] = ()
    bind: str = ""
    condition: Callable[[Node], bool] | None = None

    @cached_property
    def needs(self) -> frozenset[Operation]:
        """The operations that the heads of a match have among them: quick to look for."""
        return frozenset(head.operation for head in self.heads if head.operation is not None)

    def match(self, node: Node, bindings: Bindings) -> Bindings | None:
        """The bindings extended by this match, or None."""
        if self.operation is not None and node.operation is not self.operation:
            return None
        if self.condition is not None and not self.condition(node):
            return None
        if self.bind:
            known = bindings.get(self.bind)
            if known is not None and known is not node:
                return None
            bindings = {**bindings, self.bind: node}
        if not self.heads:
            return bindings
        if len(self.heads) != len(node.heads):
            return None
        found = _match_all(self.heads, node.heads, bindings)
        if found is None and node.operation.commutative:
            found = _match_all(self.heads, node.heads[::-1], bindings)
        return found


def _match_all(
    patterns: tuple[Pattern, ...], heads: tuple[Node, ...], bindings: Bindings
) -> Bindings | None:
    for inner, head in zip(patterns, heads, strict=True):
        found = inner.match(head, bindings)
        if found is None:
            return None
        bindings = found
    return bindings


def pattern(operation: Operation, *heads: Pattern, bind: str = "") -> Pattern:
    """The operation on heads that match."""
    return Pattern(operation, heads, bind)


def any_node(bind: str, condition: Callable[[Node], bool] | None = None) -> Pattern:
    """Any node (for which the condition holds)."""
    return Pattern(None, (), bind, condition)


def number(value: float) -> Pattern:
    """A constant all of whose elements are `value`."""
    return Pattern(constant, (), "", lambda node: is_number(node, value))


def zero(sign: str) -> Pattern:
    """A constant of zeros that leaves alone what it is added to ("-") or taken from ("+"): of
    integers, any zero; of floats, one of this sign, since -0 + 0 is 0."""
    return Pattern(constant, (), "", lambda node: is_number(node, 0) and _has_sign(node, sign))


def _has_sign(node: Node, sign: str) -> bool:
    negative = np.signbit(node.attributes["value"].array)
    return not node.type.is_float or bool(np.all(negative == (sign == "-")))


def any_number(bind: str) -> Pattern:
    """A constant with one element."""
    return Pattern(constant, (), bind, lambda node: node.attributes["value"].array.size == 1)


def is_number(node: Node, value: float) -> bool:
    """Whether the node is a constant whose elements are all `value`."""
    if node.operation is not constant:
        return False
    array = node.attributes["value"].array
    return bool(array.item() == value if array.size == 1 else array.size and np.all(array == value))


def number_of(node: Node) -> Any:
    """The value of a constant with one element, as a Python number."""
    return node.attributes["value"].array.item()
