"""Lint: what is likely to go wrong in a graph, found before anything runs.

A finding names the node, the user's line, what can happen and what to write instead. What a node
can be is known from how it is declared (`ranges`), so a guard is seen where it stands: e^x, x² + ε,
a variance + ε, `where(x > 0, x, 1)`. A rule that would cry out at right code is worse than none:
what cannot be decided is passed over.

Only the forward graph is looked at; a value that is finite but has an infinite delta (√x at 0)
counts where a delta flows through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from graphgrad.checks.lint_rules import DOMAINS, EVERYWHERE, RULES, LintResult, LintRules
from graphgrad.graph import Graph, Node
from graphgrad.ops import where
from graphgrad.text import printable


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
    return tuple(_findings(LintRules(graph, of)))


def warnings_of(graph: Graph) -> list[str]:
    """The findings as one line each, for the start of a training."""
    return [
        f"{printable(item.node)}: {item.problem}; {item.fix}"
        + (f" ({item.origin})" if item.origin else "")
        for item in lint(graph)
    ]


def _findings(known: LintRules) -> Iterator[Finding]:
    for node in known.graph.nodes:
        rule = RULES.get(node.operation)
        found = rule(known, node) if rule is not None else None
        if found is not None:
            yield _finding(known.graph, node, _seen_through_where(known, node, found))
        for check in EVERYWHERE:
            found = check(known, node)
            if found is not None:
                yield _finding(known.graph, node, found)


def _finding(graph: Graph, node: Node, found: LintResult) -> Finding:
    return Finding(
        found.rule,
        graph.name_of(node),
        node.operation.name,
        str(node.origin or ""),
        found.problem,
        found.fix,
    )


def _seen_through_where(known: LintRules, node: Node, found: LintResult) -> LintResult:
    """The same problem, where a later choice hides the value but not the delta."""
    if found.rule not in DOMAINS or node not in known.flowing:
        return found
    current = node
    while True:
        tails = known.graph.tails(current)
        if len(tails) != 1:
            return found
        (tail,) = tails
        if tail.operation is where and current is not tail.heads[0]:
            name = printable(known.graph.name_of(tail))
            return LintResult(
                "where",
                f"{found.problem}; the choice {name} hides that value but not its delta, which is "
                "0 · ∞ = NaN",
                "choose before: where(condition, x, 1) as the operand",
            )
        if not tail.operation.kernel and tail.operation.view is None:
            return found
        current = tail
