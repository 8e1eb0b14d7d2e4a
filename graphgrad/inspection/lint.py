"""Lint: what is likely to go wrong in a graph, found before anything runs.

A finding names the node, the user's line, what can happen and what to write instead. What a node
can be is known from how it is declared (`ranges`), so a guard is seen where it stands: e^x, x² + ε,
a variance + ε, `where(x > 0, x, 1)`. A rule that would cry out at right code is worse than none:
what cannot be decided is passed over.

Only the forward graph is looked at; a value that is finite but has an infinite delta (√x at 0)
counts where a delta flows through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from graphgrad.graph import CONSTANT, INPUT, PARAMETER, Graph, Node
from graphgrad.graph.node import has_default_name
from graphgrad.inspection.ranges import Range, ranges_of
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
from graphgrad.ops.composite import CROSS_ENTROPY, LOG_SOFTMAX, SOFTMAX, STANDARDISE
from graphgrad.ops.contraction import MATMUL
from graphgrad.ops.reduction import VARIANCE
from graphgrad.text import printable

_INT32 = 2**31


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is likely to go wrong: which rule says so, where, why, and the fix."""

    rule: str
    node: str
    operation: str
    origin: str
    problem: str
    fix: str

    def __str__(self) -> str:
        place = f"  where: {self.origin}\n" if self.origin else ""
        return (
            f"{printable(self.node)} ({self.operation}): {self.problem}\n{place}  fix:   {self.fix}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def lint(graph: Graph, of: str | None = "loss") -> tuple[Finding, ...]:
    """What is likely to go wrong in a forward graph, in the order of the graph.

    `of` is the scalar that is learned from; without one (None, or no output of that name), nothing
    is said of deltas.
    """
    return tuple(_Linter(graph, of).findings())


def warnings_of(graph: Graph) -> list[str]:
    """The findings as one line each, for the start of a training."""
    return [f"{printable(item.node)}: {item.problem}; {item.fix}"
            + (f" ({item.origin})" if item.origin else "") for item in lint(graph)]  # fmt: skip


Said = tuple[str, str, str]
"""The rule, what can happen, and the fix."""
Problem = Said | None


class _Linter:
    """The graph and what is known of it."""

    def __init__(self, graph: Graph, of: str | None) -> None:
        self.graph, self.ranges = graph, ranges_of(graph)
        target = graph.outputs.get(of) if of else None
        self.target = target
        self.flowing = _flowing(graph, target) if target is not None else set()
        data = [node for node in graph.nodes if node.operation is INPUT and node.type.is_float]
        self.varies = graph.descendants([*data, *graph.parameters.values()])

    def findings(self) -> Iterator[Finding]:
        for node in self.graph.nodes:
            rule = _RULES.get(node.operation)
            problem = rule(self, node) if rule is not None else None
            if problem is not None:
                yield self._finding(node, *self._seen_through_where(node, problem))
            for check in _EVERYWHERE:
                found = check(self, node)
                if found is not None:
                    yield self._finding(node, *found)

    def _finding(self, node: Node, rule: str, problem: str, fix: str) -> Finding:
        return Finding(rule, self.graph.name_of(node), node.operation.name,
                       str(node.origin or ""), problem, fix)  # fmt: skip

    def _seen_through_where(self, node: Node, problem: tuple[str, str, str]) -> Said:
        """The same problem, where a later choice hides the value but not the delta."""
        if problem[0] not in _DOMAINS or node not in self.flowing:
            return problem
        current = node
        while True:
            tails = self.graph.tails(current)
            if len(tails) != 1:
                return problem
            (tail,) = tails
            if tail.operation is where and current is not tail.heads[0]:
                name = printable(self.graph.name_of(tail))
                return ("where", f"{problem[1]}; the choice {name} hides that value but not its "
                        "delta, which is 0 · ∞ = NaN",
                        "choose before: where(condition, x, 1) as the operand")  # fmt: skip
            if not tail.operation.kernel and tail.operation.view is None:
                return problem
            current = tail

    # ------------------------------------------------------------ domains

    def of_log(self, node: Node) -> Problem:
        x = self.ranges[node.heads[0]]
        if x.is_positive or node.heads[0] not in self.varies:
            return None
        return ("log", f"log of what can be {_bad(x)}: {'-∞' if x.low >= 0 else 'NaN'}",
                "add a small positive number, or use log_softmax, log1p, softplus or "
                "cross_entropy")  # fmt: skip

    def of_log1p(self, node: Node) -> Problem:
        if self.ranges[node.heads[0]].low > -1 or node.heads[0] not in self.varies:
            return None
        return "log", "log (1 + x) of an x that can be -1 or less", "keep x above -1"

    def of_sqrt(self, node: Node) -> Problem:
        (head,) = node.heads
        x = self.ranges[head]
        if x.is_positive or head not in self.varies or (x.low >= 0 and node not in self.flowing):
            return None
        what = "NaN" if x.low < 0 else "at 0 its delta δ / 2√x is infinite"
        return "sqrt", f"√ of what can be {_bad(x)}: {what}", "add a small positive number inside"

    def of_reciprocal(self, node: Node) -> Problem:
        return self._denominator(node, node.heads[0])

    def of_divide(self, node: Node) -> Problem:
        return self._denominator(node, node.heads[1])

    def _denominator(self, node: Node, head: Node) -> Problem:
        x = self.ranges[head]
        negative = node.operation is rsqrt and x.low < 0
        if head not in self.varies or not (x.has_zero or negative):
            return None
        return ("division", f"division by {printable(self.graph.name_of(head))}, which can be 0",
                "add a small positive number to the denominator, or keep it away from 0 by "
                "maximum(x, ε)")  # fmt: skip

    def of_power(self, node: Node) -> Problem:
        base, exponent = (self.ranges[head] for head in node.heads)
        known = exponent.low == exponent.high
        if base.is_positive or node.heads[0] not in self.varies or not known:
            return None
        p = exponent.low
        if p < 0 and base.has_zero:
            return "power", f"x ^ {p:g} of an x that can be 0", "add a small positive number to x"
        if p % 1 and (base.low < 0 or (p < 1 and node in self.flowing)):
            return ("power", f"x ^ {p:g} of an x that can be {_bad(base)}: its value is NaN or its "
                    "delta infinite", "keep x above 0")  # fmt: skip
        return None

    # ------------------------------------------------------------ values that say nothing

    def of_softmax(self, node: Node) -> Problem:
        if node.heads[0].operation in (SOFTMAX, LOG_SOFTMAX):
            return _twice(node.heads[0])
        if node.heads[0].shape[node.attributes["axis"]] == 1:
            return ("one element", "a softmax over one element is 1 whatever it is given, and its "
                    "delta 0", "choose the axis that the alternatives lie on")  # fmt: skip
        return None

    def of_cross_entropy(self, node: Node) -> Problem:
        logits = node.heads[0]
        if logits.operation in (SOFTMAX, LOG_SOFTMAX, sigmoid):
            return _twice(logits)
        if logits.shape[-1] == 1:
            return ("one element", "a cross-entropy over one class is always 0",
                    "give it a logit for each class")  # fmt: skip
        return None

    def of_standardise(self, node: Node) -> Problem:
        if node.heads[0].shape[-1] != 1:
            return None
        return ("one element", "one element less its own mean is always 0",
                "normalise over an axis with more elements")  # fmt: skip

    def of_variance(self, node: Node) -> Problem:
        if not all(node.heads[0].shape[axis] == 1 for axis in node.attributes["axes"]):
            return None
        return "one element", "the variance of one element is always 0", "choose another axis"

    def of_relu(self, node: Node) -> Problem:
        x = self.ranges[node.heads[0]]
        if x.high <= 0 and node.heads[0] in self.varies:
            return ("dead branch", "relu of what is never above 0 is always 0, and so is its delta",
                    "look at the sign before it")  # fmt: skip
        return None

    def of_where(self, node: Node) -> Problem:
        condition, chosen, other = node.heads
        if chosen is other:
            return "dead branch", "both sides of the choice are the same", "leave it out"
        if condition.operation is CONSTANT:
            array = condition.attributes["value"].array
            if array.size and (array.all() or not array.any()):
                return ("dead branch", f"the condition is always {bool(array.all())}",
                        "leave the choice out")  # fmt: skip
        return None

    def of_multiply(self, node: Node) -> Problem:
        for head, other in (node.heads, node.heads[::-1]):
            if _holds_infinity(head) and self.ranges[other].has_zero:
                return ("infinity", "an infinite number times what can be 0 is NaN",
                        "choose by where(mask, x, -∞) instead of multiplying")  # fmt: skip
        if node.dtype == np.int32:
            factors = [max(abs(r.low), abs(r.high)) for r in (self.ranges[h] for h in node.heads)]
            large = [f for f in factors if f < float("inf")]
            if large and max(large) >= 2**16 and min(factors) > 1:
                limit = _INT32 / max(large)
                return ("overflow", f"an int32 times {max(large):,.0f} overflows silently from "
                        f"{limit:,.0f} on", "cast(x, 'int64') first")  # fmt: skip
        return None

    def of_matmul(self, node: Node) -> Problem:
        for head in node.heads:
            if head.operation is not PARAMETER or min(head.type.sizes) < 2:
                continue
            initial = head.attributes["initial"]
            if initial.kind == "constant" and initial.scale != 0:
                name = printable(self.graph.name_of(head))
                return ("symmetry", f"the weights {name} all start as {initial.scale:g}, so all "
                        "neurons learn the same", "draw them: normal(fan_in ** -0.5)")  # fmt: skip
        return None

    def of_gather(self, node: Node) -> Problem:
        table, indices = node.heads
        rows, known = table.shape[0], self.ranges[indices]
        if isinstance(rows, int) and known.high < float("inf") and known.high >= rows:
            return ("index", f"an index of up to {known.high:.0f} into {rows} rows",
                    "give the table more rows, or cut the indices")  # fmt: skip
        if known.high < 0:
            return "index", "an index is never negative", "count from 0"
        return None

    # ------------------------------------------------------------ whole graph

    def unreached(self, node: Node) -> Problem:
        if node.operation is not PARAMETER or self.target is None or node in self.flowing:
            return None
        stops = [other for other in self.graph.nodes if other.operation is stop_gradient]
        stopped = node in self.graph.ancestors(stops)
        why = "all ways lead through stop_gradient" if stopped else "the loss is without it"
        return ("no loss", f"it is never learned: {why}",
                "use it on the way to the loss, or make it a constant or a state")  # fmt: skip

    def unused(self, node: Node) -> Problem:
        if self.graph.tails(node) or node in self._ends() or node.operation is CONSTANT:
            return None
        if node.operation is INPUT:
            return "unused", "nothing uses this input, yet every run must give it", "leave it out"
        if node.operation is PARAMETER:
            return None
        return ("unused", "no output and no update needs it",
                "make it an output, or leave it out")  # fmt: skip

    def _ends(self) -> set[Node]:
        return {*self.graph.outputs.values(), *self.graph.updates.values()}

    def same_name(self, node: Node) -> Problem:
        shown = self.graph.name_of(node)
        match = re.fullmatch(r"(.*)_\d+", shown)
        if match is None or has_default_name(node) or match[1] not in node.names:
            return None
        if self.graph.names.get(match[1]) in (None, node):
            return None
        return (
            "same name",
            f"another node is called {printable(match[1])!r} too, so this one answers to "
            f"{printable(shown)!r}",
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


def _twice(head: Node) -> Said:
    return ("twice", f"it is given the result of a {head.operation.name} and takes the softmax of "
            "that once more", "give it the logits themselves")  # fmt: skip


def _holds_infinity(node: Node) -> bool:
    if node.operation is not CONSTANT or not node.type.is_float:
        return False
    return bool(np.isinf(node.attributes["value"].array).any())


_DOMAINS = ("log", "sqrt", "division", "power")
_RULES: dict[object, Callable[[_Linter, Node], Problem]] = {
    log: _Linter.of_log, log1p: _Linter.of_log1p, sqrt: _Linter.of_sqrt,
    rsqrt: _Linter.of_reciprocal, reciprocal: _Linter.of_reciprocal, divide: _Linter.of_divide,
    power: _Linter.of_power, SOFTMAX: _Linter.of_softmax, LOG_SOFTMAX: _Linter.of_softmax,
    CROSS_ENTROPY: _Linter.of_cross_entropy, STANDARDISE: _Linter.of_standardise,
    VARIANCE: _Linter.of_variance, relu: _Linter.of_relu, where: _Linter.of_where,
    multiply: _Linter.of_multiply, MATMUL: _Linter.of_matmul, gather: _Linter.of_gather,
}  # fmt: skip
_EVERYWHERE = (_Linter.unreached, _Linter.unused, _Linter.same_name)
