"""Patterns of rewrite rules, as data.

    pattern(log, pattern(softmax, any_node("x")))        matches log(softmax(x)) and binds x

A pattern is matched from the tail to its heads, exactly as deep as it is written. Commutative
operations are tried in both orders. A variable that is used twice must match the same node; equal
nodes are identical by hash-consing.
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
    """An operation on patterns; `bind` is a variable for the matched node."""

    operation: Operation | None
    heads: tuple[Pattern, ...] = ()
    bind: str = ""
    condition: Callable[[Node], bool] | None = None

    @cached_property
    def needs(self) -> frozenset[Operation]:
        """The operations that a match must have among its heads: a fast first test."""
        return frozenset(head.operation for head in self.heads if head.operation is not None)

    def match(self, node: Node, bindings: Bindings) -> Bindings | None:
        """The bindings extended by this match; None if the node does not match."""
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
    """A pattern of an operation on heads that match their patterns."""
    return Pattern(operation, heads, bind)


def any_node(bind: str, condition: Callable[[Node], bool] | None = None) -> Pattern:
    """A pattern of any node, or of any that fulfils the condition."""
    return Pattern(None, (), bind, condition)


def number(value: float) -> Pattern:
    """A pattern of a constant whose elements are all `value`."""
    return Pattern(constant, (), "", lambda node: is_number(node, value))


def zero(sign: str) -> Pattern:
    """A pattern of zeros that do not change a value to which they are added ("-") or from which
    they are subtracted ("+"): any integer zero, or a float zero of this sign, since -0 + 0 is 0."""
    return Pattern(constant, (), "", lambda node: is_number(node, 0) and _has_sign(node, sign))


def _has_sign(node: Node, sign: str) -> bool:
    negative = np.signbit(node.attributes["value"].array)
    return not node.type.is_float or bool(np.all(negative == (sign == "-")))


def any_number(bind: str) -> Pattern:
    """A pattern of a constant with one element."""
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
