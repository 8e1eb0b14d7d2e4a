"""The one driver of all rewriting: rules are data, the walk is iterative, the work is bounded.

A rule is a pattern, a result and a name. The driver walks the graph in order, rebuilds every node
whose heads have changed, and applies the first rule that matches until none does; it walks again
while anything changed. A result must have the type of what it replaces, otherwise the rule does not
apply there. A rule that does not come to rest is stopped by the budget, and the error names it.
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
    """`result` takes the bindings of the pattern by name; None means that it does not apply."""

    name: str
    pattern: Pattern
    result: Callable[..., Node | None]


RulesByOperation = Mapping[Operation, Sequence[Rule]]


def by_operation(rules: Sequence[Rule]) -> RulesByOperation:
    """The rules, keyed by the operation that their patterns start with."""
    table: dict[Operation, list[Rule]] = {}
    for rule in rules:
        if rule.pattern.operation is None:
            raise ValueError(f"rule {rule.name!r}: a pattern starts with an operation")
        table.setdefault(rule.pattern.operation, []).append(rule)
    return table


def rewrite(graph: Graph, rules: RulesByOperation, stage: str) -> Graph:
    """The graph with the rules applied until none matches."""

    def possible(node: Node) -> Sequence[Rule]:
        """The rules that operations like these, in the node and its heads, do not rule out."""
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
        for rule in possible(node):
            bindings = rule.pattern.match(node, {})
            if bindings is None:
                continue
            result = rule.result(**bindings)
            if result is not None and result is not node and result.type == node.type:
                fired[rule.name] += 1
                if fired.total() > budget:
                    raise _restless(stage, budget, fired)
                return result
        at_rest.add(node)
        return None

    def concerned(node: Node) -> bool:
        return node not in at_rest and bool(possible(node))

    rules_by_kinds: dict[tuple[Operation, ...], Sequence[Rule]] = {}
    fired: Counter[str] = Counter()
    at_rest: set[Node] = set()  # no rule matches these, in this walk or any other
    budget = BUDGET_PER_NODE * (len(graph) + 100)
    while True:
        before = fired.total()
        graph = map_nodes(graph, improve, concerned)
        if fired.total() == before:
            return graph
        at_rest.intersection_update(graph.nodes)


def _restless(stage: str, budget: int, fired: Counter[str]) -> PassError:
    culprit, times = fired.most_common(1)[0]
    return PassError(
        f"{stage}: the rewriting did not come to rest within {budget} steps",
        fix=f"rule {culprit!r} fired {times} times; its result must not match it again",
    )


def map_nodes(
    graph: Graph,
    improve: Callable[[Node], Node | None],
    concerned: Callable[[Node], bool] | None = None,
) -> Graph:
    """The graph with every node rebuilt on the new heads and then improved while it can be.

    `concerned` says of a node whose heads stay whether `improve` may do something about it; None
    means that it may about any.
    """
    replacement: dict[Node, Node] = {}
    for old in graph.nodes:
        moved = not replacement.keys().isdisjoint(old.heads)
        if not moved and concerned is not None and not concerned(old):
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
