"""From the delta that the rules made to the delta as a textbook writes it, each rewrite on record.

The passes' rules are data, so they can be applied here with a witness: every rule that fires leaves
its name and what stood before and after. First come the rules of the passes themselves (stabilise,
fold constants, simplify); then, for the eye only, those of `ORDERED`, which change the order in
which a product is written and never what is computed. Every result is a node again: the last line
of a derivation is evaluated like the first, not believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphgrad.graph import Graph, Node, Operation
from graphgrad.ops import (
    add,
    divide,
    multiply,
    negative,
    reciprocal,
    rsqrt,
    sqrt,
    subtract,
    where,
)
from graphgrad.ops.arithmetic import OPERATIONS as ARITHMETIC
from graphgrad.ops.movement import broadcast_to, reshape, reshape_to
from graphgrad.passes import fold_constants, prune, simplify, stabilise
from graphgrad.passes.pattern import Pattern, any_node, number, pattern
from graphgrad.passes.rewrite import Rule, by_operation, rewrite
from graphgrad.passes.simplify import BROADCASTING
from graphgrad.passes.simplify import RULES as SIMPLIFYING
from graphgrad.passes.stabilise import RULES as STABILISING

A, B, C, N = any_node("a"), any_node("b"), any_node("c"), any_node("n")


def _where_of_scalar(c: Node, a: Node, outer: Node) -> Node | None:
    """A scalar is the same in every shape, so only the condition is reshaped."""
    return where(reshape_to(c, outer.shape), a, 0.0) if a.shape == () else None


def _scalar_head(operation: Operation, place: int) -> Rule:
    """Elementwise operations take a scalar as it is, whatever shape it was given."""
    heads = [any_node(f"head{i}") for i in range(operation.arity or 0)]
    heads[place] = pattern(reshape, any_node("x"))

    def result(whole: Node, x: Node, **others: Node) -> Node | None:
        if x.shape != ():
            return None
        given = [others.get(f"head{i}", x) for i in range(len(heads))]
        return whole.operation.node(*given, **whole.attributes)

    return Rule(
        f"{operation.name} of a reshaped scalar", Pattern(operation, tuple(heads), "whole"), result
    )


ORDERED: tuple[Rule, ...] = (
    Rule("a + a → a · 2", pattern(add, A, A), lambda a: multiply(a, 2.0)),
    Rule(
        "a · (1 / n) → a / n",
        pattern(multiply, A, pattern(reciprocal, N)),
        lambda a, n: divide(a, n),
    ),
    Rule(
        "a · (1 / √n) → a / √n",
        pattern(multiply, A, pattern(rsqrt, N)),
        lambda a, n: divide(a, sqrt(n)),
    ),
    Rule(
        "a · (b / n) → (a · b) / n",
        pattern(multiply, A, pattern(divide, B, N)),
        lambda a, b, n: divide(multiply(a, b), n),
    ),
    Rule(
        "a · (b where c, else 0) → a · b where c, else 0",
        pattern(multiply, A, pattern(where, C, B, number(0))),
        lambda a, b, c: where(c, multiply(a, b), 0.0),
    ),
    Rule(
        "(a where c, else 0) / n → a / n where c, else 0",
        pattern(divide, pattern(where, C, A, number(0)), N),
        lambda a, c, n: where(c, divide(a, n), 0.0),
    ),
    Rule(
        "the condition in another shape",
        pattern(reshape, pattern(where, C, A, number(0)), bind="outer"),
        _where_of_scalar,
    ),
    Rule(
        "a · -b → -(a · b)",
        pattern(multiply, A, pattern(negative, B)),
        lambda a, b: negative(multiply(a, b)),
    ),
    Rule(
        "-a / n → -(a / n)",
        pattern(divide, pattern(negative, A), N),
        lambda a, n: negative(divide(a, n)),
    ),
    Rule(
        "-a - b → -(a + b)",
        pattern(subtract, pattern(negative, A), B),
        lambda a, b: negative(add(a, b)),
    ),
    Rule(
        "reshape of a repeated scalar",
        pattern(reshape, pattern(broadcast_to, A), bind="outer"),
        lambda a, outer: broadcast_to.node(a, shape=outer.shape) if a.shape == () else None,
    ),
    *(
        _scalar_head(operation, place)
        for operation in ARITHMETIC
        if (operation.arity or 0) > 1
        for place in range(operation.arity or 0)
    ),
)

QUIET = frozenset(rule.name for rule in (*BROADCASTING, *ORDERED)) | {
    "broadcast to its own shape",
    "broadcast of broadcast",
    "reshape of reshape",
    "reshape to its own shape",
    "transpose into its own order",
    "sum over axes of size 1",
    "x · 1 → x",
}
"""Rules that only move elements or change the order of writing: not worth a line of their own."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rule that fired: in which pass, and the node before and after."""

    stage: str
    rule: str
    before: Node
    after: Node


def rewritten(graph: Graph) -> tuple[Graph, tuple[Rewrite, ...]]:
    """The graph after the passes, and every rule that they applied, in order."""
    witness: list[Rewrite] = []
    graph = prune(graph)
    graph = rewrite(
        graph, by_operation(_watched(STABILISING, stabilise.__name__, witness)), "stabilise"
    )
    graph = fold_constants(graph)
    rules = (*SIMPLIFYING, *BROADCASTING)
    graph = rewrite(graph, by_operation(_watched(rules, simplify.__name__, witness)), "simplify")
    return prune(graph), tuple(witness)


def ordered(graph: Graph) -> Graph:
    """The same values, written in the order of a textbook."""
    fired = rewrite(graph, by_operation((*ORDERED, *BROADCASTING, *SIMPLIFYING)), "ordered")
    return prune(fired)


def _watched(rules: Iterable[Rule], stage: str, witness: list[Rewrite]) -> Sequence[Rule]:
    return [_with_witness(rule, stage, witness) for rule in rules]


def _with_witness(rule: Rule, stage: str, witness: list[Rewrite]) -> Rule:
    """The same rule, which writes down what it did."""
    bind = rule.pattern.bind or "matched by the rule"

    def result(**bindings: Node) -> Node | None:
        matched = bindings[bind]
        given = dict(bindings) if rule.pattern.bind else _without(bindings, bind)
        new = rule.result(**given)
        if new is not None and new is not matched and new.type == matched.type:
            witness.append(Rewrite(stage, rule.name, matched, new))
        return new

    return Rule(rule.name, replace(rule.pattern, bind=bind), result)


def _without(bindings: Mapping[str, Node], name: str) -> dict[str, Node]:
    return {key: node for key, node in bindings.items() if key != name}
