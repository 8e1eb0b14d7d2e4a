"""The rules of lint: for one node, what can go wrong with it and what to write instead, or None.

What is known of a node is what is declared: the range of its values, whether it varies with the
data or the parameters, and whether a delta flows through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from graphgrad.checks.ranges import Range, ranges_of
from graphgrad.graph import Graph, Node, constant, input, parameter
from graphgrad.graph.node_names import has_default_name
from graphgrad.ops import (
    divide,
    gather,
    log,
    log1p,
    multiply,
    power,
    reciprocal,
    relu,
    rsqrt,
    sigmoid,
    sqrt,
    stop_gradient,
    where,
)
from graphgrad.ops.composite import cross_entropy, log_softmax, softmax, standardise
from graphgrad.ops.contraction import matmul
from graphgrad.ops.reduction import variance
from graphgrad.text import printable

_INT32 = 2**31


class LintResult(NamedTuple):
    """What a rule says of a node."""

    rule: str
    problem: str
    """What can happen."""
    fix: str


class LintRules:
    """The graph, what is known of it, and a method for each rule."""

    def __init__(self, graph: Graph, of: str | None) -> None:
        self.graph, self.ranges = graph, ranges_of(graph)
        target = graph.outputs.get(of) if of else None
        self.target = target
        self.flowing = _flowing(graph, target) if target is not None else set()
        data = [node for node in graph.nodes if node.operation is input and node.type.is_float]
        self.varies = graph.descendants([*data, *graph.parameters.values()])

    # ------------------------------------------------------------ domains

    def of_log(self, node: Node) -> LintResult | None:
        x = self.ranges[node.heads[0]]
        if x.is_positive or node.heads[0] not in self.varies:
            return None
        return LintResult(
            "log",
            f"log of what can be {_bad(x)}: {'-∞' if x.low >= 0 else 'NaN'}",
            "add a small positive number, or use log_softmax, log1p, softplus or cross_entropy",
        )

    def of_log1p(self, node: Node) -> LintResult | None:
        if self.ranges[node.heads[0]].low > -1 or node.heads[0] not in self.varies:
            return None
        return LintResult("log", "log (1 + x) of an x that can be -1 or less", "keep x above -1")

    def of_sqrt(self, node: Node) -> LintResult | None:
        (head,) = node.heads
        x = self.ranges[head]
        if x.is_positive or head not in self.varies or (x.low >= 0 and node not in self.flowing):
            return None
        what = "NaN" if x.low < 0 else "at 0 its delta δ / 2√x is infinite"
        return LintResult(
            "sqrt", f"√ of what can be {_bad(x)}: {what}", "add a small positive number inside"
        )

    def of_reciprocal(self, node: Node) -> LintResult | None:
        return self._denominator(node, node.heads[0])

    def of_divide(self, node: Node) -> LintResult | None:
        return self._denominator(node, node.heads[1])

    def _denominator(self, node: Node, head: Node) -> LintResult | None:
        x = self.ranges[head]
        negative = node.operation is rsqrt and x.low < 0
        if head not in self.varies or not (x.has_zero or negative):
            return None
        return LintResult(
            "division",
            f"division by {printable(self.graph.name_of(head))}, which can be 0",
            "add a small positive number to the denominator, or keep it away from 0 by "
            "maximum(x, ε)",
        )

    def of_power(self, node: Node) -> LintResult | None:
        base, exponent = (self.ranges[head] for head in node.heads)
        known = exponent.low == exponent.high
        if base.is_positive or node.heads[0] not in self.varies or not known:
            return None
        p = exponent.low
        if p < 0 and base.has_zero:
            return LintResult(
                "power", f"x ^ {p:g} of an x that can be 0", "add a small positive number to x"
            )
        if p % 1 and (base.low < 0 or (p < 1 and node in self.flowing)):
            return LintResult(
                "power",
                f"x ^ {p:g} of an x that can be {_bad(base)}: its value is NaN or its delta "
                "infinite",
                "keep x above 0",
            )
        return None

    # ------------------------------------------------------------ values that say nothing

    def of_softmax(self, node: Node) -> LintResult | None:
        if node.heads[0].operation in (softmax, log_softmax):
            return _twice(node.heads[0])
        if node.heads[0].shape[node.attributes["axis"]] == 1:
            return LintResult(
                "one element",
                "a softmax over one element is 1 whatever it is given, and its delta 0",
                "choose the axis that the alternatives lie on",
            )
        return None

    def of_cross_entropy(self, node: Node) -> LintResult | None:
        logits = node.heads[0]
        if logits.operation in (softmax, log_softmax, sigmoid):
            return _twice(logits)
        if logits.shape[-1] == 1:
            return LintResult(
                "one element",
                "a cross-entropy over one class is always 0",
                "give it a logit for each class",
            )
        return None

    def of_standardise(self, node: Node) -> LintResult | None:
        if node.heads[0].shape[-1] != 1:
            return None
        return LintResult(
            "one element",
            "one element less its own mean is always 0",
            "normalise over an axis with more elements",
        )

    def of_variance(self, node: Node) -> LintResult | None:
        if not all(node.heads[0].shape[axis] == 1 for axis in node.attributes["axes"]):
            return None
        return LintResult(
            "one element", "the variance of one element is always 0", "choose another axis"
        )

    def of_relu(self, node: Node) -> LintResult | None:
        x = self.ranges[node.heads[0]]
        if x.high <= 0 and node.heads[0] in self.varies:
            return LintResult(
                "dead branch",
                "relu of what is never above 0 is always 0, and so is its delta",
                "look at the sign before it",
            )
        return None

    def of_where(self, node: Node) -> LintResult | None:
        condition, chosen, other = node.heads
        if chosen is other:
            return LintResult(
                "dead branch", "both sides of the choice are the same", "leave it out"
            )
        if condition.operation is constant:
            array = condition.attributes["value"].array
            if array.size and (array.all() or not array.any()):
                return LintResult(
                    "dead branch",
                    f"the condition is always {bool(array.all())}",
                    "leave the choice out",
                )
        return None

    def of_multiply(self, node: Node) -> LintResult | None:
        for head, other in (node.heads, node.heads[::-1]):
            if _holds_infinity(head) and self.ranges[other].has_zero:
                return LintResult(
                    "infinity",
                    "an infinite number times what can be 0 is NaN",
                    "choose by where(mask, x, -∞) instead of multiplying",
                )
        if node.dtype == np.int32:
            factors = [max(abs(r.low), abs(r.high)) for r in (self.ranges[h] for h in node.heads)]
            large = [f for f in factors if f < float("inf")]
            if large and max(large) >= 2**16 and min(factors) > 1:
                limit = _INT32 / max(large)
                return LintResult(
                    "overflow",
                    f"an int32 times {max(large):,.0f} overflows silently from {limit:,.0f} on",
                    "cast(x, 'int64') first",
                )
        return None

    def of_matmul(self, node: Node) -> LintResult | None:
        for head in node.heads:
            if head.operation is not parameter or min(head.type.sizes) < 2:
                continue
            initial = head.attributes["initial"]
            if initial.kind == "constant" and initial.scale != 0:
                name = printable(self.graph.name_of(head))
                return LintResult(
                    "symmetry",
                    f"the weights {name} all start as {initial.scale:g}, so all neurons learn the "
                    "same",
                    "draw them: normal(fan_in ** -0.5)",
                )
        return None

    def of_gather(self, node: Node) -> LintResult | None:
        table, indices = node.heads
        rows, known = table.shape[0], self.ranges[indices]
        if isinstance(rows, int) and known.high < float("inf") and known.high >= rows:
            return LintResult(
                "index",
                f"an index of up to {known.high:.0f} into {rows} rows",
                "give the table more rows, or cut the indices",
            )
        if known.high < 0:
            return LintResult("index", "an index is never negative", "count from 0")
        return None

    # ------------------------------------------------------------ whole graph

    def unreached(self, node: Node) -> LintResult | None:
        if node.operation is not parameter or self.target is None or node in self.flowing:
            return None
        stops = [other for other in self.graph.nodes if other.operation is stop_gradient]
        stopped = node in self.graph.ancestors(stops)
        why = "all ways lead through stop_gradient" if stopped else "the loss is without it"
        return LintResult(
            "no loss",
            f"it is never learned: {why}",
            "use it on the way to the loss, or make it a constant or a state",
        )

    def unused(self, node: Node) -> LintResult | None:
        if self.graph.tails(node) or node in self._ends() or node.operation is constant:
            return None
        if node.operation is input:
            return LintResult(
                "unused", "nothing uses this input, yet every run must give it", "leave it out"
            )
        if node.operation is parameter:
            return None
        return LintResult(
            "unused", "no output and no update needs it", "make it an output, or leave it out"
        )

    def _ends(self) -> set[Node]:
        return {*self.graph.outputs.values(), *self.graph.updates.values()}

    def same_name(self, node: Node) -> LintResult | None:
        shown = self.graph.name_of(node)
        match = re.fullmatch(r"(.*)_\d+", shown)
        if match is None or has_default_name(node) or match[1] not in node.names:
            return None
        if self.graph.names.get(match[1]) in (None, node):
            return None
        return LintResult(
            "same name",
            f"another node is called {printable(match[1])!r} too, so this one answers "
            f"to {printable(shown)!r}",
            "name them apart, or declare one in a scope",
        )


def _flowing(graph: Graph, target: Node) -> set[Node]:
    """The float nodes through which a delta of the target reaches a parameter or input."""
    reached = {target}
    for node in reversed(graph.nodes):
        if node in reached and node.operation is not stop_gradient:
            reached.update(head for head in node.heads if head.type.is_float)
    return reached


def _bad(x: Range) -> str:
    return "0" if x.low >= 0 else "0 or negative"


def _twice(head: Node) -> LintResult:
    return LintResult(
        "twice",
        f"it is given the result of a {head.operation.name} and takes the softmax of that once "
        "more",
        "give it the logits themselves",
    )


def _holds_infinity(node: Node) -> bool:
    if node.operation is not constant or not node.type.is_float:
        return False
    return bool(np.isinf(node.attributes["value"].array).any())


DOMAINS = ("log", "sqrt", "division", "power")
RULES: Mapping[object, Callable[[LintRules, Node], LintResult | None]] = {
    log: LintRules.of_log,
    log1p: LintRules.of_log1p,
    sqrt: LintRules.of_sqrt,
    rsqrt: LintRules.of_reciprocal,
    reciprocal: LintRules.of_reciprocal,
    divide: LintRules.of_divide,
    power: LintRules.of_power,
    softmax: LintRules.of_softmax,
    log_softmax: LintRules.of_softmax,
    cross_entropy: LintRules.of_cross_entropy,
    standardise: LintRules.of_standardise,
    variance: LintRules.of_variance,
    relu: LintRules.of_relu,
    where: LintRules.of_where,
    multiply: LintRules.of_multiply,
    matmul: LintRules.of_matmul,
    gather: LintRules.of_gather,
}
EVERYWHERE = (LintRules.unreached, LintRules.unused, LintRules.same_name)
