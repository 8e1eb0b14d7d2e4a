"""Computes the range of values that each node can have, from its declaration: bounds, and zero.

    exp x       above 0          x · x + ε      at least ε, above 0
    relu x      at least 0       softmax x      above 0, at most 1

Bounds are those of exact arithmetic: that e^x may round to 0 concerns the passes that make formulas
stable, not the user. An unknown value can be any number. No values are computed, so the graph may
have open sizes, which count as at least 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphgrad import ops
from graphgrad.graph import Graph, Node, constant, extent, iota
from graphgrad.graph.types import BOOL
from graphgrad.ops import (
    absolute,
    add,
    clip,
    cos,
    divide,
    erf,
    exp,
    expm1,
    gather,
    gelu,
    gelu_tanh,
    identity,
    less,
    less_equal,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    reciprocal,
    relu,
    rsqrt,
    sigmoid,
    silu,
    sin,
    softplus,
    sqrt,
    stop_gradient,
    subtract,
    tanh,
    where,
)
from graphgrad.ops.arithmetic import cast
from graphgrad.ops.composite import cross_entropy, half_squared_error, softmax
from graphgrad.ops.contraction import matmul
from graphgrad.ops.frames import unslice_all
from graphgrad.ops.indexing import checked
from graphgrad.ops.movement import broadcast_to, copy, reshape, transpose
from graphgrad.ops.random import OPERATIONS as RANDOM
from graphgrad.ops.reduction import mean, variance
from graphgrad.ops.slices import concatenate, unslice

INFINITY = math.inf


@dataclass(frozen=True, slots=True)
class Range:
    """low ≤ value ≤ high; `zero` is whether the value can be exactly 0."""

    low: float = -INFINITY
    high: float = INFINITY
    zero: bool = True

    @property
    def is_positive(self) -> bool:
        return self.low > 0 or (self.low == 0 and not self.zero)

    @property
    def has_zero(self) -> bool:
        return self.zero and self.low <= 0 <= self.high

    def joined(self, other: Range) -> Range:
        """The range of a value that is in either range."""
        return Range(
            min(self.low, other.low), max(self.high, other.high), self.has_zero or other.has_zero
        )


ANY = Range()
POSITIVE = Range(0.0, INFINITY, False)
NOT_NEGATIVE = Range(0.0, INFINITY)
UNIT = Range(-1.0, 1.0)
COUNT = Range(1.0, INFINITY, False)

Ranges = Mapping[Node, Range]
Rule = Callable[[Node, Ranges], Range]


def ranges_of(graph: Graph) -> dict[Node, Range]:
    """Computes the range of every node of the graph."""
    found: dict[Node, Range] = {}
    for node in graph.nodes:
        rule = _RULES.get(node.operation)
        found[node] = rule(node, found) if rule is not None else _default(node)
    return found


def _default(node: Node) -> Range:
    return Range(0.0, 1.0) if node.dtype == BOOL else ANY


def _constant(node: Node, found: Ranges) -> Range:
    array = node.attributes["value"].array
    if not array.size or np.isnan(array).any():
        return ANY
    return Range(float(array.min()), float(array.max()), bool((array == 0).any()))


def _counted(node: Node, found: Ranges) -> Range:
    (size,) = node.shape
    return Range(0.0, max(size - 1.0, 0.0)) if isinstance(size, int) else NOT_NEGATIVE


def _same(node: Node, found: Ranges) -> Range:
    return found[node.heads[0]]


def _add(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    both = a.low >= 0 and b.low >= 0
    return Range(
        _sum(a.low, b.low, -INFINITY),
        _sum(a.high, b.high, INFINITY),
        not (both and (a.is_positive or b.is_positive)),
    )


def _subtract(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    if node.heads[0] is node.heads[1]:
        return Range(0.0, 0.0)
    return Range(_sum(a.low, -b.high, -INFINITY), _sum(a.high, -b.low, INFINITY))


def _sum(a: float, b: float, unknown: float) -> float:
    total = a + b
    return unknown if math.isnan(total) else total


def _multiply(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    if node.heads[0] is node.heads[1]:
        return _square(a)
    corners = [_product(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Range(min(corners), max(corners), a.has_zero or b.has_zero)


def _square(a: Range) -> Range:
    ends = (_product(a.low, a.low), _product(a.high, a.high))
    low = 0.0 if a.low <= 0 <= a.high else min(ends)
    return Range(low, max(ends), a.has_zero)


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _negative(node: Node, found: Ranges) -> Range:
    a = found[node.heads[0]]
    return Range(-a.high, -a.low, a.has_zero)


def _divide(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    if b.is_positive and a.low >= 0:
        low = a.low / b.high if b.high < INFINITY else 0.0
        high = a.high / b.low if b.low > 0 else INFINITY
        return Range(low, high if not math.isnan(high) else INFINITY, a.has_zero)
    return Range(zero=a.has_zero)


def _reciprocal(node: Node, found: Ranges) -> Range:
    return POSITIVE if found[node.heads[0]].is_positive else Range(zero=False)


def _absolute(node: Node, found: Ranges) -> Range:
    a = found[node.heads[0]]
    low = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return Range(low, max(abs(a.low), abs(a.high)), a.has_zero)


def _maximum(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    return _larger(a, b)


def _clip(node: Node, found: Ranges) -> Range:
    x, low, high = (found[head] for head in node.heads)
    return _smaller(_larger(x, low), high)


def _larger(a: Range, b: Range) -> Range:
    return Range(max(a.low, b.low), max(a.high, b.high), not (a.is_positive or b.is_positive))


def _minimum(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    return _smaller(a, b)


def _smaller(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), min(a.high, b.high), a.has_zero or b.has_zero)


def _relu(node: Node, found: Ranges) -> Range:
    a = found[node.heads[0]]
    return Range(max(a.low, 0.0), max(a.high, 0.0), not a.is_positive)


def _sqrt(node: Node, found: Ranges) -> Range:
    a = found[node.heads[0]]
    low = math.sqrt(a.low) if 0 <= a.low < INFINITY else 0.0
    return Range(low, math.sqrt(a.high) if a.high >= 0 else 0.0, not a.is_positive)


def _power(node: Node, found: Ranges) -> Range:
    base, exponent = (found[head] for head in node.heads)
    if base.is_positive:
        return POSITIVE
    even = exponent.low == exponent.high and exponent.low % 2 == 0
    return Range(0.0 if even or base.low >= 0 else -INFINITY, INFINITY, base.has_zero)


def _where(node: Node, found: Ranges) -> Range:
    condition, chosen, other = node.heads
    return _given(condition, chosen, found, True).joined(_given(condition, other, found, False))


def _given(condition: Node, node: Node, found: Ranges, holds: bool) -> Range:
    """The range of a node if a condition on it holds, or does not: x > 0 makes x positive."""
    own = found[node]
    if condition.operation not in (less, less_equal) or node not in condition.heads:
        return own
    first, second = condition.heads
    strict = (condition.operation is less) == holds
    grows = (node is second) == holds  # whether the condition bounds the node from below
    bound = found[first if node is second else second]
    low, high = (
        (max(own.low, bound.low), own.high) if grows else (own.low, min(own.high, bound.high))
    )
    apart = strict and ((grows and bound.low >= 0) or (not grows and bound.high <= 0))
    return Range(low, high, own.has_zero and not apart)


def _summed(node: Node, found: Ranges) -> Range:
    a = found[node.heads[0]]
    return Range(
        0.0 if a.low >= 0 else -INFINITY, 0.0 if a.high <= 0 else INFINITY, not a.is_positive
    )


def _joined(node: Node, found: Ranges) -> Range:
    whole = found[node.heads[0]]
    for head in node.heads[1:]:
        whole = whole.joined(found[head])
    return whole


def _product_of_matrices(node: Node, found: Ranges) -> Range:
    a, b = (found[head] for head in node.heads)
    same = a.low >= 0 and b.low >= 0
    return Range(0.0 if same else -INFINITY, INFINITY, not (a.is_positive and b.is_positive))


def _framed(node: Node, found: Ranges) -> Range:
    return found[node.heads[0]].joined(Range(0.0, 0.0))


def _framed_sum(node: Node, found: Ranges) -> Range:
    heads = [found[head].joined(Range(0.0, 0.0)) for head in node.heads]
    return Range(sum(head.low for head in heads), sum(head.high for head in heads))


def _fixed(value: Range) -> Rule:
    return lambda node, found: value


_RULES: dict[object, Rule] = {
    constant: _constant,
    extent: _fixed(COUNT),
    iota: _counted,
    add: _add,
    subtract: _subtract,
    multiply: _multiply,
    divide: _divide,
    negative: _negative,
    reciprocal: _reciprocal,
    absolute: _absolute,
    maximum: _maximum,
    minimum: _minimum,
    clip: _clip,
    relu: _relu,
    sqrt: _sqrt,
    power: _power,
    where: _where,
    exp: _fixed(POSITIVE),
    rsqrt: _fixed(POSITIVE),
    softplus: _fixed(POSITIVE),
    sigmoid: _fixed(Range(0.0, 1.0, False)),
    softmax: _fixed(Range(0.0, 1.0, False)),
    expm1: _fixed(Range(-1.0)),
    tanh: _fixed(UNIT),
    sin: _fixed(UNIT),
    cos: _fixed(UNIT),
    erf: _fixed(UNIT),
    gelu: _fixed(Range(-0.2)),
    gelu_tanh: _fixed(Range(-0.2)),
    silu: _fixed(Range(-0.3)),
    variance: _fixed(NOT_NEGATIVE),
    cross_entropy: _fixed(NOT_NEGATIVE),
    half_squared_error: _fixed(NOT_NEGATIVE),
    ops.sum: _summed,
    mean: _same,
    ops.max: _same,
    ops.min: _same,
    matmul: _product_of_matrices,
    reshape: _same,
    transpose: _same,
    broadcast_to: _same,
    ops.slice: _same,
    copy: _same,
    cast: _same,
    identity: _same,
    stop_gradient: _same,
    checked: _same,
    gather: _same,
    concatenate: _joined,
    unslice: _framed,
    unslice_all: _framed_sum,
    **{operation: _fixed(NOT_NEGATIVE) for operation in RANDOM},
}
