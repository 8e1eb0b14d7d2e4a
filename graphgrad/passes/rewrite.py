"""Rewrites graphs by rules, which are data, until no rule matches.

A rule is a pattern, a result and a name. The driver visits the nodes in order, rebuilds every node
whose heads have changed, and applies the first rule that matches until none does; it repeats this
while anything changes. A result must have the type of the node that it replaces, otherwise the rule
does not apply. The number of rewrites is limited; if rules do not reach a fixed point, the error
names the most frequent one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphgrad.errors import PassError
from graphgrad.graph import Graph, Node, Operation, declared_at
from graphgrad.graph.node import with_heads
from graphgrad.passes.pattern import Pattern

BUDGET_PER_NODE = 20


@dataclass(frozen=True)
class Rule:
    """A rule. `result` gets the bindings of the pattern by name; None means: does not apply."""

    name: str
    pattern: Pattern
    result: Callable[..., Node | None]


RulesByOperation = Mapping[Operation, Sequence[Rule]]


def by_operation(rules: Sequence[Rule]) -> RulesByOperation:
    """The rules by the operation that their patterns start with."""
    table: dict[Operation, list[Rule]] = {}
    for rule in rules:
        if rule.pattern.operation is None:
            raise ValueError(f"rule {rule.name!r}: a pattern starts with an operation")
        table.setdefault(rule.pattern.operation, []).append(rule)
    return table


def rewrite(graph: Graph, rules: RulesByOperation, stage: str) -> Graph:
    """The graph with the rules applied until none matches."""

    def candidates(node: Node) -> Sequence[Rule]:
        """The rules that are possible with the operations of the node and its heads."""
        kinds = (node.operation, *[head.operation for head in node.heads])
        found = rules_by_kinds.get(kinds)
        if found is None:
            found = [
                rule
                for rule in rules.get(node.operation, ())
                if rule.pattern.needs.issubset(kinds[1:])
            ]
            rules_by_kinds[kinds] = found
        return found

    def improve(node: Node) -> Node | None:
        for rule in candidates(node):
            bindings = rule.pattern.match(node, {})
            if bindings is None:
                continue
            result = rule.result(**bindings)
            if result is not None and result is not node and result.type == node.type:
                fired[rule.name] += 1
                if fired.total() > budget:
                    raise _no_fixed_point(stage, budget, fired)
                return result
        final.add(node)
        return None

    def may_change(node: Node) -> bool:
        return node.operation in rules and node not in final and bool(candidates(node))

    rules_by_kinds: dict[tuple[Operation, ...], Sequence[Rule]] = {}
    fired: Counter[str] = Counter()
    final: set[Node] = set()  # no rule matches these nodes, now or later
    budget = BUDGET_PER_NODE * (len(graph) + 100)
    while True:
        before = fired.total()
        graph = map_nodes(graph, improve, may_change)
        if fired.total() == before:
            return graph
        final.intersection_update(graph.nodes)


def _no_fixed_point(stage: str, budget: int, fired: Counter[str]) -> PassError:
    culprit, times = fired.most_common(1)[0]
    return PassError(
        f"{stage}: rewriting did not reach a fixed point within {budget} steps",
        fix=f"rule {culprit!r} fired {times} times; its result must not match it again",
    )


def map_nodes(
    graph: Graph,
    improve: Callable[[Node], Node | None],
    may_change: Callable[[Node], bool] | None = None,
) -> Graph:
    """The graph with every node rebuilt on its new heads and then improved until `improve` is None.

    `may_change` tells whether `improve` may change a node whose heads have not changed; without it,
    every node is tried.
    """
    replacement: dict[Node, Node] = {}
    for old in graph.nodes:
        moved = bool(replacement) and not replacement.keys().isdisjoint(old.heads)
        if not moved and may_change is not None and not may_change(old):
            continue
        new = old
        with declared_at(graph.name_of(old), old.origin):
            if moved:
                new = with_heads(old, tuple([replacement.get(head, head) for head in old.heads]))
            better = improve(new)
            while better is not None:
                new, better = better, improve(better)
        if new is not old:
            replacement[old] = new
    return graph.replace_nodes(replacement) if replacement else graph
