"""Finds the steps of a derivation: the deltas that it needs, in order, with the rule of each tail.

From the node u the derivation visits its tails, their tails, and so on towards the loss, nearest
first. One step is one δ: the sum over the tails, and the rule by which each tail sends back its
part.

- If an addition (or another rule that changes nothing) passes δ on unchanged, the two deltas are
  one node of the graph, and the derivation continues with the last of them: δ_h = φ'(a_h) Σ δ_t
  w_{h→t} in the lecture has no products and no partial sums either.
- Steps that differ only in the numbers of names (`output.1`, `output.2`) are merged into one.
- A derivation that would be too long ends at deltas that are `given`; each can be explained next.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from graphgrad.backprop.formula import rule_in, rule_of, short_name, value_in
from graphgrad.graph import Graph, Node
from graphgrad.graph.deltas import Contribution

STEPS = 10
"""The largest number of steps of a derivation that does not reach the loss earlier."""


@dataclass(frozen=True, slots=True)
class Term:
    """The part of one tail: its contributions (one for each position of the head in the tail), the
    formula of each, and the sender, whose δ is in the formulas."""

    tail: Node
    sender: Node
    passed: tuple[Node, ...]
    """The nodes from the tail to the sender, which have the same δ."""
    sent: tuple[Contribution, ...]
    formulas: tuple[str, ...]
    rules: tuple[str, ...]
    """`multiply: δ · x₂`."""
    use: str
    """The formula in which the tail uses the node: `loss = total / tokens`."""


@dataclass(frozen=True, slots=True)
class DeltaStep:
    """One step: δ of a node as the sum over its tails.

    `similar` are the merged steps, which differ only in the numbers of names.
    """

    node: Node
    delta: Node
    terms: tuple[Term, ...]
    similar: tuple[DeltaStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Derivation:
    """The steps of a derivation, from the node towards the loss, and the deltas it ends at."""

    steps: tuple[DeltaStep, ...]
    given: tuple[Node, ...]
    """Nodes whose deltas the derivation does not derive."""
    complete: bool
    """Whether it reaches the loss."""


def find_derivation(
    graph: Graph, node: Node, target: Node, scope: str, limit: int = STEPS
) -> Derivation:
    """Finds the derivation of δ of `node` in a derived graph, with names relative to a scope.

    It ends at `target`, or after `limit` steps.
    """
    steps: dict[str, list[DeltaStep]] = {}
    waiting: list[tuple[int, Node]] = [(graph.position(node), node)]
    seen, given, complete = {node}, [], False
    while waiting:
        _, current = heapq.heappop(waiting)
        if current is target:
            complete = True
            continue
        step = _step(graph, current, scope)
        if step is None:
            continue
        pattern = _pattern(graph, step)
        if pattern not in steps and len(steps) >= limit:
            given.append(current)
            continue
        steps.setdefault(pattern, []).append(step)
        for term in step.terms:
            if term.sender not in seen:
                seen.add(term.sender)
                heapq.heappush(waiting, (graph.position(term.sender), term.sender))
    merged = (
        DeltaStep(first.node, first.delta, first.terms, tuple(others))
        for first, *others in steps.values()
    )
    return Derivation(tuple(merged), tuple(given), complete)


def _step(graph: Graph, node: Node, scope: str) -> DeltaStep | None:
    delta = graph.delta_or_none(node)
    if delta is None:
        return None
    by_tail: dict[Node, list[Contribution]] = {}
    for item in graph.sent_back(node):
        by_tail.setdefault(item.tail, []).append(item)
    terms = tuple(_term(graph, tail, sent, scope) for tail, sent in by_tail.items())
    return DeltaStep(node, delta, terms)


def _term(graph: Graph, tail: Node, sent: Sequence[Contribution], scope: str) -> Term:
    sender, passed = _last_with_same_delta(graph, tail)
    use = value_in(graph, tail, scope, tail.heads[sent[0].place])
    return Term(
        tail,
        sender,
        passed,
        tuple(sent),
        tuple(rule_in(graph, tail, item.place, scope, sender) for item in sent),
        tuple(f"{tail.operation.name}: {rule_of(tail, item.place)}" for item in sent),
        f"{short_name(graph, tail, scope)} = {use}" if use else short_name(graph, tail, scope),
    )


def _last_with_same_delta(graph: Graph, tail: Node) -> tuple[Node, tuple[Node, ...]]:
    """The node nearest to the loss with the same delta as `tail`, and the nodes in between."""
    delta = graph.delta_or_none(tail)
    passed: list[Node] = []
    while True:
        sent = graph.sent_back(tail)
        if len(sent) != 1 or graph.delta_or_none(sent[0].tail) is not delta:
            return tail, tuple(passed)
        passed.append(tail)
        tail = sent[0].tail


def _pattern(graph: Graph, step: DeltaStep) -> str:
    """A text that is equal for steps that differ only in the numbers of names."""
    parts = [graph.name_of(step.node), str(step.node.type)]
    for term in step.terms:
        parts += [term.use, *term.formulas, *term.rules]
    names = [graph.name_of(term.sender) for term in step.terms]
    return re.sub(r"\d+", "#", "\n".join([*parts, *names]))
