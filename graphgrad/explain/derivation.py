"""The walk of a derivation: which deltas are needed, in which order, and what each step says.

From the node u the walk goes to its tails, to theirs, and on towards the loss, nearest first. One
step is one δ: the sum over the tails, and the rule by which each tail sends its part back.

- Where an addition (or another rule that changes nothing) hands δ on whole, the two deltas are one
  node of the graph, and the walk goes straight to the last of them: the lecture's
  δ_h = φ'(a_h) Σ δ_t w_{h→t} has no products and no partial sums in it either.
- Steps that differ in nothing but numbers (`output.1`, `output.2`) are one step, said once.
- A walk that would be too long ends at deltas that are `given`; each can be explained in turn.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphgrad.backprop.formula import rule_in, rule_of, short_name, value_in
from graphgrad.graph import Graph, Node
from graphgrad.graph.deltas import Contribution

STEPS = 10
"""How many steps a derivation has, where it does not reach the loss before."""


@dataclass(frozen=True, slots=True)
class Term:
    """What one tail sends back: the contributions (one for each place of the head in the tail),
    the formula of each, and the node whose δ stands in it."""

    tail: Node
    sender: Node
    passed: tuple[Node, ...]
    """The nodes between the tail and the sender, to whom δ belongs as well."""
    sent: tuple[Contribution, ...]
    formulas: tuple[str, ...]
    rules: tuple[str, ...]
    """`multiply: δ · x₂`."""
    use: str
    """How the tail uses the node: `loss = total / tokens`."""


@dataclass(frozen=True, slots=True)
class Move:
    """One step: δ of a node as the sum over its tails; `likewise` are the nodes it also stands
    for, with terms of their own."""

    node: Node
    delta: Node
    terms: tuple[Term, ...]
    likewise: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class Walk:
    """The moves of a derivation, from the node towards the loss, and what they end in."""

    moves: tuple[Move, ...]
    given: tuple[Node, ...]
    """Nodes whose deltas the derivation takes as known."""
    complete: bool
    """Whether it reaches the loss."""


def walk_back(graph: Graph, node: Node, target: Node, scope: str, steps: int = STEPS) -> Walk:
    """The derivation of δ of `node` in a derived graph, in the words of a scope."""
    moves: dict[str, list[Move]] = {}
    waiting: list[tuple[int, Node]] = [(graph.position(node), node)]
    seen, given, complete = {node}, [], False
    while waiting:
        _, current = heapq.heappop(waiting)
        if current is target:
            complete = True
            continue
        move = _move(graph, current, scope)
        if move is None:
            continue
        mark = _mark(graph, move)
        if mark not in moves and len(moves) >= steps:
            given.append(current)
            continue
        moves.setdefault(mark, []).append(move)
        for term in move.terms:
            if term.sender not in seen:
                seen.add(term.sender)
                heapq.heappush(waiting, (graph.position(term.sender), term.sender))
    merged = (
        Move(first.node, first.delta, first.terms, tuple(others))
        for first, *others in moves.values()
    )
    return Walk(tuple(merged), tuple(given), complete)


def nodes_of(walk: Walk) -> Iterator[Node]:
    """All nodes whose deltas the walk derives."""
    for move in walk.moves:
        yield move.node
        yield from (other.node for other in move.likewise)


def _move(graph: Graph, node: Node, scope: str) -> Move | None:
    delta = graph.delta_or_none(node)
    if delta is None:
        return None
    by_tail: dict[Node, list[Contribution]] = {}
    for item in graph.sent_back(node):
        by_tail.setdefault(item.tail, []).append(item)
    terms = tuple(_term(graph, tail, sent, scope) for tail, sent in by_tail.items())
    return Move(node, delta, terms)


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
    """The node nearest to the loss to whom the delta of `tail` belongs unchanged."""
    delta = graph.delta_or_none(tail)
    passed: list[Node] = []
    while True:
        sent = graph.sent_back(tail)
        if len(sent) != 1 or graph.delta_or_none(sent[0].tail) is not delta:
            return tail, tuple(passed)
        passed.append(tail)
        tail = sent[0].tail


def _mark(graph: Graph, move: Move) -> str:
    """A text that is equal for steps that differ in nothing but the numbers in names."""
    parts = [graph.name_of(move.node), str(move.node.type)]
    for term in move.terms:
        parts += [term.use, *term.formulas, *term.rules]
    names = [graph.name_of(term.sender) for term in move.terms]
    return re.sub(r"\d+", "#", "\n".join([*parts, *names]))
